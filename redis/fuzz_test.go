package redis

import "testing"

// FuzzRecord: each record of the hash of switches is a switch, cleared, or named
// as broken.
func FuzzRecord(f *testing.F) {
	f.Add("store/a", `{"scope":"store","name":"a","mode":"full"}`)
	f.Add("all", "")
	f.Fuzz(func(t *testing.T, field, value string) {
		for _, kind := range []string{"all", "some"} {
			u, err := parseUpdate([]any{"e", "1", "c", "", "1", "0", kind, []any{field, value}})
			if err != nil {
				t.Fatal(err)
			}
			if len(u.Set)+len(u.Clear)+len(u.Corrupt) != 1 {
				t.Errorf("one record became %d switches, %d cleared, %d corrupt", len(u.Set), len(u.Clear), len(u.Corrupt))
			}
			for _, sw := range u.Set {
				if sw.Key() != field || sw.Check() != nil {
					t.Errorf("field %q became %v", field, sw.Target)
				}
			}
		}
	})
}

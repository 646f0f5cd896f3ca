package maintenance_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// FuzzDecodeState reads whatever a disk may hold: no crash, each line is a
// switch or is named as broken, and what was read is written the same.
func FuzzDecodeState(f *testing.F) {
	f.Add([]byte("{\"firebreak_state\":1,\"head\":{\"epoch\":\"e\",\"revision\":3,\"change\":\"c\"}}\n{\"scope\":\"store\",\"name\":\"a\",\"mode\":\"full\",\"since\":\"2026-07-02T12:58:00Z\",\"revision\":2}\nbroken\n\n"))
	f.Add([]byte("{\"firebreak_state\":1,\"head\":{\"epoch\":\"e\",\"revision\":3}}\n{\"scope\":\"all\",\"except\":[\"b\",\"a\"]}\n{\"scope\":\"zone\"}"))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, corrupt, err := maintenance.DecodeState(data)
		if err != nil {
			return
		}
		lines := 0
		for i, line := range bytes.Split(data, []byte("\n")) {
			if i > 0 && len(bytes.TrimSpace(line)) > 0 {
				lines++
			}
		}
		if n := len(s.Switches) + len(corrupt); n > lines || len(s.Switches) == 0 && len(corrupt) < lines {
			t.Errorf("%d lines, %d switches, %d corrupt", lines, len(s.Switches), len(corrupt))
		}
		var again bytes.Buffer
		if err := s.Encode(&again); err != nil {
			t.Fatal(err)
		}
		back, broken, err := maintenance.DecodeState(again.Bytes())
		if err != nil || len(broken) > 0 {
			t.Fatalf("what was written cannot be read: %v, %v\n%s", err, broken, again.String())
		}
		if diff := cmp.Diff(s, back, cmpopts.IgnoreUnexported(maintenance.State{})); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzDecodeChange(f *testing.F) {
	f.Add([]byte(`{"epoch":"e","revision":1,"change":"c","at":"2026-07-02T12:58:00Z","set":[{"scope":"store","name":"a","mode":"full"},7],"clear":[{"scope":"all"},{"scope":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, corrupt, err := maintenance.DecodeChange(data)
		if err != nil {
			return
		}
		for _, sw := range c.Set {
			if err := sw.Check(); err != nil {
				t.Errorf("a switch that is impossible was read: %v", err)
			}
		}
		var raw struct{ Set, Clear []json.RawMessage }
		if json.Unmarshal(data, &raw) == nil && len(raw.Set)+len(raw.Clear) != len(c.Set)+len(c.Clear)+len(corrupt) {
			t.Errorf("%d and %d records, %d and %d read, %d named", len(raw.Set), len(raw.Clear), len(c.Set), len(c.Clear), len(corrupt))
		}
	})
}

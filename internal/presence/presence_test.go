package presence

import (
	"runtime"
	"slices"
	"testing"
)

func TestOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no abstract unix sockets")
	}
	one, two, three := New(), New(), New()
	t.Cleanup(func() { one.Close(); two.Close(); three.Close() })
	set := func(r *Register, things ...string) {
		t.Helper()
		if err := r.Set(things); err != nil {
			t.Fatal(err)
		}
	}
	shared := func(r *Register) (all [][]string) {
		t.Helper()
		others, err := r.Others()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range others {
			if o.PID == 0 {
				t.Errorf("%+v has no process", o)
			}
			all = append(all, o.Things)
		}
		return all
	}
	name := func(s string) string { return t.Name() + s }
	set(one, name("a"), name("b"))
	if got := shared(one); len(got) != 0 {
		t.Errorf("alone, and finds %v", got)
	}
	set(two, name("b"), name("c"))
	set(three, name("d"))
	for _, r := range []*Register{one, two} {
		if got := shared(r); len(got) != 1 || !slices.Equal(got[0], []string{name("b")}) {
			t.Errorf("found %v", got)
		}
	}
	if got := shared(three); len(got) != 0 {
		t.Errorf("has nothing in common, and finds %v", got)
	}
	set(two, name("c"))
	if got := shared(one); len(got) != 0 {
		t.Errorf("nothing is shared any more, and it finds %v", got)
	}
	set(two, name("a"), name("b"))
	if got := shared(one); len(got) != 1 || len(got[0]) != 2 {
		t.Errorf("found %v", got)
	}
	two.Close()
	if got := shared(one); len(got) != 0 {
		t.Errorf("the other is gone, and it finds %v", got)
	}
}

// TestForeignNames: anybody on the machine may choose such a name.
func TestForeignNames(t *testing.T) {
	r := New()
	r.known["x"] = nil
	for _, name := range []string{"", "/", hash("x"), hash("x") + "/", hash("x") + "/a-b", "/a-1", hash("x") + "/" + r.id} {
		if got := r.others([]byte("0000: 00000002 00000000 00000000 0002 01 1 @firebreak/" + name + "\n")); len(got) != 0 {
			t.Errorf("%q is taken for %+v", name, got)
		}
	}
	if got := r.others([]byte("0000: 00000002 00000000 00000000 0002 01 1 @firebreak/" + hash("x") + "/a-7")); len(got) != 1 || got[0].PID != 7 {
		t.Errorf("found %+v", got)
	}
}

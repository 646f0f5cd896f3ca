//go:build e2e

package redis_test

import (
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/maintenance"
	firebreakredis "github.com/firebreak-proxy/firebreak/redis"
)

// fleetOf is a Redis, and what sidecars say to it.
type fleetOf struct {
	t       *testing.T
	backend *firebreakredis.Backend
}

func newFleetOf(t *testing.T) *fleetOf {
	t.Helper()
	s := startRedis(t)
	backend, err := firebreakredis.New(firebreakredis.Options{Addresses: []string{s.address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	return &fleetOf{t, backend}
}

func (f *fleetOf) beat(b maintenance.Beat) *maintenance.Agreed {
	f.t.Helper()
	b.Zone = "z7 \"x\""
	if b.Lease == 0 {
		b.Lease = time.Minute
	}
	agreed, err := f.backend.Beat(f.t.Context(), &b)
	if err != nil {
		f.t.Fatal(err)
	}
	return agreed
}

func (f *fleetOf) overdue() int {
	f.t.Helper()
	zones, err := f.backend.Overdue(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return len(zones)
}

// in is a sidecar whose zone is cut off.
func in(member, id string) maintenance.Beat {
	return maintenance.Beat{Member: member, ID: id, Stage: maintenance.Joined, Level: 2, Part: []byte(member)}
}

func out(member, id string) maintenance.Beat {
	return maintenance.Beat{Member: member, ID: id, Stage: maintenance.Left, Part: []byte(member + " out")}
}

func tells(b maintenance.Beat, what maintenance.Telling, outcome maintenance.Outcome) maintenance.Beat {
	b.Telling, b.TellingLevel, b.Outcome = what, 2, outcome
	return b
}

// TestEpisode: one id, one who tells of the beginning, one who tells of the end.
func TestEpisode(t *testing.T) {
	f := newFleetOf(t)
	a := f.beat(in("a", "e1"))
	if a.ID != "e1" || a.Tell != maintenance.TellBegun || a.Level != 2 || a.Members != 1 {
		t.Fatalf("the first got %+v", a)
	}
	if b := f.beat(in("b", "e2")); b.ID != "e1" || b.Tell != "" || b.Told != 0 || b.Members != 2 || len(b.Aliases) != 0 {
		t.Fatalf("the second got %+v", b)
	}
	if a = f.beat(tells(in("a", "e1"), maintenance.TellBegun, maintenance.Told)); a.Told != 2 || a.Tell != "" {
		t.Fatalf("having told, the first got %+v", a)
	}
	if a = f.beat(out("a", "e1")); a.Tell != "" || a.Over {
		t.Fatalf("leaving, the first got %+v", a)
	}
	b := f.beat(out("b", "e1"))
	if b.Tell != maintenance.TellEnded || b.Over || string(b.Parts["a"]) != "a out" || string(b.Parts["b"]) != "b out" {
		t.Fatalf("leaving, the last got %+v", b)
	}
	if a = f.beat(out("a", "e1")); a.Tell != "" {
		t.Fatalf("meanwhile the first got %+v", a)
	}
	if b = f.beat(tells(out("b", "e1"), maintenance.TellEnded, maintenance.Told)); !b.Over {
		t.Fatalf("having told, the last got %+v", b)
	}
	a = f.beat(maintenance.Beat{Member: "a", ID: "e1", Stage: maintenance.Watching, Parts: true})
	if !a.Over || len(a.Parts) != 2 || a.Tell != "" || f.overdue() != 0 {
		t.Fatalf("looking later, the first got %+v", a)
	}
	if a = f.beat(in("a", "e3")); a.ID != "e3" || a.Tell != maintenance.TellBegun {
		t.Fatalf("the next episode: %+v", a)
	}
}

// TestEpisodeOfTheKilled: who is killed before it tells is replaced.
func TestEpisodeOfTheKilled(t *testing.T) {
	f := newFleetOf(t)
	short := in("a", "e1")
	short.Lease = 300 * time.Millisecond
	if a := f.beat(short); a.Tell != maintenance.TellBegun {
		t.Fatalf("got %+v", a)
	}
	if b := f.beat(in("b", "e2")); b.Tell != "" {
		t.Fatalf("the claim of one that lives was given away: %+v", b)
	}
	time.Sleep(10500 * time.Millisecond) // the claim lapses
	b := f.beat(in("b", "e1"))
	if b.Tell != maintenance.TellBegun || b.Members != 1 {
		t.Fatalf("the claim of the killed was not given away: %+v", b)
	}
	last := tells(in("b", "e1"), maintenance.TellBegun, maintenance.Told)
	last.Lease = 300 * time.Millisecond
	f.beat(last)
	if n := f.overdue(); n != 0 {
		t.Fatalf("%d overdue while the lease holds", n)
	}
	time.Sleep(500 * time.Millisecond)
	if n := f.overdue(); n != 1 {
		t.Fatalf("%d overdue after all were killed, want 1", n)
	}
	watch := maintenance.Beat{Member: "c", Stage: maintenance.Watching}
	c := f.beat(watch)
	if c.Tell != maintenance.TellEnded || c.ID != "e1" || string(c.Parts["b"]) != "b" {
		t.Fatalf("one that looks got %+v", c)
	}
	if d := f.beat(maintenance.Beat{Member: "d", Stage: maintenance.Watching}); d.Tell != "" {
		t.Fatalf("another that looks got %+v", d)
	}
	watch.ID = "e1"
	if c = f.beat(tells(watch, maintenance.TellEnded, maintenance.NotTold)); c.Over || c.Tell != "" {
		t.Fatalf("after a failure: %+v", c)
	}
	time.Sleep(3200 * time.Millisecond)
	d := f.beat(maintenance.Beat{Member: "d", Stage: maintenance.Watching})
	if d.Tell != maintenance.TellEnded {
		t.Fatalf("after the other's failure: %+v", d)
	}
	if d = f.beat(tells(maintenance.Beat{Member: "d", ID: "e1", Stage: maintenance.Watching}, maintenance.TellEnded, maintenance.Told)); !d.Over {
		t.Fatalf("got %+v", d)
	}
}

// TestEpisodeAfterPartition: what was told of alone is joined, and noted.
func TestEpisodeAfterPartition(t *testing.T) {
	f := newFleetOf(t)
	f.beat(in("a", "e1"))
	alone := in("b", "e2")
	alone.Told = 2
	if b := f.beat(alone); b.ID != "e2" && len(b.Aliases) == 0 {
		t.Fatalf("while a may be telling of e1: %+v", b)
	}
	a := f.beat(tells(in("a", "e1"), maintenance.TellBegun, maintenance.Told))
	if a.ID != "e1" || len(a.Aliases) != 1 || a.Aliases[0] != "e2" || a.Told != 2 {
		t.Fatalf("got %+v", a)
	}
	// Emptied: what they know is there again, and nobody tells twice.
	g := newFleetOf(t)
	known := in("a", "e1")
	known.Told = 2
	if a = g.beat(known); a.ID != "e1" || a.Told != 2 || a.Tell != "" {
		t.Fatalf("after a loss: %+v", a)
	}
	// One that was away while the others' end was told of tells anew.
	if a = g.beat(out("a", "e1")); a.Tell != maintenance.TellEnded {
		t.Fatalf("got %+v", a)
	}
	g.beat(tells(out("a", "e1"), maintenance.TellEnded, maintenance.Told))
	away := in("b", "e1")
	away.Told = 2
	if b := g.beat(away); b.ID != "e1" || b.Tell != maintenance.TellBegun {
		t.Fatalf("got %+v", b)
	}
	// Joined while another tells of the end: told of again.
	if b := g.beat(tells(in("b", "e1"), maintenance.TellBegun, maintenance.Told)); b.Told != 2 {
		t.Fatalf("got %+v", b)
	}
	if b := g.beat(out("b", "e1")); b.Tell != maintenance.TellEnded {
		t.Fatalf("got %+v", b)
	}
	if c := g.beat(in("c", "e4")); c.ID != "e1" || c.Tell != "" {
		t.Fatalf("got %+v", c)
	}
	g.beat(tells(out("b", "e1"), maintenance.TellEnded, maintenance.Told))
	if c := g.beat(in("c", "e1")); c.Tell != maintenance.TellBegun {
		t.Fatalf("got %+v", c)
	}
}

package learned_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/learned"
)

func open(t *testing.T, o learned.Options) *learned.Directory {
	t.Helper()
	d, err := learned.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func want(t *testing.T, d *learned.Directory, key, store, zone string) {
	t.Helper()
	got, ok := d.Lookup(key)
	if got != (routing.Route{Store: store, Zone: zone}) || ok != (zone != "") {
		t.Errorf("%s is %+v, %t; want store %q in zone %q", key, got, ok, store, zone)
	}
}

func TestLearn(t *testing.T) {
	d := open(t, learned.Options{})
	want(t, d, "k1", "", "")
	_ = d.Learn("s0", "", "z0")
	_ = d.Learn("k1", "s1", "z1")
	_ = d.Learn("k2", "s1", "z1")
	want(t, d, "s0", "s0", "z0")
	want(t, d, "k1", "s1", "z1")
	want(t, d, "s1", "s1", "z1")
	_ = d.Learn("k2", "s1", "z2") // a move is seen by one key, and holds for all
	for _, key := range []string{"k1", "k2", "s1"} {
		want(t, d, key, "s1", "z2")
	}
	if got := d.Zones(); !slices.Equal(got, []string{"z0", "z1", "z2"}) {
		t.Errorf("zones %v", got)
	}
	var stores []string
	d.EachStore("z2", func(store string) bool { stores = append(stores, store); return true })
	if !slices.Equal(stores, []string{"s1"}) || d.Len() != 2 {
		t.Errorf("stores of z2 %v, of all zones %d", stores, d.Len())
	}
}

func TestLearnRefuses(t *testing.T) {
	d := open(t, learned.Options{})
	for _, bad := range [][3]string{
		{"k", "s", ""},
		{"k", "s", "all\n"},
		{"k", strings.Repeat("s", 200), "z1"},
		{"", "", "z1"},
		{"k", "s", "unknown"},
	} {
		if err := d.Learn(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("learned %q", bad)
		}
	}
	if d.Len() > 0 || len(d.Zones()) > 0 {
		t.Errorf("%d stores, zones %v", d.Len(), d.Zones())
	}
	if _, err := learned.Open(learned.Options{Cache: -1}); err == nil {
		t.Error("a negative cache was taken")
	}
}

func TestBounds(t *testing.T) {
	d := open(t, learned.Options{Cache: 100})
	_ = d.Learn("busy", "", "z1")
	for n := range 1000 {
		_ = d.Learn(fmt.Sprint("s", n), "", "z1")
		_ = d.Learn("busy", "", "z1") // is answered all the time
	}
	if d.Len() != 100 {
		t.Errorf("%d stores are kept, want 100", d.Len())
	}
	want(t, d, "busy", "busy", "z1")
	for n := range learned.MaxZones + 10 {
		_ = d.Learn("s", "", fmt.Sprint("zone", n))
	}
	if got := len(d.Zones()); got != learned.MaxZones {
		t.Errorf("%d zones, want %d", got, learned.MaxZones)
	}
}

// TestSnapshot: what was learned outlives a restart.
func TestSnapshot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept", "stores.csv")
	synctest.Test(t, func(t *testing.T) {
		d := open(t, learned.Options{Snapshot: file})
		ctx, stop := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { d.Run(ctx) })
		_ = d.Learn("k1", "s1", "z1")
		time.Sleep(11 * time.Second)
		want(t, open(t, learned.Options{Snapshot: file}), "k1", "s1", "z1")
		_ = d.Learn("k1", "s1", "z2")
		stop()
		run.Wait()
	})
	var events []routing.SourceEvent
	again := open(t, learned.Options{Snapshot: file, Log: func(e routing.SourceEvent) { events = append(events, e) }})
	want(t, again, "k1", "s1", "z2")
	if len(events) != 1 || events[0].Kind != routing.SourceRestored || events[0].Zones != 1 {
		t.Errorf("events %+v", events)
	}
	if err := os.WriteFile(file, []byte("no table"), 0o600); err != nil {
		t.Fatal(err)
	}
	events = nil
	empty := open(t, learned.Options{Snapshot: file, Log: func(e routing.SourceEvent) { events = append(events, e) }})
	if empty.Len() > 0 || len(events) != 1 || events[0].Kind != routing.SourceSnapshotFailed {
		t.Errorf("a damaged file: %d stores, events %+v", empty.Len(), events)
	}
}

// TestEvents: Run tells of new zones, and now and then of what cannot be used.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kinds []routing.SourceEventKind
		d := open(t, learned.Options{Log: func(e routing.SourceEvent) { kinds = append(kinds, e.Kind) }})
		ctx, stop := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { d.Run(ctx) })
		_ = d.Learn("s1", "", "z1")
		_ = d.Learn("s2", "", "z1")
		for range 10 {
			_ = d.Learn("s3", "", "")
		}
		synctest.Wait()
		stop()
		run.Wait()
		if !slices.Equal(kinds, []routing.SourceEventKind{routing.SourceZone, routing.SourceBadAnswer}) {
			t.Errorf("events %v", kinds)
		}
	})
}

// TestParallel is for the race detector.
func TestParallel(t *testing.T) {
	d := open(t, learned.Options{Cache: 50})
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 500 {
				_ = d.Learn(fmt.Sprint("k", i%70), fmt.Sprint("s", i%60), fmt.Sprint("z", (i+n)%5))
				d.Lookup(fmt.Sprint("k", i%70))
				d.EachStore("z1", func(string) bool { return true })
				d.Zones()
			}
		})
	}
	all.Wait()
}

func BenchmarkLookup(b *testing.B) {
	d, _ := learned.Open(learned.Options{})
	_ = d.Learn("k1", "s1", "z1")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d.Lookup("k1")
		}
	})
}

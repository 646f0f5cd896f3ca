package incidents

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestMinutesAgainstModel begins and finishes causes of darkness at random and
// compares the figures with those of a model that ticks off every second.
func TestMinutesAgainstModel(t *testing.T) {
	const seconds = 120
	start := time.Date(2026, 7, 2, 12, 48, 0, 0, time.UTC)
	stores := []string{"a", "b", "maintenance of store a", "zone"} // names that look like causes
	causes := []string{zoneOpen, zoneHeld, zoneOff}
	for _, s := range stores {
		causes = append(causes, storeDark+s, storeHeld+s, storeOff+s, storeFree+s)
	}
	rapid.Check(t, func(t *rapid.T) {
		i := &Incident{Books: newBooks()}
		on := map[string]bool{}
		everybody, dark, known := 0, map[string]int{}, map[string]bool{} // seconds in the dark
		look := rapid.IntRange(1, seconds).Draw(t, "looks at")
		for now := range look {
			at := start.Add(time.Duration(now) * time.Second)
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				cause := rapid.SampledFrom(causes).Draw(t, "cause")
				if rapid.Bool().Draw(t, "begins") {
					i.Books.begin(cause, at)
					on[cause] = true
					if store, single := storeOf(cause); single {
						known[store] = true
					}
				} else {
					i.Books.finish(cause, at)
					delete(on, cause)
				}
			}
			zone, off := on[zoneOpen] || on[zoneHeld], on[zoneOff]
			if zone || off {
				everybody++
			}
			for _, s := range stores {
				if zone || off && !on[storeFree+s] || on[storeDark+s] || on[storeHeld+s] || on[storeOff+s] {
					dark[s]++
				}
			}
		}
		i.account(start.Add(time.Duration(look) * time.Second))
		if got := i.DarkMinutes * 60; math.Abs(got-float64(everybody)) > 1e-6 {
			t.Fatalf("everybody %.3f s in the dark, the model says %d", got, everybody)
		}
		for _, s := range i.Stores {
			if math.Abs(s.Minutes*60-float64(dark[s.Store])) > 1e-6 {
				t.Fatalf("store %q %.3f s in the dark, the model says %d", s.Store, s.Minutes*60, dark[s.Store])
			}
		}
		listed, longer := 0, 0
		for store := range known {
			if dark[store] != everybody {
				listed++
			}
			if dark[store] > everybody {
				longer++
			}
		}
		if len(i.Stores) != listed || i.StoresDark != longer {
			t.Fatalf("%d stores listed, %d of them longer in the dark, the model says %d and %d", len(i.Stores), i.StoresDark, listed, longer)
		}
	})
}

// TestSpansAreBounded: what is folded is never too little.
func TestSpansAreBounded(t *testing.T) {
	start := time.Date(2026, 7, 2, 12, 48, 0, 0, time.UTC)
	b := newBooks()
	for n := range 5 * maxSpans {
		b.begin(zoneOpen, start.Add(time.Duration(2*n)*time.Second))
		b.finish(zoneOpen, start.Add(time.Duration(2*n+1)*time.Second))
	}
	if len(b.Zone) > maxSpans {
		t.Errorf("%d spans", len(b.Zone))
	}
	if got := minutes(union(b.Zone)) * 60; got < 5*maxSpans || got > 10*maxSpans {
		t.Errorf("%.0f seconds, really %d of %d", got, 5*maxSpans, 10*maxSpans)
	}
}

// TestStoresAreBounded: stores beyond the bound are counted.
func TestStoresAreBounded(t *testing.T) {
	b := newBooks()
	now := time.Now()
	refused := 0
	for n := range maxStores + 10 {
		if !b.begin(fmt.Sprintf("%ss%d", storeDark, n), now) {
			refused++
		}
	}
	if refused != 10 || len(b.Own) != maxStores {
		t.Errorf("%d of %d stores refused", refused, maxStores+10)
	}
	if !b.begin(storeOff+"s1", now) {
		t.Error("there is no room for another cause of a store that is known")
	}
}

// TestTimelineIsBounded: the beginning and the end are kept.
func TestTimelineIsBounded(t *testing.T) {
	i := &Incident{}
	for n := range 3 * maxTimeline {
		i.note(time.Unix(int64(n), 0), "x", "", fmt.Sprint(n)+strings.Repeat("ä", maxText))
	}
	if len(i.Timeline) != maxTimeline || i.TimelineLeftOut != 2*maxTimeline {
		t.Fatalf("%d entries and %d left out", len(i.Timeline), i.TimelineLeftOut)
	}
	for at, want := range map[int]int64{0: 0, maxTimeline/2 - 1: maxTimeline/2 - 1, maxTimeline / 2: 5 * maxTimeline / 2, maxTimeline - 1: 3*maxTimeline - 1} {
		if got := i.Timeline[at].At.Unix(); got != want {
			t.Errorf("entry %d is the %dth, want %d", at, got, want)
		}
	}
	if n := len(i.Timeline[0].Text); n > maxText+5 {
		t.Errorf("a text of %d bytes", n)
	}
}

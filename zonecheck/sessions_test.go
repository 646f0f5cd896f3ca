package zonecheck

import (
	"testing"
	"time"
)

// TestFindings: who waits for what, and which store each query is of.
func TestFindings(t *testing.T) {
	finder, err := NewFinder([]string{"comment"}, PostgreSQL)
	if err != nil {
		t.Fatal(err)
	}
	tag := func(store string) string { return "/*store='" + store + "'*/ SELECT 1" }
	f := findings([]Session{
		{ID: 10, State: "idle in transaction", Age: 12 * time.Second, Query: "UPDATE t SET v = 'secret'"},
		{ID: 11, State: "active", Ran: time.Second, Waits: true, WaitsFor: []int{10}, Query: tag("s1")},
		{ID: 12, State: "active", Ran: 900 * time.Millisecond, Waits: true, WaitsFor: []int{11}, Query: tag("s1")},
		{ID: 13, State: "active", Ran: time.Millisecond, Waits: true, WaitsFor: []int{10}, Query: tag("s2")}, // a moment
		{ID: 14, State: "active", Ran: time.Second, Query: tag("s3")},                                        // no longer than slow_after
		{ID: 15, State: "active", Ran: 5 * time.Second, Query: tag("s4")},
		{ID: 16, State: "active", Ran: 5 * time.Second, Query: "VACUUM"},
		{ID: 17, State: "active", Ran: time.Second, Waits: true, WaitsFor: []int{18}, Query: tag("s5")}, // in a circle
		{ID: 18, State: "active", Ran: time.Second, Waits: true, WaitsFor: []int{17}, Query: tag("s6")},
	}, finder, 2*time.Second)
	if len(f.Blockers) == 0 || f.Blockers[0].PID != 10 || f.Blockers[0].Blocks != 2 || f.Blockers[0].Query != "UPDATE t SET v = ?" || f.Blockers[0].Age != 12 {
		t.Errorf("the blockers are %+v", f.Blockers)
	}
	stores := make(map[string]int)
	for _, q := range f.Hanging {
		stores[q.Store]++
		if q.Store == "s1" && (!q.Blocked || q.Blocker != 10) {
			t.Errorf("s1: %+v, want blocked by 10", q)
		}
	}
	if len(stores) != 4 || stores["s1"] != 2 || stores["s4"] != 1 || stores["s5"] != 1 || stores["s6"] != 1 || !f.Listed {
		t.Errorf("hanging: %v", stores)
	}
}

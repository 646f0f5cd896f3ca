package postgres

import (
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// TestFindings: who waits for what, and which store each query is of.
func TestFindings(t *testing.T) {
	finder, err := zonecheck.NewFinder([]string{"comment"})
	if err != nil {
		t.Fatal(err)
	}
	tag := func(store string) string { return "/*store='" + store + "'*/ SELECT 1" }
	f := findings([]session{
		{pid: 10, state: "idle in transaction", age: 12 * time.Second, query: "UPDATE t SET v = 'secret'"},
		{pid: 11, state: "active", ran: time.Second, waits: true, waitsFor: []int{10}, query: tag("s1")},
		{pid: 12, state: "active", ran: 900 * time.Millisecond, waits: true, waitsFor: []int{11}, query: tag("s1")},
		{pid: 13, state: "active", ran: time.Millisecond, waits: true, waitsFor: []int{10}, query: tag("s2")}, // a moment
		{pid: 14, state: "active", ran: time.Second, query: tag("s3")},                                        // no longer than slow_after
		{pid: 15, state: "active", ran: 5 * time.Second, query: tag("s4")},
		{pid: 16, state: "active", ran: 5 * time.Second, query: "VACUUM"},
		{pid: 17, state: "active", ran: time.Second, waits: true, waitsFor: []int{18}, query: tag("s5")}, // in a circle
		{pid: 18, state: "active", ran: time.Second, waits: true, waitsFor: []int{17}, query: tag("s6")},
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

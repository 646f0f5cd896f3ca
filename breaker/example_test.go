package breaker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func newExampleGuard() *breaker.Guard {
	policy, err := breaker.NewPolicy(32, 2*time.Second)
	if err != nil {
		panic(err)
	}
	return breaker.New(policy, breaker.Options{})
}

// One request that is answered.
func Example() {
	guard := newExampleGuard()
	defer guard.Close()

	slot, refusal := guard.Admit(context.Background(), breaker.Request{Zone: "z7", Store: "s123"})
	if refusal != nil {
		fmt.Println("503", refusal.Reason, "Retry-After:", refusal.RetryAfter)
		return
	}
	slot.Track()            // we will see when the worker is free
	slot.Answer(breaker.OK) // the first byte is there
	fmt.Println("occupied:", guard.Status().Occupied)
	slot.End(breaker.OK) // the response has been read to its end
	fmt.Println("occupied:", guard.Status().Occupied)
	// Output:
	// occupied: 1
	// occupied: 0
}

// At the deadline the client is answered, but its worker stays on the books.
func ExampleSlot_Hang() {
	guard := newExampleGuard()
	defer guard.Close()

	slot, _ := guard.Admit(context.Background(), breaker.Request{Zone: "z7", Store: "s123"})
	slot.Track()
	slot.Hang()
	status := guard.Status()
	fmt.Println("live:", status.Live, "hung:", status.Hung)
	slot.End(breaker.OK) // minutes later, its connection is closed
	fmt.Println("hung:", guard.Status().Hung)
	// Output:
	// live: 0 hung: 1
	// hung: 0
}

// What is held by hand, which zones are cut off and which workers hang outlives
// the process.
func ExampleGuard_Restore() {
	guard := newExampleGuard()
	guard.HoldZone("z7", breaker.Open, 0, "ann", "restoring a backup")
	kept, err := json.Marshal(guard.Snapshot()) // to a file, every now and then
	if err != nil {
		panic(err)
	}
	guard.Close()

	next := newExampleGuard()
	defer next.Close()
	var snapshot breaker.Snapshot
	if err := json.Unmarshal(kept, &snapshot); err != nil {
		panic(err)
	}
	next.Restore(snapshot)
	_, refusal := next.Admit(context.Background(), breaker.Request{Zone: "z7", Store: "d"})
	fmt.Println(refusal.Reason)
	zone, _ := next.Zone("z7")
	fmt.Println(zone.State, "-", zone.Evidence)
	// Output:
	// zone_open
	// open - isolated by hand by ann: restoring a backup
}

// A zone of its own has its own times; what it leaves out is to be copied from the
// default.
func ExampleNewPolicy() {
	policy, err := breaker.NewPolicy(32, 2*time.Second)
	if err != nil {
		panic(err)
	}
	reports := policy.Default
	reports.Timeout, reports.SlowAfter = time.Minute, 30*time.Second
	policy.Zones["reports"] = reports
	fmt.Println(policy.Zone("z7").Timeout, policy.Zone("reports").Timeout)
	// Output: 2s 1m0s
}

// A refusal is an error.
func ExampleRefusal() {
	guard := newExampleGuard()
	defer guard.Close()
	guard.HoldZone("z7", breaker.Open, 0, "ann", "restoring a backup")

	query := func() error {
		slot, refusal := guard.Admit(context.Background(), breaker.Request{Zone: "z7", Store: "s123"})
		if refusal != nil {
			return fmt.Errorf("reading the catalogue: %w", refusal)
		}
		slot.End(breaker.OK)
		return nil
	}
	err := query()
	var refusal *breaker.Refusal
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Reason)
	}
	fmt.Println(err)
	// Output:
	// zone_open
	// reading the catalogue: refused: zone_open: isolated by hand by ann: restoring a backup
}

package breaker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// crowd is a pool of which all workers are busy, and for which requests wait, in
// twelve zones that are answered.
type crowd struct {
	sim   *breaker.Simulation
	slots []*breaker.Slot
	next  int
}

func newCrowd(tb testing.TB, workers, waiting int) *crowd {
	tb.Helper()
	p, err := (&config.App{Workers: workers, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}).Policy()
	if err != nil {
		tb.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := &crowd{sim: breaker.Simulate(p, nil, start, 1)}
	for i := range 12 { // each zone is seen to answer
		slot, _, _ := c.sim.Admit(breaker.Request{Zone: fmt.Sprint("z", i), Store: "s0"})
		slot.End(breaker.OK)
	}
	for len(c.slots) < workers {
		c.ask(tb)
	}
	for range waiting {
		c.ask(tb)
	}
	if got := c.sim.Guard().Status(); got.Waiting != waiting || got.Occupied != workers {
		tb.Fatalf("%d requests wait and %d workers are occupied, want %d and %d", got.Waiting, got.Occupied, waiting, workers)
	}
	return c
}

// ask sends a request of the next zone, of one of its 997 stores.
func (c *crowd) ask(tb testing.TB) {
	tb.Helper()
	slot, refusal, _ := c.sim.Admit(breaker.Request{Zone: fmt.Sprint("z", c.next%12), Store: fmt.Sprint("s", c.next%997)})
	c.next++
	switch {
	case refusal != nil:
		tb.Fatal(refusal)
	case slot != nil:
		c.slots = append(c.slots, slot)
	}
}

// BenchmarkAdmissionOfACrowd is what it costs to ask for a worker of a pool that is
// full, with 10,000 requests waiting, and to decide whether it may wait on.
func BenchmarkAdmissionOfACrowd(b *testing.B) {
	for _, workers := range []int{32, 256, 1024, 4096} {
		b.Run(fmt.Sprintf("%d workers", workers), func(b *testing.B) {
			c := newCrowd(b, workers, 10000)
			g := c.sim.Guard()
			b.ReportAllocs()
			for b.Loop() {
				g.Explain(fmt.Sprint("z", c.next%12), "s5")
				c.next++
			}
		})
	}
}

// BenchmarkCrowdIsServed is what it costs when a worker comes free for which 10,000
// requests wait: the end of a request, the choice of the zone and of the store, and
// the admission.
func BenchmarkCrowdIsServed(b *testing.B) {
	for _, workers := range []int{32, 256, 1024, 4096} {
		b.Run(fmt.Sprintf("%d workers", workers), func(b *testing.B) {
			var c *crowd
			left := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if left == 0 {
					b.StopTimer()
					c, left, i = newCrowd(b, workers, 10000), min(5000, workers), 0
					b.StartTimer()
				}
				left--
				c.slots[i].Answer(breaker.OK)
				c.slots[i].End(breaker.OK)
			}
		})
	}
}

// TestThousandWorkers: 1,024 workers, twelve zones with 350 requests/s each, one
// frozen, in real time: what the guard does for each request must not grow with the
// number of workers and of requests that wait. The others notice nothing.
func TestThousandWorkers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds, and two cores")
	}
	app := twoSeconds()
	app.Workers = 1024
	g := newGuard(t, app, breaker.Options{})
	defer g.Close()
	const zones, perSecond = 12, 350
	var (
		all, ok [zones]int
		mu      sync.Mutex
		wg      sync.WaitGroup
		healed  = make(chan struct{})
		frozen  bool
	)
	ask := func(zone, store int) {
		answered := false
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			all[zone]++
			if answered {
				ok[zone]++
			}
		}()
		slot, _ := g.Admit(context.Background(), breaker.Request{Zone: fmt.Sprint("z", zone), Store: fmt.Sprint("s", store)})
		if slot == nil {
			return
		}
		slot.Track()
		if zone == 7 && frozen {
			select {
			case <-healed:
			case <-time.After(slot.Timeout()):
				slot.Hang()
				<-healed
			}
		} else {
			time.Sleep(20 * time.Millisecond)
			answered = true
		}
		slot.Answer(breaker.OK)
		slot.End(breaker.OK)
	}
	load := func(d time.Duration) {
		const tick = 10 * time.Millisecond
		store := 0
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(tick) {
			for zone := range zones {
				for range perSecond * int(tick/time.Millisecond) / 1000 {
					store++
					of := store % 100
					wg.Go(func() { ask(zone, of) })
				}
			}
		}
	}
	load(time.Second)
	wg.Wait()
	all, ok, frozen = [zones]int{}, [zones]int{}, true
	load(5 * time.Second)
	state, _ := g.Zone("z7")
	close(healed)
	wg.Wait()
	asked, answered := 0, 0
	for zone := range zones {
		if zone != 7 {
			asked, answered = asked+all[zone], answered+ok[zone]
		}
	}
	if state.State != breaker.Open {
		t.Errorf("the frozen zone is %s, want open", state.State)
	}
	if 10000*(asked-answered) > asked {
		t.Errorf("%d of %d requests of the other zones had no answer", asked-answered, asked)
	}
	t.Logf("%d of %d requests of the other zones were answered; the frozen zone occupied %d workers", answered, asked, state.WorstOccupied)
}

// TestThousandWorkersVirtual is the same in virtual time, for longer, with every
// zone at 400 requests/s.
func TestThousandWorkersVirtual(t *testing.T) {
	app := twoSeconds()
	app.Workers = 1024
	o := newOutage(t, &app, 12, 100, 400, 1)
	lasts := thorough(40*time.Second, 8*time.Second)
	o.freeze(5*time.Second, lasts, "z7")
	o.run(10*time.Second + lasts)
	if share := o.innocentOK(); share < .9999 {
		t.Errorf("other zones: %.3f %% ok, want 99.99: %v", 100*share, o.reasons)
	}
	t.Logf("%d requests, others %.3f %% ok, worst %d workers", o.asked, 100*o.innocentOK(), o.worst)
}

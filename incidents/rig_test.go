package incidents_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// rig is a real guard in front of workers that block as long as their store's
// database does, and a log that is told of it. It lives in a synctest bubble.
// It counts for itself what became of every request.
type rig struct {
	t     *testing.T
	dir   string
	guard *breaker.Guard
	log   *incidents.Log
	ctx   context.Context // of the traffic
	stop  context.CancelFunc
	work  sync.WaitGroup
	ended chan struct{} // of the rig
	ends  atomic.Int64  // requests that hung and were answered

	mu       sync.Mutex // guards below
	healed   map[string]chan struct{}
	fails    map[string]bool
	refused  map[string]map[string]uint64 // by zone, by reason
	hung     map[string]uint64            // by zone
	failed   map[string]uint64
	busy     map[string]int // workers really busy, by zone
	worst    map[string]int
	switches []maintenance.Switch
	version  *int
}

const timeout = 2 * time.Second

func newRig(t *testing.T, dir string) *rig {
	t.Helper()
	policy, err := (&config.App{Workers: 32, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(timeout)}}}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, dir: dir, guard: breaker.New(policy, breaker.Options{}),
		healed: map[string]chan struct{}{}, fails: map[string]bool{}, refused: map[string]map[string]uint64{}, hung: map[string]uint64{},
		failed: map[string]uint64{}, busy: map[string]int{}, worst: map[string]int{}, version: new(int), ended: make(chan struct{}),
	}
	names := make([]string, 12)
	for n := range names {
		names[n] = fmt.Sprintf("z%d", n+1)
	}
	r.guard.Apply(policy, names)
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.open()
	r.work.Go(func() {
		for {
			select {
			case e := <-r.guard.Events():
				r.current().Tell(&e)
			case <-r.ended:
				return
			}
		}
	})
	return r
}

func (r *rig) open() {
	l := incidents.Open(incidents.Options{Dir: r.dir, Instance: "web1"})
	l.Attach(incidents.Source{Zone: r.guard.Zone, Switches: r.inForce})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = l
}

func (r *rig) current() *incidents.Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log
}

func (r *rig) close() {
	r.heal()
	r.stop()
	close(r.ended)
	r.work.Wait()
	r.log.Close()
	r.guard.Close()
}

// inForce is the rig's operators' switches.
func (r *rig) inForce(seen any) (any, incidents.Switches) {
	r.mu.Lock()
	defer r.mu.Unlock()
	version, list := r.version, r.switches
	if seen == any(version) {
		return version, nil
	}
	return version, iter.Seq2[*maintenance.Switch, string](func(yield func(*maintenance.Switch, string) bool) {
		for n := range list {
			zone := list[n].Name
			if list[n].Scope == maintenance.Store {
				zone = zoneOfStore(zone)
			}
			if !yield(&list[n], zone) {
				return
			}
		}
	})
}

// want replaces the switches in force and tells the log.
func (r *rig) want(switches ...maintenance.Switch) {
	r.mu.Lock()
	for n := range switches {
		if switches[n].Since.IsZero() {
			switches[n].Since = time.Now()
		}
		if switches[n].Mode == "" {
			switches[n].Mode = maintenance.Full
		}
	}
	r.switches, r.version = switches, new(int)
	r.mu.Unlock()
	r.log.TellSwitch(nil)
}

// A store is named after its zone: "z1-s3".
func storeName(zone string, n int) string { return fmt.Sprintf("%s-s%d", zone, n) }

func zoneOfStore(store string) string {
	var zone string
	for n, r := range store {
		if r == '-' {
			zone = store[:n]
			break
		}
	}
	return zone
}

// freeze makes zones or stores hang.
func (r *rig) freeze(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		r.healed[name] = make(chan struct{})
	}
}

// heal makes them well; without names, all.
func (r *rig) heal(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, ch := range r.healed {
		if len(names) == 0 || name == names[0] {
			close(ch)
			delete(r.healed, name)
		}
	}
}

func (r *rig) gate(zone, store string) (hangs <-chan struct{}, fails bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ch := r.healed[zone]; ch != nil {
		return ch, false
	}
	return r.healed[store], r.fails[store]
}

// traffic lets each of the stores of a zone ask again and again until the rig
// is closed.
func (r *rig) traffic(zone string, stores int, every time.Duration) {
	for n := range stores {
		r.work.Go(func() {
			sleep(r.ctx, every*time.Duration(n)/time.Duration(stores))
			for r.ctx.Err() == nil {
				r.work.Go(func() { r.request(zone, storeName(zone, n)) })
				sleep(r.ctx, every)
			}
		})
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (r *rig) request(zone, store string) {
	slot, refusal := r.guard.Admit(r.ctx, breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.refused[zone] == nil {
			r.refused[zone] = map[string]uint64{}
		}
		r.refused[zone][string(refusal.Reason)]++
		return
	}
	slot.Track()
	r.count(zone, 1)
	hangs, fails := r.gate(zone, store)
	time.Sleep(10300 * time.Microsecond) // none ends in the instant in which another is sent
	outcome := breaker.OK
	if fails {
		outcome = breaker.Failure
		r.mu.Lock()
		r.failed[zone]++
		r.mu.Unlock()
	}
	if hangs != nil {
		select {
		case <-hangs:
		case <-time.After(timeout):
			slot.Hang()
			r.mu.Lock()
			r.hung[zone]++
			r.mu.Unlock()
			<-hangs
		}
		// Not all in the same instant: the guard and the rig would count in
		// different order what ends and what is admitted in its place.
		time.Sleep(time.Duration(r.ends.Add(1)%100) * time.Millisecond)
	}
	slot.Answer(outcome)
	time.Sleep(time.Millisecond / 2) // what waited for the answer has begun
	r.count(zone, -1)
	slot.End(outcome)
}

func (r *rig) count(zone string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[zone] += n
	if r.healed[zone] != nil || n > 0 {
		r.worst[zone] = max(r.worst[zone], r.busy[zone])
	}
}

// forget begins the rig's own counts anew.
func (r *rig) forget(zone string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[zone], r.worst[zone], r.hung[zone], r.failed[zone] = map[string]uint64{}, 0, 0, 0
}

// only is the one incident of a zone.
func (r *rig) only(zone string) incidents.Incident {
	r.t.Helper()
	list, _, err := r.log.List(incidents.Query{Zone: zone})
	if err != nil || len(list) != 1 {
		r.t.Fatalf("%d incidents of %s, %v, want 1: %+v", len(list), zone, err, list)
	}
	i, err := r.log.Get(list[0].ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return i
}

package replay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/replay"
)

func policyOf(t testing.TB, workers int) *config.Policy {
	t.Helper()
	policy, err := (&config.App{Workers: workers, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// run reads, infers and replays.
func run(t *testing.T, text string, workers int) (*replay.Report, replay.Inferred) {
	t.Helper()
	policy := policyOf(t, workers)
	log := read(t, text, replay.ReadOptions{})
	found := log.Infer(policy)
	return replay.Run(log, policy, replay.Options{}), found
}

// calmTraffic is ten requests per second of ten stores each of four zones.
func calmTraffic(from, to time.Duration) (all []entry) {
	for i, at := 0, from; at < to; i, at = i+1, at+100*time.Millisecond {
		for zone := range 4 {
			all = append(all, entry{ended: at + time.Duration(20+25*zone)*time.Millisecond, took: 20 * time.Millisecond, store: fmt.Sprintf("s%d%d", zone, i%10), zone: fmt.Sprintf("z%d", zone), status: 200})
		}
	}
	return all
}

func TestCalmLog(t *testing.T) {
	report, found := run(t, logOf(calmTraffic(0, time.Minute)), 32)
	if got := report.Total.Replay; got.OK != 2400 || got.Requests != 2400 {
		t.Errorf("%+v, want 2400 requests answered well", got)
	}
	if found.Guessed+found.Queued+found.Unanswered != 0 || len(report.Suspicions)+len(report.Total.Openings) != 0 {
		t.Errorf("inferred %+v, suspicions %v, openings %v; want nothing", found, report.Suspicions, report.Total.Openings)
	}
}

// TestFrozenZone: a zone's requests take until 40 s. Its opening comes about
// slow_after after the first.
func TestFrozenZone(t *testing.T) {
	entries := calmTraffic(0, time.Minute)
	for i := range entries {
		e := &entries[i]
		if sent := e.ended - e.took; e.zone == "z2" && sent >= 20*time.Second && sent < 40*time.Second {
			e.ended = 40*time.Second + 20*time.Millisecond
			e.took = e.ended - sent
		}
	}
	report, _ := run(t, logOf(entries), 400) // in the log no request waited for a worker
	if len(report.Total.Openings) != 1 {
		t.Fatalf("openings %+v, want one", report.Total.Openings)
	}
	o := report.Zones[0].Openings[0]
	if at := o.At.Sub(began); report.Zones[0].Zone != "z2" || at < 21*time.Second || at > 21500*time.Millisecond || o.After < 1 || o.After > 1.5 {
		t.Errorf("zone %s opens at %s, %.2f s after the first; want z2 about 1 s after 20 s", report.Zones[0].Zone, at, o.After)
	}
	if until := o.Until.Sub(began); until < 40*time.Second || until > 52*time.Second {
		t.Errorf("it closes at %s, want after 40s and max_inflight answers", until)
	}
	for _, z := range report.Zones[1:] {
		if z.Replay.OK != 600 {
			t.Errorf("zone %s: %+v, want 600 answered well", z.Zone, z.Replay)
		}
	}
}

// TestQueueIsNoFault: with two workers and one stuck store the log shows
// everybody waiting; only the stuck store is to blame.
func TestQueueIsNoFault(t *testing.T) {
	var entries []entry
	entries = append(entries, calmTraffic(0, 10*time.Second)...)
	hang := 5 * time.Second
	for i := range 2 { // both workers hang for 5 s
		entries = append(entries, entry{ended: 10*time.Second + hang, took: hang, store: fmt.Sprintf("bad%d", i), zone: "z0", status: 200})
	}
	// Everybody else waits, and is then served one after the other.
	for i := range 40 {
		sent := 10*time.Second + time.Duration(i+1)*100*time.Millisecond
		ended := 15*time.Second + time.Duration(i/2+1)*20*time.Millisecond
		entries = append(entries, entry{ended: ended, took: ended - sent, store: fmt.Sprintf("s1%d", i%10), zone: "z1", status: 200})
	}
	entries = append(entries, calmTraffic(17*time.Second, 30*time.Second)...)
	policy := policyOf(t, 2)
	log := read(t, logOf(entries), replay.ReadOptions{})
	found := log.Infer(policy)
	if found.Queued != 40 || found.WorstBusy != 2 {
		t.Errorf("%+v, want 40 that queued for 2 workers", found)
	}
	for _, r := range log.Requests {
		if log.Stores[r.Store].Zone == "z1" && time.Duration(r.Worker).Round(time.Millisecond) != 20*time.Millisecond {
			t.Fatalf("a request of z1 kept its worker for %s, want 20ms", time.Duration(r.Worker))
		}
	}
}

// TestUnanswered: the clients of a stuck store leave after 3 s each, and its
// workers are stuck until it is answered again.
func TestUnanswered(t *testing.T) {
	entries := calmTraffic(0, time.Minute)
	for i := range 3 {
		sent := time.Duration(10+i) * time.Second
		entries = append(entries, entry{ended: sent + 3*time.Second, took: 3 * time.Second, store: "bad", zone: "z0", status: 499, empty: true})
	}
	entries = append(entries,
		entry{ended: 30 * time.Second, took: 20 * time.Millisecond, store: "bad", zone: "z0", status: 200},
		entry{ended: 43 * time.Second, took: 3 * time.Second, store: "worse", zone: "z0", status: 504, empty: true},
		entry{ended: 50 * time.Second, took: 3 * time.Second, store: "worse", zone: "z0", status: 504, empty: true})
	policy := policyOf(t, 32)
	log := read(t, logOf(entries), replay.ReadOptions{})
	if found := log.Infer(policy); found.Unanswered != 5 {
		t.Errorf("%d unanswered, want 5", found.Unanswered)
	}
	var ends []time.Duration
	for _, r := range log.Requests {
		if r.Took > int64(time.Second) {
			ends = append(ends, time.Unix(0, r.Begin+r.Worker).Sub(began).Round(100*time.Millisecond))
		}
	}
	if want := []time.Duration{30 * time.Second, 30 * time.Second, 30 * time.Second, 100 * time.Second, 107 * time.Second}; !slices.Equal(ends, want) {
		t.Errorf("the workers are free at %v, want %v: at the next answer, or after hung_hold", ends, want)
	}
	report := replay.Run(log, policy, replay.Options{})
	var blamed []string
	for _, q := range report.Total.Quarantines {
		blamed = append(blamed, q.Store)
	}
	if slices.Sort(blamed); !slices.Equal(slices.Compact(blamed), []string{"bad", "worse"}) {
		t.Errorf("in quarantine: %v, want bad and worse", blamed)
	}
}

// TestSameLogSameReport: nothing in a replay is left to chance.
func TestSameLogSameReport(t *testing.T) {
	var entries []entry
	for i, e := range calmTraffic(0, 2*time.Minute) {
		if e.store == "s13" && e.ended > 30*time.Second {
			e.took, e.status = 12*time.Second, 200
			e.ended += e.took
		}
		if i%11 == 0 && e.ended > 60*time.Second {
			e.status = 500
		}
		entries = append(entries, e)
	}
	first, _ := run(t, logOf(entries), 20)
	again, _ := run(t, logOf(entries), 20)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
	if len(first.Total.Quarantines) == 0 {
		t.Error("nothing happened")
	}
}

// recorder is the access log of firebreak itself.
type recorder struct {
	mu    sync.Mutex
	began time.Time
	lines []entry
}

func (r *recorder) add(sent time.Time, e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.ended, e.took = time.Since(r.began), time.Since(sent)
	r.lines = append(r.lines, e)
}

// serve lets a request meet the guard, as the handler and the transport do.
func (r *recorder) serve(g *breaker.Guard, zone, store string, takes time.Duration) {
	sent := time.Now()
	e := entry{store: store, zone: zone, status: 503}
	slot, refusal := g.Admit(context.Background(), breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		e.refusal = string(refusal.Reason)
		r.add(sent, e)
		return
	}
	slot.Track()
	if takes <= slot.Timeout() {
		time.Sleep(takes)
		slot.Answer(breaker.OK)
		slot.End(breaker.OK)
		e.status, e.outcome = 200, "ok"
		r.add(sent, e)
		return
	}
	time.Sleep(slot.Timeout())
	slot.Hang()
	e.status, e.outcome, e.refusal = 504, "hung", "hung"
	r.add(sent, e)
	time.Sleep(takes - slot.Timeout())
	slot.End(breaker.OK)
}

// TestRoundTrip lets the guard itself meet an outage, writes its access log, and
// replays that: the verdicts come at the same times, but for a sweep.
func TestRoundTrip(t *testing.T) {
	policy := policyOf(t, 32)
	log := &recorder{}
	want := make(map[string]time.Duration)
	synctest.Test(t, func(t *testing.T) {
		log.began = time.Now()
		g := breaker.New(policy, breaker.Options{})
		defer g.Close()
		g.Apply(policy, []string{"z0", "z1", "z2", "z3"})
		for i := range 60 * 100 {
			at := time.Duration(i)*10*time.Millisecond + time.Millisecond
			time.Sleep(time.Until(log.began.Add(at)))
			zone, store, takes := fmt.Sprintf("z%d", i%4), fmt.Sprintf("s%d", i/4%50), 20*time.Millisecond
			switch {
			case zone == "z2" && at > 10*time.Second && at < 14*time.Second:
				takes = 14*time.Second - at // it freezes, and comes back
			case zone == "z1" && store == "s7" && at > 30*time.Second && at < 50*time.Second:
				takes = 50*time.Second - at // one store hangs
			}
			go log.serve(g, zone, store, max(20*time.Millisecond, takes))
		}
		time.Sleep(10 * time.Second)
		for len(g.Events()) > 0 {
			e := <-g.Events()
			if _, seen := want[e.Zone+e.Store]; (e.Kind == breaker.EventZoneOpened || e.Kind == breaker.EventStoreQuarantined) && !seen {
				want[e.Zone+e.Store] = e.At.Sub(log.began.Round(0))
			}
		}
	})
	if len(want) != 2 {
		t.Fatalf("the guard's verdicts: %v, want one on z2 and one on s7 of z1", want)
	}
	report, _ := run(t, logOf(log.lines), 32)
	got := make(map[string]time.Duration)
	for _, z := range report.Zones {
		for _, o := range z.Openings {
			got[z.Zone] = o.At.Sub(began)
		}
		for _, q := range z.Quarantines {
			if _, seen := got[z.Zone+q.Store]; !seen {
				got[z.Zone+q.Store] = q.At.Sub(began)
			}
		}
	}
	for name, at := range want {
		if d := got[name] - at; d.Abs() > breaker.SweepEvery {
			t.Errorf("%s: guard at %s, replay at %s", name, at, got[name])
		}
	}
	// When z2 was back is not in the log, only when each of its stores was next
	// answered: until then their requests seem to hang on.
	for name, at := range got {
		if _, ok := want[name]; !ok && (!strings.HasPrefix(name, "z2s") || at < 14*time.Second) {
			t.Errorf("%s at %s only in the replay", name, at)
		}
	}
}

func TestSet(t *testing.T) {
	app := config.App{Workers: 32, Zones: []config.Zone{{Name: "z7", Timeout: config.Duration(5 * time.Second)}}}
	for _, change := range []string{
		"workers=48", "max_open_zones=50%", "zone.timeout=1s", "zone.z7.max_inflight=20%", "zone.z.8.min_bad_stores=4",
		"zone.z7.fail_status=500,503", "zone.max_wait=0s", "store.records=3", "zone.z7.mode=observe",
	} {
		if err := replay.Set(&app, change); err != nil {
			t.Errorf("%s: %v", change, err)
		}
	}
	policy, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	z7 := policy.Zone("z7")
	if policy.Workers != 48 || policy.MaxOpenZones != 0.5 || policy.Zone("other").Timeout != time.Second || policy.Zone("other").MaxWait != 0 ||
		z7.MaxInflight != 9 || z7.Timeout != 5*time.Second || !slices.Equal(z7.FailStatus, []int{500, 503}) || !z7.Observe ||
		policy.Zone("z.8").MinBadStores != 4 || policy.Store.Records != 3 {
		t.Errorf("policy %+v", policy)
	}
	for _, c := range []struct{ change, want string }{
		{"workers", `"workers" is no setting: write NAME=VALUE`},
		{"worker=3", "there is no such setting, did you mean workers?"},
		{"zone.timeuot=1s", "did you mean zone.timeout?"},
		{"zone.z7.max_inflght=3", "did you mean zone.z7.max_inflight?"},
		{"timeout=1s", "did you mean zone.timeout?"},
		{"zones.timeout=1s", "did you mean zone.timeout?"},
		{"store.recods=3", "did you mean store.records?"},
		{"zone.name=z", "there is no such setting"},
		{"zone.=1", "there is no such setting"},
		{"zone.a b.timeout=1s", "a zone's name is"},
		{"zone.timeout=fast", `invalid duration "fast"`},
		{"workers=many", `"many" is no whole number`},
		{"max_open_zones=x", `"x" is no share in percent`},
		{"zone.fail_status=x", `"x" is no list of HTTP statuses`},
		{"zone.max_inflight=0", "invalid amount"},
	} {
		if err := replay.Set(&app, c.change); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.change, err, c.want)
		}
	}
	for _, name := range replay.Names() {
		if err := replay.Set(&app, name+"="); err == nil {
			t.Errorf("%s can be set to nothing", name)
		}
	}
}

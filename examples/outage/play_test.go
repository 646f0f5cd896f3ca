package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// With nothing in front of the pool, one frozen zone of three takes all workers
// within seconds: the domino that the example is about.
func TestOneFrozenZoneTakesEveryWorker(t *testing.T) {
	s := openTestStage(t)
	sc, o, err := parseScenario([]string{
		"freeze", "-zones", "3", "-workers", "8", "-sick", "z2", "-rate", "60",
		"-calm", "1s", "-fault", "4s", "-after", "2s", "-client-timeout", "1s",
	})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := s.perform(t.Context(), sc, o, plainCaddy)
	if err != nil {
		t.Fatal(err)
	}
	f, err := figure(sc, o, plainCaddy, seen)
	if err != nil {
		t.Fatal(err)
	}
	if f.Requests != 420 || f.HealthyOKBefore < 99 {
		t.Errorf("want 420 requests and a calm start, got %+v", f)
	}
	if f.HealthyOKDuring > 60 || f.WorkersWorst != 8 || f.WorkersWorstSick < 7 || f.AllBusyAfter == nil {
		t.Errorf("want all workers stuck and the healthy zones down, got %+v", f)
	}
	if f.WholeAfter == nil || f.IsolatedAfter != nil || *f.SickQuick > 5 {
		t.Errorf("want a zone that never is isolated and comes back after the heal, got %+v", f)
	}
}

// A surge overruns the zone's own database; only its store counts as guilty.
func TestASurgeIsPlayedWhileTheFaultLasts(t *testing.T) {
	s := openTestStage(t)
	sc, o, err := parseScenario([]string{
		"surge", "-zones", "3", "-workers", "8", "-sick", "z2", "-rate", "15",
		"-calm", "1s", "-fault", "1s", "-after", "1s", "-client-timeout", "1s",
	})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := s.perform(t.Context(), sc, o, plainCaddy)
	if err != nil {
		t.Fatal(err)
	}
	extra := load.Filter(seen.results, func(r load.Result) bool {
		return r.Store == "s0101" && r.At >= seen.fault && r.At < seen.fault+time.Second
	})
	// 15/s over three zones, a fifth of it for the busiest store, times 100.
	if len(extra) < 90 || len(extra) > 105 {
		t.Errorf("want about 96 requests of the surging store, got %d", len(extra))
	}
	for _, r := range seen.results {
		if r.At >= 3*time.Second {
			t.Fatalf("want all requests within 3 s, got one at %v", r.At)
		}
	}
}

// stream makes one request every 10 ms in [from, to).
func stream(zone, store string, from, to time.Duration, r load.Result) []load.Result {
	var rs []load.Result
	for at := from; at < to; at += 10 * time.Millisecond {
		r.At, r.Zone, r.Store = at, zone, store
		rs = append(rs, r)
	}
	return rs
}

func TestFigures(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	fine := load.Result{Status: 200, Latency: 10 * ms}
	hung := load.Result{Status: 504, Latency: 2 * s, Refusal: "hung"}
	refused := load.Result{Status: 503, Latency: ms, Refusal: "quarantine"}
	sc, o, err := parseScenario([]string{"culprits", "-k", "1", "-temperature", "hot", "-calm", "2s", "-fault", "4s", "-after", "4s"})
	if err != nil {
		t.Fatal(err)
	}
	seen := record{fault: 2 * s, heal: 6 * s, watched: sightings{worst: 12, worstSick: 3, allBusy: never, zoneOpen: never}}
	seen.results = append(seen.results, stream("z1", "s0001", 0, 10*s, fine)...)
	seen.results = append(seen.results, stream("z7", "s0602", 0, 10*s, fine)...)
	seen.results = append(seen.results, stream("z7", "s0601", 0, 2*s, fine)...)
	seen.results = append(seen.results, stream("z7", "s0601", 2*s, 3*s, hung)...)
	seen.results = append(seen.results, stream("z7", "s0601", 3*s, 7*s, refused)...)
	seen.results = append(seen.results, stream("z7", "s0601", 7*s, 10*s, fine)...)
	seen.results = append(seen.results, stream("z1", "s0001", 2*s, 6*s, load.Result{Status: 500, Retry: 1})...)

	f, err := figure(sc, o, firebreak, seen)
	if err != nil {
		t.Fatal(err)
	}
	if f.HealthyOKBefore != 100 || f.HealthyOKDuring != 100 || *f.InnocentsOK != 100 {
		t.Errorf("want the innocent untouched and retries left out, got %+v", f)
	}
	if *f.SickQuick != 87.5 || *f.SickOK != 50 {
		t.Errorf("want 87.5 %% quick and 50 %% ok in the sick zone, got %v and %v", *f.SickQuick, *f.SickOK)
	}
	if f.IsolatedAfter == nil || *f.IsolatedAfter != 1.001 {
		t.Errorf("want isolation by the first refusal, after 1.001 s, got %v", f.IsolatedAfter)
	}
	// A window may hold 1 % of failures: two of its 200 requests.
	if f.WholeAfter == nil || *f.WholeAfter < 0.95 || *f.WholeAfter > 1 {
		t.Errorf("want the zone whole 1 s after the heal, got %v", f.WholeAfter)
	}
	if f.AllBusyAfter != nil {
		t.Errorf("want no moment without a free worker, got %v", *f.AllBusyAfter)
	}
}

func TestAssertTellsWhatIsMissed(t *testing.T) {
	good := Figures{Side: firebreak, HealthyOKDuring: 100, WorkersWorstSick: 8}
	for name, tt := range map[string]struct {
		change func(*Report)
		want   string
	}{
		"kept":          {func(*Report) {}, ""},
		"healthy zones": {func(r *Report) { r.Sides[1].HealthyOKDuring = 99.89 }, "healthy zones 99.89 % ok"},
		"workers":       {func(r *Report) { r.Sides[1].WorkersWorstSick = 9 }, "zone z7 held 9 workers"},
		"other fault":   {func(r *Report) { r.Scenario, r.Sides[1].WorkersWorstSick = "slow", 9 }, ""},
		"not run":       {func(r *Report) { r.Sides[1].NotRun = "no firebreak in it" }, "no firebreak in it"},
		"one side":      {func(r *Report) { r.Sides = r.Sides[:1] }, "was not played"},
		"restart":       {func(r *Report) { r.wholeAPI, r.Sides[1].ZonesOpened = true, []string{"z1"} }, "zones opened"},
	} {
		r := Report{Scenario: "freeze", Zone: "z7", Workers: 32, Sides: []Figures{{Side: plainCaddy}, good}}
		tt.change(&r)
		got := ""
		if err := r.assert(); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: want %q, got %q", name, tt.want, got)
		}
	}
}

func TestTheTable(t *testing.T) {
	r := Report{
		Scenario: "freeze", Fault: "database of zone z7 frozen (SIGSTOP)", Zone: "z7", Rate: 300, Workers: 32,
		FaultSeconds: 20, AfterSeconds: 10,
		Sides: []Figures{
			{Side: plainCaddy, HealthyOKDuring: 5.934, WorkersWorst: 32, AllBusyAfter: new(1.14), LagP99MS: 90},
			{Side: firebreak, NotRun: "bin/firebreak has no firebreak in it"},
		},
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"freeze: database of zone z7 frozen (SIGSTOP) for 20 s, 300 requests/s, 32 workers",
		"plain Caddy   firebreak", "5.93 %     not run", "32 of 32", "1.1 s", "not within 10 s",
		"firebreak not run: bin/firebreak has no firebreak in it", "too busy",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in the table, got:\n%s", want, out.String())
		}
	}
}

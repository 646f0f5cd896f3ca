package scenario_test

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/firebreak-proxy/firebreak/replay"
	"github.com/firebreak-proxy/firebreak/replay/scenario"
)

// bounds is what must come of each outage, each time it is played.
var bounds = map[string]func(t *testing.T, f *scenario.Figures){
	"2019-redis": func(t *testing.T, f *scenario.Figures) {
		if f.SuspectAfter < 0 || f.SuspectAfter > 1.5 || f.BlamedZones > 0 || f.Blamed > 10 {
			t.Errorf("pool suspect after %.1f s, %d zones and %d stores blamed; want it within 1.5 s, and hardly any", f.SuspectAfter, f.BlamedZones, f.Blamed)
		}
	},
	"2020-damaged": func(t *testing.T, f *scenario.Figures) {
		isolated(t, f, 4, 20) // 12 first requests, 4 second ones until two stores are named, and what is answered
		// There are more of them than the zone may have hung requests.
		if f.Named < f.Guilty-4 || f.Blamed > 0 || f.Neighbours.RefusedPercent() > 12 {
			t.Errorf("%d of %d stores named, %d others blamed, %.1f %% of their neighbours refused", f.Named, f.Guilty, f.Blamed, f.Neighbours.RefusedPercent())
		}
	},
	"2024-dark": func(t *testing.T, f *scenario.Figures) { isolated(t, f, 1.6, 8) },
	// Slow for 15 s, which opens nothing by itself: what is answered may use the
	// workers that no other zone needs, so that only the others' figures say
	// whether it has too many. Then failing after 10 s each, one in ten answered:
	// a store is named after two requests of its own, and the zone is open once
	// the lucky ones fail to come for slow_after, which they may not do for half a
	// minute. The other zones notice nothing either way.
	"2024-connections": func(t *testing.T, f *scenario.Figures) {
		if f.IsolatedAfter >= 0 {
			isolated(t, f, 30, 31)
		}
		if f.Others.OKPercent() < 99.99 || f.BlamedZones > 0 || f.WorstZone > 31 {
			t.Errorf("other zones %.2f %% ok, %d of them blamed, %d workers lost", f.Others.OKPercent(), f.BlamedZones, f.WorstZone)
		}
	},
	"overload": func(t *testing.T, f *scenario.Figures) {
		// One store may not use the last eighth of the pool while others are awake.
		if f.BlamedZones > 0 || f.Blamed > 0 || f.WorstZone > 28 || f.Neighbours.OKPercent() < 99 {
			t.Errorf("%d zones and %d stores blamed, %d workers, %.1f %% of the neighbours ok", f.BlamedZones, f.Blamed, f.WorstZone, f.Neighbours.OKPercent())
		}
	},
}

func isolated(t *testing.T, f *scenario.Figures, within float64, workers int) {
	t.Helper()
	if f.IsolatedAfter < 0 || f.IsolatedAfter > within {
		t.Errorf("isolated after %.2f s, want within %.1f", f.IsolatedAfter, within)
	}
	if f.BlamedZones > 0 {
		t.Errorf("%d zones blamed that were not ill", f.BlamedZones)
	}
	if f.WorstZone > workers {
		t.Errorf("the zone occupied %d workers of 32, want at most %d", f.WorstZone, workers)
	}
}

// TestOutages plays the five outages twice, half a minute each, and checks
// what Firebreak promises of each of them.
func TestOutages(t *testing.T) {
	for _, o := range scenario.Outages() {
		t.Run(o.Name, func(t *testing.T) {
			series, err := o.Shortened(30 * time.Second).PlayMany(2)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range series {
				bounds[o.Name](t, f)
				if o.Name != "2019-redis" && (f.Others.OKPercent() < 99.99 || f.PlainOthers.OKPercent() > 50) {
					t.Errorf("other zones %.3f %% ok, behind a plain proxy %.1f %%; want all, and not many", f.Others.OKPercent(), f.PlainOthers.OKPercent())
				}
				if f.BackAfter > 70 {
					t.Errorf("the last request was refused %.1f s after the repair", f.BackAfter)
				}
				t.Logf("%+v", *f)
			}
		})
	}
}

// TestSamePlay: nothing is left to chance.
func TestSamePlay(t *testing.T) {
	o := scenario.Outages()[1].Shortened(10 * time.Second)
	first, err := o.Play()
	if err != nil {
		t.Fatal(err)
	}
	again, err := o.Play()
	if diff := cmp.Diff(first, again, cmpopts.IgnoreFields(scenario.Figures{}, "Outage")); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestReplayOfOutages: from the access log of a plain proxy alone a replay finds
// what the scenario itself, which knows everything, finds.
func TestReplayOfOutages(t *testing.T) {
	dir := t.TempDir()
	var short []*scenario.Outage
	for _, o := range scenario.Outages()[1:3] {
		short = append(short, o.Shortened(20*time.Second))
	}
	if err := scenario.WriteFiles(dir, short); err != nil {
		t.Fatal(err)
	}
	zones := readZones(t, dir)
	app := scenario.App()
	policy, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range short {
		t.Run(o.Name, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join(dir, o.Name+".log.gz"))
			if err != nil {
				t.Fatal(err)
			}
			log, err := replay.Read(bytes.NewReader(file), replay.ReadOptions{Resolve: func(r *http.Request) (replay.Store, error) {
				key := r.URL.Query().Get("key")
				return replay.Store{Zone: zones[key], Name: key}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			log.Infer(policy)
			report := replay.Run(log, policy, replay.Options{Zones: scenario.Zones()})
			want, err := o.Play()
			if err != nil {
				t.Fatal(err)
			}
			compare(t, report, want)
		})
	}
}

func compare(t *testing.T, report *replay.Report, want *scenario.Figures) {
	t.Helper()
	got := -1.0
	if len(report.Suspicions) > 0 && want.SuspectAfter >= 0 {
		got = report.Suspicions[0].At.Sub(scenario.Start).Seconds() - 30
	}
	if d := got - want.SuspectAfter; d < -0.1 || d > 0.1 {
		t.Errorf("pool suspect after %.2f s, in the scenario after %.2f s", got, want.SuspectAfter)
	}
	if want.IsolatedAfter >= 0 {
		first := time.Time{}
		for _, o := range report.Total.Openings {
			if first.IsZero() || o.At.Before(first) {
				first = o.At
			}
		}
		for _, q := range report.Total.Quarantines {
			if first.IsZero() || q.At.Before(first) {
				first = q.At
			}
		}
		if d := first.Sub(scenario.Start).Seconds() - 30 - want.IsolatedAfter; d < -0.1 || d > 0.1 {
			t.Errorf("first verdict %.2f s after the scenario's, which comes after %.2f s", d, want.IsolatedAfter)
		}
		if z := report.Zones[0]; z.IsolatedAfter == nil || len(z.Openings)+len(z.Quarantines) == 0 {
			t.Errorf("the most troubled zone: %+v", z)
		}
	}
	if len(report.Total.Openings) > 0 && want.BlamedZones == 0 {
		for _, z := range report.Zones[1:] {
			if len(z.Openings) > 0 {
				t.Errorf("zone %s opens", z.Zone)
			}
		}
	}
}

func readZones(t *testing.T, dir string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "stores.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	zones := make(map[string]string)
	for _, row := range rows[1:] {
		zones[row[0]] = row[1]
	}
	if len(zones) != 1200 {
		t.Fatalf("%d stores", len(zones))
	}
	return zones
}

// TestTable: each outage has its line.
func TestTable(t *testing.T) {
	var all []scenario.Series
	for _, o := range scenario.Outages() {
		series, err := o.Shortened(3 * time.Second).PlayMany(1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, series)
	}
	var text strings.Builder
	if err := scenario.WriteTable(&text, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PEOPLE", "14 min", "pool suspect after 1.", "z1 open", "never", "stores named", "none: limits", "at once", "not isolated"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}

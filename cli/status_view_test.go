package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

var noon = time.Date(2026, 7, 2, 12, 0, 0, 0, time.UTC)

// shown is what a function prints at 12:10, not on a terminal.
func shown(print func(*session)) string {
	var out bytes.Buffer
	print(&session{out: &out, now: func() time.Time { return noon.Add(10 * time.Minute) }})
	return spaces(out.String())
}

func spaces(text string) string { return strings.Join(strings.Fields(text), " ") }

func zone(name string, status breaker.ZoneStatus, cause string) zoneView {
	status.Zone = name
	status.Cause = cause
	return zoneView{ZoneStatus: status}
}

func inMaintenance(z zoneView) zoneView {
	z.Maintenance = &switchView{Switch: maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Zone, Name: z.Zone}, Mode: maintenance.Full, Since: noon, By: "ann", Reason: "disk"}}
	return z
}

func TestStatusOfZones(t *testing.T) {
	long := strings.Repeat("4 of 4 stores in flight have no answer ", 5)
	reopened := zone("z7", breaker.ZoneStatus{
		State: breaker.Open, Since: noon.Add(9 * time.Minute), EpisodeSince: noon, Evidence: "3 stores were tried and none was answered", Turn: 5, RetryAfterMS: 8000, Hung: 8, MaxInflight: 8,
		QuarantinedCount: 5, Quarantined: []string{"s1", "s2", "s3", "s4", "s5"},
	}, long)
	for _, tt := range []struct {
		name     string
		zones    []zoneView
		want     []string
		unwanted []string
	}{
		{"calm", []zoneView{zone("z1", breaker.ZoneStatus{}, ""), zone("z2", breaker.ZoneStatus{}, "")}, []string{"all 2 zones calm workers:"}, []string{"ZONE"}},
		{
			"maintenance is not calm",
			[]zoneView{zone("z1", breaker.ZoneStatus{}, ""), zone("z2", breaker.ZoneStatus{}, ""), inMaintenance(zone("z3", breaker.ZoneStatus{}, ""))},
			[]string{"2 zones calm, 1 in maintenance", "z3 in maintenance"},
			[]string{"all "},
		},
		{
			"the episode's beginning, its first cause, whole, and names",
			[]zoneView{reopened, zone("z1", breaker.ZoneStatus{}, "")},
			[]string{"1 zone cut off, 1 calm, 5 stores in quarantine", "z7 cut off", "(10m00s ago)", "s1, s2, s3 and 2 more", strings.TrimSpace(long)},
			[]string{"3 stores were tried", "…"},
		},
		{
			"a zone that is tried with one request is still cut off",
			[]zoneView{zone("z7", breaker.ZoneStatus{State: breaker.HalfOpen, Window: 1, EpisodeSince: noon}, "frozen"), zone("z8", breaker.ZoneStatus{State: breaker.HalfOpen, Window: 4, EpisodeSince: noon}, "frozen")},
			[]string{"1 zone cut off, 1 coming back", "z7 cut off, being tried", "z8 coming back"},
			nil,
		},
		{
			"mode observe refuses nothing and has no limit",
			[]zoneView{zone("z7", breaker.ZoneStatus{State: breaker.Open, Observe: true, Hung: 104, MaxInflight: 8, EpisodeSince: noon}, "frozen")},
			[]string{"1 zone would be cut off (mode observe)", "z7 would be cut off", "0 104 - -"},
			[]string{"104 8"},
		},
		{
			"isolated by hand",
			[]zoneView{zone("z7", breaker.ZoneStatus{State: breaker.Open, Hold: &breaker.Hold{As: breaker.Open, Since: noon, By: "ann", Reason: "its disk is changed"}}, "")},
			[]string{"1 zone isolated by hand", "z7 isolated", "its disk is changed"},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := shown(func(s *session) { s.showStatus(&statusView{Zones: tt.zones}) })
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in: %s", want, got)
				}
			}
			for _, unwanted := range tt.unwanted {
				if strings.Contains(got, unwanted) {
					t.Errorf("%q in: %s", unwanted, got)
				}
			}
		})
	}
}

func TestPageOfZone(t *testing.T) {
	old := breaker.Culprit{Store: "s9", LastSeen: noon.Add(-time.Hour)}
	now := breaker.Culprit{Store: "s1", State: breaker.Open, LastSeen: noon.Add(time.Minute)}
	for _, tt := range []struct {
		name     string
		zone     zoneView
		want     []string
		unwanted []string
	}{
		{
			"cut off for the third time",
			zone("z7", breaker.ZoneStatus{State: breaker.Open, Since: noon.Add(9 * time.Minute), EpisodeSince: noon, Evidence: "3 stores were tried and none was answered", Turn: 3, RetryAfterMS: 8000, Hung: 8, Culprits: []breaker.Culprit{now, old}}, "4 of 4 stores have no answer"),
			[]string{"why: 4 of 4 stores have no answer", "latest: 3 stores were tried and none was answered", "cut off 3 times in this episode", "8 hung", "culprits: s1", "before: s9; now well"},
			[]string{"0 bad", "0 seen", "culprits: s1, s9"},
		},
		{
			"calm after an episode",
			zone("z7", breaker.ZoneStatus{Culprits: []breaker.Culprit{old}, WorstOccupied: 8, StoresSeen: 5}, ""),
			[]string{"zone z7 is calm", "5 seen lately", "before: s9"},
			[]string{"culprits: ", "0 of them", "at worst"},
		},
		{
			"observed",
			zone("z7", breaker.ZoneStatus{State: breaker.Open, Observe: true, Hung: 104, MaxInflight: 8, EpisodeSince: noon, WouldRefuse: map[string]uint64{"zone_open": 7}}, "frozen"),
			[]string{"zone z7 would be cut off since", "no limit in mode observe", "would have refused zone_open 7"},
			[]string{"at most 8"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := shown(func(s *session) { s.showZone(&tt.zone) })
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in: %s", want, got)
				}
			}
			for _, unwanted := range tt.unwanted {
				if strings.Contains(got, unwanted) {
					t.Errorf("%q in: %s", unwanted, got)
				}
			}
		})
	}
}

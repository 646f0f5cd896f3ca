package cli

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// healthy is a sidecar whose settings fit its traffic: three zones, ten minutes.
func healthy(t *testing.T) *examined {
	t.Helper()
	e := &examined{app: config.App{Workers: 32}, counts: newTally(nil)}
	e.status.Workers = 32
	e.counts.took = 10 * time.Minute
	e.counts.admitted = 9000
	for _, name := range []string{"z1", "z2", "z3"} {
		e.status.Zones = append(e.status.Zones, zoneView{ZoneStatus: breaker.ZoneStatus{Zone: name}})
		z := e.counts.zone(name)
		z.requests = 3000
		answered(z, .05, .1)
	}
	e.load(t)
	return e
}

// load fills in the defaults of the settings.
func (e *examined) load(t *testing.T) {
	t.Helper()
	policy, err := e.app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	e.policy = policy
}

// answered makes half of 3,000 requests take up to fast seconds, the others up to slow.
func answered(z *zoneCounts, fast, slow float64) {
	z.answered.buckets = map[float64]float64{fast: 1500, slow: 3000, math.Inf(1): 3000}
}

func TestDoctorFindsNothing(t *testing.T) {
	if found := healthy(t).diagnose(); len(found) > 0 {
		t.Errorf("findings on a sidecar that fits: %+v", found)
	}
}

// TestDoctorFindings breaks one thing each, and wants that one finding, with a line.
func TestDoctorFindings(t *testing.T) {
	fleet := func(e *examined, instances ...maintenance.Instance) {
		e.status.Fleet = &struct {
			maintenance.Fleet
			Summary string `json:"summary"`
			Problem string `json:"problem"`
		}{Fleet: maintenance.Fleet{Instances: instances}}
	}
	for name, test := range map[string]struct {
		spoil              func(e *examined)
		check, text, write string
	}{
		"waiting":       {func(e *examined) { e.counts.waited = 300 }, "waiting", "3.3 % of the requests waited", "workers 48"},
		"transport":     {func(e *examined) { e.counts.presumed = 4 }, "transport", "4 hung workers", "transport firebreak"},
		"short timeout": {func(e *examined) { answered(e.counts.zone("z2"), .5, 3) }, "timeout", "zone z2: one request of 1,000 takes 3s or longer", "zone z2 {\n\ttimeout 6s\n\tslow_after 3s\n}"},
		"short timeouts": {func(e *examined) {
			for _, z := range e.counts.zones {
				answered(z, .5, 3)
			}
		}, "timeout", "3 of 3 zones: ", "zone * {\n\ttimeout 6s"},
		"long timeout": {
			func(e *examined) {
				e.app.Zones = []config.Zone{{Name: "z1", Timeout: config.Duration(time.Minute)}}
			},
			"timeout", "a freeze is seen after 30s only", "zone z1 {\n\ttimeout 500ms",
		},
		"quiet zone":    {func(e *examined) { e.counts.zone("z3").requests = 60 }, "window", "zone z3 gets 0.10 requests/s, fewer than 3", "zone z3 {\n\twindow 30s\n}"},
		"silent zone":   {func(e *examined) { e.counts.zone("z3").requests = 0 }, "zones", "no request for 1 zone: z3", "explain URL"},
		"unknown":       {func(e *examined) { e.counts.zone(config.UnknownZone).requests = 900 }, "unknown", "9.1 % of the requests name no store", "key header"},
		"observe":       {func(e *examined) { e.status.Zones[1].Observe = true; e.counts.zone("z2").would = 5 }, "observe", "z2; 5 requests would have been refused", "mode enforce"},
		"other version": {func(e *examined) { fleet(e, sidecar("a", "v1"), sidecar("b", "v2"), sidecar("c", "v2")) }, "fleet", "v1 (a), v2 (b, c)", "the same program"},
		"other workers": {
			func(e *examined) {
				other := sidecar("b", "v1")
				other.Workers = 16
				fleet(e, sidecar("a", "v1"), other, sidecar("c", "v1"))
			},
			"fleet", "16 (b), 32 (a, c)", "workers_per_server",
		},
		"behind": {
			func(e *examined) {
				late := sidecar("b", "v1")
				late.Stale = true
				fleet(e, sidecar("a", "v1"), late)
			},
			"fleet", "do not apply the latest switches: b", "status --fleet",
		},
		"one host": {
			func(e *examined) {
				second := sidecar("b", "v1")
				second.Host = "host-a"
				fleet(e, sidecar("a", "v1"), second)
			},
			"share", "a, b run on host host-a", "share auto",
		},
		"stale": {func(e *examined) { e.status.Maintenance.Stale = true }, "state", "cannot be read", "state storage"},
	} {
		t.Run(name, func(t *testing.T) {
			e := healthy(t)
			test.spoil(e)
			e.load(t)
			found := e.diagnose()
			if len(found) != 1 {
				t.Fatalf("%d findings, want one: %+v", len(found), found)
			}
			f := found[0]
			if f.Check != test.check || !strings.Contains(f.Finding, test.text) || !strings.Contains(f.Write, test.write) {
				t.Errorf("%+v, want check %q with %q and the line %q", f, test.check, test.text, test.write)
			}
		})
	}
}

func sidecar(id, version string) maintenance.Instance {
	return maintenance.Instance{ID: id, Host: "host-" + id, Version: version, Workers: 32, ZoneCount: 3}
}

// TestDoctorSample: what was counted before the sample does not count.
func TestDoctorSample(t *testing.T) {
	before, after := healthy(t).counts, healthy(t).counts
	after.zone("z1").requests = 3100
	after.zone("z1").answered.buckets[.1] = 3050
	after.subtract(before)
	if got := after.zone("z1"); got.requests != 100 || got.answered.buckets[.1] != 50 || after.requests() != 100 {
		t.Errorf("%+v", got)
	}
	if !slices.Equal([]float64{after.admitted, after.waited}, []float64{0, 0}) {
		t.Errorf("%+v", after)
	}
}

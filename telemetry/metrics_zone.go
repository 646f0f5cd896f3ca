package telemetry

import (
	"cmp"
	"sync"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/refusal"
)

// detailedZones is how many zones have more than the series that every zone
// has: the most troubled ones. With up to so many zones all of them have.
const detailedZones = 16

// meteredZones is how many zones have series at all: the most troubled, then the
// busiest. A time series database has to keep them, so their number is bounded.
const meteredZones = 1000

// collectZones sends 20 series for every zone, and up to 5 more for those that
// people look at. The zones are sorted by trouble.
func (m *Metrics) collectZones(out collection, source *Source, zones []breaker.ZoneCounters) {
	for i := range zones {
		z := &zones[i]
		collectZone(out, z)
		m.collectDesired(out, source, z.Zone)
		if i < detailedZones {
			collectDetails(out, z)
		}
	}
}

func byTrouble(a, b breaker.ZoneCounters) int {
	return cmp.Or(-cmp.Compare(troubleOf[a.State], troubleOf[b.State]), -cmp.Compare(a.Hung, b.Hung),
		-cmp.Compare(a.Quarantined, b.Quarantined), -cmp.Compare(a.Outcomes[breaker.OK], b.Outcomes[breaker.OK]), cmp.Compare(a.Zone, b.Zone))
}

var troubleOf = map[breaker.State]int{breaker.Calm: 0, breaker.Troubled: 1, breaker.HalfOpen: 2, breaker.Open: 3}

// zoneOutcomes is how outcomes are summed up in a zone: the two classes that
// count the same share a series. What is left out here, because no zone is to
// blame for it, is in outcomes_total.
var zoneOutcomes = []struct {
	name string
	of   []breaker.Outcome
}{
	{"ok", []breaker.Outcome{breaker.OK}},
	{"slow", []breaker.Outcome{breaker.Slow}},
	{"failure", []breaker.Outcome{breaker.Failure, breaker.Broken}},
	{"hung", []breaker.Outcome{breaker.Hung, breaker.GoneLate}},
	{"gone", []breaker.Outcome{breaker.Gone}},
}

// collectZone sends what the guard knows of a zone.
func collectZone(out collection, z *breaker.ZoneCounters) {
	for _, class := range zoneOutcomes {
		var n uint64
		for _, o := range class.of {
			n += z.Outcomes[o]
		}
		out.send(zoneRequests, float64(n), class.name, z.Zone)
	}
	if z.Observe { // refuses nothing
		out.send(zoneWould, float64(z.Would), z.Zone)
	} else {
		for _, reason := range []breaker.Reason{breaker.ReasonZoneOpen, breaker.ReasonQuarantine, breaker.ReasonBusy} {
			out.send(zoneRefusals, float64(z.Refusals[reason]), string(reason), z.Zone)
		}
	}
	out.send(zoneState, 1, z.State.String(), z.Zone)
	out.send(zoneSlots, float64(z.Live), "live", z.Zone)
	out.send(zoneSlots, float64(z.Hung), "hung", z.Zone)
	out.send(zoneQuarantined, float64(z.Quarantined), z.Zone)
	out.send(zoneQuarantines, float64(z.Quarantines), z.Zone)
}

// collectDetails sends more about a zone.
func collectDetails(out collection, z *breaker.ZoneCounters) {
	out.send(zoneDoubt, oneIf(z.Doubt), z.Zone)
	out.send(zoneSlots, float64(z.Waiting), "waiting", z.Zone)
	out.send(zoneLimit, float64(z.MaxInflight), z.Zone)
	out.send(zoneStreams, float64(z.Streams), z.Zone)
	if z.Checked {
		out.send(zoneCheckUp, oneIf(z.CheckOK), z.Zone)
	}
}

// Values of zone_maintenance.
const (
	desiredService  = 0
	desiredReadOnly = 1
	desiredOff      = 2
)

// collectDesired sends what operators want of a zone, and what they had
// refused.
func (m *Metrics) collectDesired(out collection, source *Source, zone string) {
	desired := float64(desiredService)
	if sw := source.Board.Lookup(zone, ""); sw != nil {
		desired = desiredOff
		if sw.Mode == maintenance.ReadOnly {
			desired = desiredReadOnly
		}
	}
	out.send(zoneMaintenance, desired, zone)
	out.send(zoneRefusals, float64(m.RefusedInMaintenance(zone)), string(refusal.ReasonMaintenance), zone)
}

// forgetZones drops what was counted for zones that are no longer there.
func (m *Metrics) forgetZones(zones []breaker.ZoneCounters) {
	there := make(map[string]bool, len(zones))
	for i := range zones {
		there[zones[i].Zone] = true
	}
	for _, counts := range []*sync.Map{&m.inMaintenance, &m.fromMemory} {
		counts.Range(func(zone, _ any) bool {
			if name := zone.(string); !there[name] && name != config.UnknownZone {
				counts.Delete(zone)
			}
			return true
		})
	}
	m.Exemplars.keep(there)
}

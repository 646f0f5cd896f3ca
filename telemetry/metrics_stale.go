package telemetry

import (
	"slices"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/stale"
)

// Answers from memory. Zones that never had one have no series of their own.
var (
	allStale     = newCounter("stale_answers_total", "Requests answered from memory instead of a refusal, by the reason of that.", "reason")
	zoneStale    = newCounter("zone_stale_answers_total", "The same by zone; zones without any are left out.", "zone")
	staleMisses  = newCounter("stale_misses_total", "Refused requests for which memory had no answer.")
	staleBytes   = newGauge("stale_bytes", "Memory that kept answers take.")
	staleMost    = newGauge("stale_max_bytes", "Memory that kept answers may take; 0: none are kept.")
	staleEntries = newGauge("stale_entries", "Answers that are kept.")
	staleCopied  = newCounter("stale_copied_total", "Answers that were copied.")
	staleEvicted = newCounter("stale_evicted_total", "Kept answers that were evicted to make room.")
	stalePurged  = newCounter("stale_purged_total", "Kept answers that were purged by hand, by an end of maintenance or by a change of what they are about.")
)

// staleReasons is how many reasons there are for an answer from memory.
const staleReasons = 5

var reasonsForStale = [staleReasons]breaker.Reason{
	breaker.ReasonZoneOpen, breaker.ReasonQuarantine, breaker.ReasonBusy, refusal.ReasonHung, refusal.ReasonMaintenance,
}

// NoteStale counts a request that was answered from memory instead of a refusal.
func (m *Metrics) NoteStale(zone string, reason breaker.Reason) {
	if i := slices.Index(reasonsForStale[:], reason); i >= 0 {
		m.staleAnswers[i].Inc()
	}
	countIn(&m.fromMemory, zone)
}

// AnsweredFromMemory is how many requests of a zone were answered from memory.
func (m *Metrics) AnsweredFromMemory(zone string) uint64 { return countOf(&m.fromMemory, zone) }

// StaleAnswers is how many requests of all zones were answered from memory.
func (m *Metrics) StaleAnswers() (sum uint64) {
	for i := range m.staleAnswers {
		sum += m.staleAnswers[i].n.Load()
	}
	return sum
}

func (m *Metrics) collectStale(out collection, memory *stale.Memory) {
	if memory == nil {
		return
	}
	for i, reason := range reasonsForStale {
		out.send(allStale, m.staleAnswers[i].value(), string(reason))
	}
	m.fromMemory.Range(func(zone, _ any) bool {
		name := zone.(string)
		out.send(zoneStale, float64(m.AnsweredFromMemory(name)), name)
		return true
	})
	figures := memory.Figures()
	out.send(staleMisses, m.StaleMisses.value())
	out.send(staleBytes, float64(figures.Bytes))
	out.send(staleMost, float64(figures.MaxBytes))
	out.send(staleEntries, float64(figures.Answers))
	out.send(staleCopied, float64(figures.Copied))
	out.send(staleEvicted, float64(figures.Evicted))
	out.send(stalePurged, float64(figures.Purged))
}

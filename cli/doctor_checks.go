package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/sizing"
)

// What is needed for a finding.
const (
	enoughAnswers = 1000            // of a zone, to know how long 999 of 1,000 take
	enoughTraffic = 100             // requests for each zone, to expect some in all of them
	enoughTime    = time.Minute     // to know a rate
	longTimeout   = 8 * time.Second // a timeout that may be too long
	tooLong       = 8               // times what the traffic needs
	fewPercent    = 1               // of the requests
)

// diagnose runs all checks. An empty list is a sidecar whose settings fit.
func (e *examined) diagnose() (found []finding) {
	for _, check := range []func() []finding{
		e.checkWaiting, e.checkTransport, e.checkTimes, e.checkWindow,
		e.checkSilentZones, e.checkUnknown, e.checkObserve, e.checkFleet, e.checkState,
	} {
		found = append(found, check()...)
	}
	return found
}

// checkWaiting finds a pool that is too small for healthy traffic, or said to be.
func (e *examined) checkWaiting() []finding {
	share := percent(e.counts.waited, e.counts.admitted)
	if e.counts.admitted < enoughAnswers || share < fewPercent || !e.calm() {
		return nil
	}
	return []finding{{
		Check:   "waiting",
		Finding: fmt.Sprintf("%.1f %% of the requests waited for a worker, and no zone is in trouble: the pool is too small, or it has more workers than the %d in the settings", share, e.status.Workers),
		Write:   fmt.Sprintf("workers %d   # if the API server has so many; firebreak size computes what it needs", max(e.status.Workers*3/2, 1)),
	}}
}

func (e *examined) checkTransport() []finding {
	if e.counts.presumed == 0 {
		return nil
	}
	return []finding{{
		Check:   "transport",
		Finding: fmt.Sprintf("%.0f hung workers were taken for free after hung_hold, since their transport does not show when they are", e.counts.presumed),
		Write:   "reverse_proxy localhost:9000 {\n\ttransport firebreak\n}",
	}}
}

// checkTimes compares the times of each zone with how long 999 of 1,000 healthy
// requests take. What most zones need is one finding, for all of them.
func (e *examined) checkTimes() (found []finding) {
	worst, measured := time.Duration(0), 0
	for i := range e.status.Zones {
		zone := &e.status.Zones[i]
		answered := &e.counts.zone(zone.Zone).answered
		if zone.Zone == config.UnknownZone || !zone.calm() || answered.total() < enoughAnswers {
			continue
		}
		measured++
		p999 := answered.quantile(.999)
		if f := timesOf(zone.Zone, p999, e.policy.Zone(zone.Zone)); f != nil {
			found = append(found, *f)
			worst = max(worst, p999)
		}
	}
	if len(found) < 2 || 2*len(found) <= measured {
		return found
	}
	if slices.ContainsFunc(found, func(f finding) bool { _, own := e.policy.Zones[f.Zone]; return own }) {
		return found
	}
	f := timesOf(config.AllZones, worst, e.policy.Default)
	if f == nil {
		return found
	}
	f.Finding = fmt.Sprintf("%d of %d zones: %s", len(found), measured, f.Finding)
	f.Zone = ""
	return []finding{*f}
}

// timesOf compares the times of one zone.
func timesOf(zone string, p999 time.Duration, have config.ZonePolicy) *finding {
	slow, timeout := sizing.Times(p999)
	f := &finding{Check: "timeout", Zone: zone, Write: fmt.Sprintf("zone %s {\n\ttimeout %s\n\tslow_after %s\n}", zone, brief2(timeout), brief2(slow))}
	took := brief2(p999)
	switch {
	case p999 >= have.SlowAfter:
		f.Finding = fmt.Sprintf("zone %s: one request of 1,000 takes %s or longer on a healthy day, and slow_after is %s (timeout %s): healthy requests count as evidence", zone, took, brief2(have.SlowAfter), brief2(have.Timeout))
	case have.Timeout > longTimeout && have.Timeout > tooLong*timeout:
		f.Finding = fmt.Sprintf("zone %s: 999 of 1,000 requests are answered within %s, and the timeout is %s: a freeze is seen after %s only", zone, took, brief2(have.Timeout), brief2(have.SlowAfter))
	default:
		return nil
	}
	return f
}

// checkWindow finds zones that are asked too seldom for their window.
func (e *examined) checkWindow() (found []finding) {
	if e.counts.took < enoughTime {
		return nil
	}
	for i := range e.status.Zones {
		name := e.status.Zones[i].Zone
		policy := e.policy.Zone(name)
		count := e.counts.zone(name)
		rate := (count.requests + count.refused) / e.counts.took.Seconds()
		if name == config.UnknownZone || rate == 0 || rate*policy.Window.Seconds() >= float64(policy.MinBadStores) {
			continue
		}
		window := (time.Duration(float64(policy.MinBadStores)/rate)*time.Second + 9*time.Second) / (10 * time.Second) * 10 * time.Second
		if window > 10*time.Minute {
			continue // too quiet for any window
		}
		found = append(found, finding{
			Check: "window", Zone: name,
			Finding: fmt.Sprintf("zone %s gets %.2f requests/s, fewer than %d in its window of %s: too few stores are seen at once to cut it off", name, rate, policy.MinBadStores, brief2(policy.Window)),
			Write:   fmt.Sprintf("zone %s {\n\twindow %s\n}", name, brief2(window)),
		})
	}
	return found
}

// checkSilentZones finds zones without requests where all others have many.
func (e *examined) checkSilentZones() []finding {
	if e.counts.requests() < float64(enoughTraffic*len(e.status.Zones)) {
		return nil
	}
	var silent []string
	for i := range e.status.Zones {
		name := e.status.Zones[i].Zone
		if z := e.counts.zone(name); name != config.UnknownZone && z.requests+z.refused == 0 {
			silent = append(silent, name)
		}
	}
	if len(silent) == 0 {
		return nil
	}
	slices.Sort(silent)
	return []finding{{
		Check:   "zones",
		Finding: fmt.Sprintf("no request for %s: %s; either the zones have no traffic, or the directory or a key sends it elsewhere", plural(len(silent), "zone"), someOf(silent, len(silent), 5)),
		Write:   programName() + " explain URL   # for a store of " + silent[0] + "; a zone that is gone: take it out of the directory",
	}}
}

func (e *examined) checkUnknown() []finding {
	unknown, all := e.counts.zone(config.UnknownZone), e.counts.requests()
	share := percent(unknown.requests+unknown.refused, all)
	if all < enoughAnswers || share < fewPercent {
		return nil
	}
	return []finding{{
		Check:   "unknown",
		Finding: fmt.Sprintf("%.1f %% of the requests name no store of the directory: they share one zone, %s, and nothing tells their databases apart", share, config.UnknownZone),
		Write:   "key header X-Store   # in the handler: one more place where the store stands; " + programName() + " explain URL says what was found",
	}}
}

func (e *examined) checkObserve() []finding {
	var zones []string
	would := 0.0
	for i := range e.status.Zones {
		if zone := &e.status.Zones[i]; zone.Observe {
			zones = append(zones, zone.Zone)
			would += e.counts.zone(zone.Zone).would
		}
	}
	if len(zones) == 0 {
		return nil
	}
	slices.Sort(zones)
	return []finding{{
		Check:   "observe",
		Finding: fmt.Sprintf("%s only observed, nothing of it is refused: %s; %s would have been refused", plural(len(zones), "zone"), someOf(zones, len(zones), 5), plural(int(would), "request")),
		Write:   "mode enforce   # in the zone's block, when the verdicts are right: " + programName() + " incidents",
	}}
}

func (e *examined) checkState() (found []finding) {
	m := &e.status.Maintenance
	if m.Stale {
		found = append(found, finding{
			Check: "state", Finding: "the state backend cannot be read: " + m.Problem + "; the last known switches are in force",
			Write: "state storage   # or the address of a backend that answers",
		})
	}
	if m.Corrupt > 0 {
		found = append(found, finding{
			Check: "state", Finding: plural(m.Corrupt, "record") + " of the state backend cannot be read",
			Write: programName() + " maintenance list   # names them",
		})
	}
	return found
}

// calm reports whether no zone is in trouble.
func (e *examined) calm() bool {
	return !slices.ContainsFunc(e.status.Zones, func(z zoneView) bool { return z.State != breaker.Calm })
}

// total is how many requests were answered.
func (t *traffic) total() (most float64) {
	for _, n := range t.buckets {
		most = max(most, n)
	}
	return most
}

func percent(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * part / whole
}

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// quick is an answer fast enough not to be noticed.
const quick = 100 * time.Millisecond

// wholePercent over wholeWindow is what "whole again" means.
const (
	wholePercent = 99
	wholeWindow  = time.Second
)

// Figures are the result of one side. Percentages are 0 to 100, times seconds
// or milliseconds as named. A nil figure does not apply; a nil time did not
// come. Retries of impatient clients are not counted as requests.
type Figures struct {
	Side     side   `json:"side"`
	NotRun   string `json:"not_run,omitempty"`
	Requests int    `json:"requests"`
	// LagP99MS is how late the generator was. Far above 5 ms, this machine was
	// too busy for the other figures to mean much.
	LagP99MS float64 `json:"generator_lag_p99_ms"`
	NotSent  int     `json:"not_sent"`

	HealthyOKBefore    float64 `json:"healthy_ok_before_percent"`
	HealthyOKDuring    float64 `json:"healthy_ok_during_percent"`
	HealthyP99BeforeMS float64 `json:"healthy_p99_before_ms"`
	HealthyP99DuringMS float64 `json:"healthy_p99_during_ms"`

	SickQuick   *float64 `json:"sick_answered_within_100ms_percent,omitempty"`
	SickOK      *float64 `json:"sick_ok_percent,omitempty"`
	InnocentsOK *float64 `json:"innocents_ok_percent,omitempty"`

	WorkersWorst     int      `json:"workers_worst"`
	WorkersWorstSick int      `json:"workers_worst_sick_zone"`
	AllBusyAfter     *float64 `json:"all_workers_busy_after_s"`
	IsolatedAfter    *float64 `json:"isolated_after_s"`
	WholeAfter       *float64 `json:"whole_after_heal_s"`
	// ZonesOpened are the zones with at least one zone_open refusal.
	ZonesOpened []string `json:"zones_opened"`
}

func figure(sc scenario, o options, which side, seen record) (Figures, error) {
	rs := load.Filter(seen.results, func(r load.Result) bool { return r.Retry == 0 })
	isSick := func(r load.Result) bool { return !sc.wholeAPI && r.Zone == o.sick }
	isHealthy := func(r load.Result) bool { return !isSick(r) }
	before := load.Filter(rs, func(r load.Result) bool { return isHealthy(r) && r.At < seen.fault })
	during := load.Filter(rs, func(r load.Result) bool { return r.At >= seen.fault && r.At < seen.heal })
	healthy := load.Filter(during, isHealthy)

	f := Figures{
		Side: which, Requests: len(rs), LagP99MS: milliseconds(load.Lag(rs, 99)),
		NotSent:         len(load.Filter(rs, func(r load.Result) bool { return r.Err == load.ErrMaxOpen })),
		HealthyOKBefore: load.OKPercent(before), HealthyOKDuring: load.OKPercent(healthy),
		HealthyP99BeforeMS: milliseconds(load.Percentile(before, 99)),
		HealthyP99DuringMS: milliseconds(load.Percentile(healthy, 99)),
		WorkersWorst:       seen.watched.worst, WorkersWorstSick: seen.watched.worstSick,
		AllBusyAfter: after(seen.fault, seen.watched.allBusy),
		ZonesOpened:  zonesOpened(rs),
	}
	patients := isSick
	if sc.wholeAPI {
		patients = isHealthy
		f.WorkersWorstSick = 0
	} else {
		sick := load.Filter(during, isSick)
		f.SickQuick, f.SickOK = new(load.AnsweredWithin(sick, quick)), new(load.OKPercent(sick))
		f.IsolatedAfter = after(seen.fault, isolated(seen, o.sick))
	}
	f.WholeAfter = after(seen.heal, whole(load.Filter(rs, patients), seen.heal, o.calm+o.fault+o.after))
	return f, f.addInnocents(sc, o, load.Filter(during, isSick))
}

// addInnocents counts the sick zone's stores that are not the cause.
func (f *Figures) addInnocents(sc scenario, o options, sick []load.Result) error {
	if sc.culprits == nil {
		return nil
	}
	guilty, err := sc.culprits(o)
	innocents := load.Filter(sick, func(r load.Result) bool { return !slices.Contains(guilty, r.Store) })
	f.InnocentsOK = new(load.OKPercent(innocents))
	return err
}

// isolated is when the sick zone, or a store of it, was first kept from the
// pool: by the first refusal or by the zone's state.
func isolated(seen record, sick string) time.Duration {
	first := seen.watched.zoneOpen
	for _, r := range seen.results {
		at := r.At + r.Latency
		if r.Zone != sick || at < seen.fault || (r.Refusal != "zone_open" && r.Refusal != "quarantine") {
			continue
		}
		if first == never || at < first {
			first = at
		}
	}
	return first
}

// whole is the first moment from heal on after which wholePercent of the
// requests of a whole window are ok.
func whole(rs []load.Result, heal, end time.Duration) time.Duration {
	const step = 50 * time.Millisecond
	for from := heal; from+wholeWindow <= end; from += step {
		window := load.Filter(rs, func(r load.Result) bool { return r.At >= from && r.At < from+wholeWindow })
		if load.OKPercent(window) >= wholePercent {
			return from
		}
	}
	return never
}

func zonesOpened(rs []load.Result) []string {
	zones := []string{}
	for _, r := range rs {
		if r.Refusal == "zone_open" && !slices.Contains(zones, r.Zone) {
			zones = append(zones, r.Zone)
		}
	}
	slices.Sort(zones)
	return zones
}

func after(from, at time.Duration) *float64 {
	if at == never {
		return nil
	}
	return new(max(0, (at - from).Seconds()))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// assert tells where firebreak misses its promise.
func (r Report) assert() error {
	i := slices.IndexFunc(r.Sides, func(f Figures) bool { return f.Side == firebreak })
	if i < 0 {
		return errors.New("nothing to assert: firebreak's side was not played")
	}
	f := r.Sides[i]
	if f.NotRun != "" {
		return errors.New(f.NotRun)
	}
	var errs []error
	if f.HealthyOKDuring < 99.9 && !r.wholeAPI {
		errs = append(errs, fmt.Errorf("healthy zones %.2f %% ok during the fault, want 99.9 %%", f.HealthyOKDuring))
	}
	if r.Scenario == "freeze" && f.WorkersWorstSick > frozenWorkers {
		errs = append(errs, fmt.Errorf("zone %s held %d workers, want at most %d", r.Zone, f.WorkersWorstSick, frozenWorkers))
	}
	if r.wholeAPI && len(f.ZonesOpened) > 0 {
		errs = append(errs, fmt.Errorf("zones opened while the API server was away: %v", f.ZonesOpened))
	}
	return errors.Join(errs...)
}

// frozenWorkers is how many workers a frozen zone may hold: those of the requests
// that judge it, and one for each time it was tried in ten minutes.
const frozenWorkers = 8

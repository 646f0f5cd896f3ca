package workers

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Finding is what a watch has found out about a setting.
type Finding struct {
	Setting  int      // what is configured
	Estimate Estimate // what is confirmed
	Wrong    bool     // false: it was wrong, and is right again
}

// String is the finding in words.
func (f Finding) String() string {
	if !f.Wrong {
		return fmt.Sprintf("workers is %d, and the server has %s", f.Setting, f.Estimate)
	}
	return fmt.Sprintf("workers is %d, but the server has %s", f.Setting, f.Estimate)
}

// Watch compares the number of workers of a server with a setting. Source, Setting,
// InFlight and Tell must be set.
type Watch struct {
	Source Source

	// Setting is how many workers are configured; 0: there is no setting that could
	// be wrong.
	Setting func() int

	// InFlight is how many requests occupy a worker of the server, or wait for
	// one there, as far as the caller knows; negative: it does not know.
	InFlight func() int

	// Tell is called with a finding when it becomes known, and when it changes.
	Tell func(Finding)

	// Read is called after each attempt to ask the source, with the conclusion so
	// far and how many requests may be in flight in order to find out more; see
	// [Estimator.Next]. It may be nil.
	Read func(r Reading, e Estimate, next int, err error)

	// Hurry reports whether what the source says is needed soon for other reasons than
	// the number of workers. It may be nil.
	Hurry func() bool

	// How often the source is asked if there may be news; four times as often until
	// the number of workers is known exactly. As long as fewer requests are in
	// flight than are known to be served at once, a third as often. Default: 1s.
	Every time.Duration

	// How long it may take. Default: 2s.
	Timeout time.Duration

	// For how long a setting must look wrong before that is told. Default: 5s.
	Patience time.Duration

	estimator Estimator
	since     time.Time // when the setting began to look wrong; zero: it does not
	told      Finding
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	w.Every = orDefault(w.Every, time.Second)
	w.Timeout = orDefault(w.Timeout, 2*time.Second)
	w.Patience = orDefault(w.Patience, 5*time.Second)
	tick := time.NewTicker(w.Every / learning)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		if w.due(n) {
			w.once(ctx)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// How often the source is asked: learning times in Every while there is something
// to be found out, and every quietEvery times Every if no news is to be expected.
const (
	learning   = 4
	quietEvery = 3
)

// due reports whether the source is to be asked at a tick.
func (w *Watch) due(tick int) bool {
	if tick%(learning*quietEvery) == 0 || w.Hurry != nil && w.Hurry() {
		return true
	}
	inFlight := w.InFlight()
	if inFlight >= 0 && inFlight < w.estimator.Next() {
		return false
	}
	return !w.estimator.Estimate().Exact && inFlight >= 0 || tick%learning == 0
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

func (w *Watch) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	r, inFlight, err := Steady(ctx, w.Source, w.InFlight)
	switch {
	case err == nil:
		now := time.Now()
		w.estimator.Add(now, inFlight, r)
		w.judge(now)
	case errors.Is(err, ErrNotHere):
		w.estimator = Estimator{} // the server was stopped: it may come back with other workers
	}
	if w.Read != nil {
		w.Read(r, w.estimator.Estimate(), w.estimator.Next(), err)
	}
}

// again is after what time a figure that contradicts the setting is found out anew:
// a server may get more workers without being restarted.
const again = 10 * time.Minute

// judge compares the estimate with the setting.
func (w *Watch) judge(now time.Time) {
	f := Finding{Setting: w.Setting(), Estimate: w.estimator.Estimate()}
	f.Wrong = f.Estimate.Contradicts(f.Setting)
	switch {
	case !f.Wrong:
		w.since = time.Time{}
	case w.since.IsZero():
		w.since = now
	case now.Sub(w.since) >= again:
		w.estimator, w.since = Estimator{}, time.Time{}
		return
	}
	if f.Wrong && now.Sub(w.since) < w.Patience || !f.Wrong && (!w.told.Wrong || !f.agrees() && f.Setting == w.told.Setting) {
		return
	}
	if !f.newsAfter(w.told) {
		return
	}
	w.told = f
	w.Tell(f)
}

// agrees reports whether what is known speaks for the setting, and not only not
// against it.
func (f Finding) agrees() bool {
	return f.Estimate.Exact || float64(f.Estimate.Workers)*wrongBy > float64(f.Setting)
}

// newsAfter reports whether the finding tells more than an earlier one. A lower
// bound that grows does so in small steps, of which only large ones are told.
func (f Finding) newsAfter(told Finding) bool {
	if f.Wrong != told.Wrong || f.Setting != told.Setting || f.Estimate.Exact != told.Estimate.Exact {
		return true
	}
	if f.Estimate.Exact {
		return f.Estimate.Workers != told.Estimate.Workers
	}
	return float64(f.Estimate.Workers) >= wrongBy*float64(told.Estimate.Workers)
}

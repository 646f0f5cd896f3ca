package workers

import (
	"context"
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

// Watch compares the number of workers of a server with a setting. All fields
// but Every, Timeout and Patience must be set.
type Watch struct {
	Source Source

	// Setting is how many workers are configured.
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

	// How often the source is asked, if there may be news: as long as fewer
	// requests are in flight than are known to be served at once, it is asked a
	// third as often. Default: 1s.
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
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		if inFlight := w.InFlight(); inFlight < 0 || inFlight >= w.estimator.Next() || n%quietEvery == 0 {
			w.once(ctx)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// quietEvery is the share of times at which the source is asked although no news
// is to be expected.
const quietEvery = 3

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
	if err == nil {
		now := time.Now()
		w.estimator.Add(now, inFlight, r)
		w.judge(now)
	}
	if w.Read != nil {
		w.Read(r, w.estimator.Estimate(), w.estimator.Next(), err)
	}
}

// judge compares the estimate with the setting.
func (w *Watch) judge(now time.Time) {
	f := Finding{Setting: w.Setting(), Estimate: w.estimator.Estimate()}
	f.Wrong = f.Estimate.Contradicts(f.Setting)
	switch {
	case !f.Wrong:
		w.since = time.Time{}
	case w.since.IsZero():
		w.since = now
	}
	if f.Wrong && now.Sub(w.since) < w.Patience || !f.Wrong && !w.told.Wrong {
		return
	}
	if f.Wrong == w.told.Wrong && f.Setting == w.told.Setting && f.Estimate.Workers == w.told.Estimate.Workers && f.Estimate.Exact == w.told.Estimate.Exact {
		return
	}
	w.told = f
	w.Tell(f)
}

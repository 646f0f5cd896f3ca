package main

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
	"github.com/firebreak-proxy/firebreak/examples/outage/stores"
	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

// warmUp is traffic before anything is measured: connections, caches, pages.
const warmUp = time.Second

// record is what was seen of one side.
type record struct {
	results     []load.Result
	fault, heal time.Duration // when the fault began and when it was healed
	watched     sightings
}

// playSide plays the scenario through one proxy, from start to end.
func playSide(ctx context.Context, sc scenario, o options, which side) (Figures, error) {
	bin := o.plainBin
	if which == firebreak {
		bin = o.bin
		if err := hasFirebreak(bin); err != nil {
			return Figures{Side: which, NotRun: err.Error()}, nil
		}
	}
	at, err := freeAddresses()
	if err != nil {
		return Figures{}, err
	}
	s, err := openStage(o.size, at)
	if err != nil {
		return Figures{}, err
	}
	defer s.Close()
	config := ""
	if which == firebreak {
		config = o.config
	}
	if err := s.startProxy(which, bin, config); err != nil {
		return Figures{}, err
	}
	seen, err := s.perform(ctx, sc, o, which)
	if err != nil {
		return Figures{}, err
	}
	return figure(sc, o, which, seen)
}

func freeAddresses() (addresses, error) {
	var at addresses
	var errs []error
	for _, p := range []*string{&at.proxy, &at.admin, &at.api, &at.pool} {
		addr, err := loopback.Addr()
		*p = addr
		errs = append(errs, err)
	}
	return at, errors.Join(errs...)
}

// perform sends the traffic, plays the fault in the middle of it and watches.
func (s *stage) perform(ctx context.Context, sc scenario, o options, which side) (record, error) {
	total := o.calm + o.fault + o.after
	load.Run(ctx, s.plan(o, warmUp))
	if _, err := post("http://" + s.pool + "/pool/reset-worst"); err != nil {
		return record{}, err
	}
	watchCtx, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	start := time.Now()
	w := s.watch(watchCtx, o.sick, start)
	stopTalking := tell(sc.name, which, o, start, w)
	defer stopTalking()

	usual := make(chan []load.Result, 1)
	extra := make(chan []load.Result, 1)
	go func() { usual <- load.Run(ctx, s.plan(o, total)) }()
	go func() { extra <- s.surge(ctx, sc, o, start) }()
	seen, err := s.fall(ctx, sc, o, start)
	if err != nil {
		return record{}, err
	}
	seen.results = append(<-usual, <-extra...)
	stopWatching()
	seen.watched = w.stop()
	return seen, ctx.Err()
}

func (s *stage) plan(o options, d time.Duration) load.Plan {
	return load.Plan{
		Rate: o.rate, Duration: d, Burst: o.burst, Retries: o.retries,
		Timeout: o.clientTimeout, Pick: everyday(s.size.zones, s.proxy, 1),
	}
}

// fall plays the fault at its time and heals it at its time.
func (s *stage) fall(ctx context.Context, sc scenario, o options, start time.Time) (record, error) {
	var seen record
	if err := sleep(ctx, time.Until(start.Add(o.calm))); err != nil {
		return seen, err
	}
	seen.fault = time.Since(start)
	if err := sc.begin(s, o); err != nil {
		return seen, err
	}
	if err := sleep(ctx, time.Until(start.Add(o.calm+o.fault))); err != nil {
		return seen, err
	}
	if err := sc.end(s, o); err != nil {
		return seen, err
	}
	seen.heal = time.Since(start)
	return seen, nil
}

// surge sends the extra traffic of the busiest store while the fault lasts.
func (s *stage) surge(ctx context.Context, sc scenario, o options, start time.Time) []load.Result {
	if !sc.surge || sleep(ctx, time.Until(start.Add(o.calm))) != nil {
		return nil
	}
	began := time.Since(start)
	target := searchFor(s.proxy, o.sick, stores.ID(o.sickIndex, 0))
	rs := load.Run(ctx, load.Plan{
		Rate:     usualRate(o.rate, s.size.zones, 0) * (surgeFactor - 1),
		Duration: o.fault, Timeout: o.clientTimeout, Retries: o.retries,
		Pick: func(int) load.Target { return target },
	})
	for i := range rs {
		rs[i].At += began
	}
	return rs
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

package config

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Policy is settings with every default filled in and every number absolute.
type Policy struct {
	Workers       int                     // size of the pool; 0: unknown, not limited, or PerServer says
	PerServer     int                     // workers of each server; 0: Workers is divided among them
	WorkersAuto   bool                    // PerServer is where finding out begins
	Servers       map[string]int          // workers of single servers, by address
	Status        *ServerStatus           // of servers that have none of their own; nil: they are not asked
	Statuses      map[string]ServerStatus // of single servers, by address
	Parts         Parts                   // which part of the workers is this sidecar's
	ServerCheck   *ServerCheckPolicy
	MaxServersOut float64 // share of the servers that may be taken out of service by verdict, 0 to 1
	MaxOpenZones  float64 // share of the zones that may be open, 0 to 1
	Store         StorePolicy
	Repair        *RepairPolicy         // nil: stores are not repaired
	Default       ZonePolicy            // of zones that have none of their own
	Zones         map[string]ZonePolicy // by name
}

// ZonePolicy is what holds for one zone.
type ZonePolicy struct {
	Timeout, SlowAfter, BodyIdle time.Duration
	MaxWait, Window              time.Duration
	OpenTime, OpenTimeMax        time.Duration
	AbandonAfter, HungHold       time.Duration
	MaxInflight                  int // 0: no limit of its own
	MaxStreams, MinBadStores     int
	FailStatus                   []int
	Observe                      bool
	CancelOnTimeout              bool
	Check                        *Check
	StoreCheck                   *StoreCheckPolicy // nil: stores cannot be checked
}

// Fails reports whether a response of this status is a failure of the zone.
func (z *ZonePolicy) Fails(status int) bool { return slices.Contains(z.FailStatus, status) }

// StorePolicy is what holds for every store.
type StorePolicy struct {
	OpenTime, OpenTimeMax time.Duration
	Records               int
}

// Zone is the policy of the zone of this name.
func (p *Policy) Zone(name string) ZonePolicy {
	if z, ok := p.Zones[name]; ok {
		return z
	}
	return p.Default
}

// Policy checks the settings and fills in the defaults. An error names the
// setting and says what to write instead.
func (a *App) Policy() (*Policy, error) { return a.PolicyFor(Parts{}) }

// PolicyFor is Policy with the parts that share auto has found.
func (a *App) PolicyFor(parts Parts) (*Policy, error) {
	if err := a.checkWorkers(); err != nil {
		return nil, err
	}
	if err := checkShare("max_open_zones", a.MaxOpenZones); err != nil {
		return nil, err
	}
	p := &Policy{
		Workers:       a.Workers,
		MaxOpenZones:  cmp.Or(a.MaxOpenZones, defaultMaxOpenZones) / 100,
		MaxServersOut: cmp.Or(a.MaxServersOut, defaultMaxServersOut) / 100,
		Zones:         make(map[string]ZonePolicy, len(a.Zones)),
	}
	if err := a.servers(p, parts); err != nil {
		return nil, err
	}
	mine := p.Parts.Others.Workers(a.Workers, "")
	var err error
	if p.Store, err = a.Store.policy(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if p.Repair, err = a.Repair.policy(); err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	base := Zone{Name: AllZones, StoreCheck: a.Check}
	seen := make(map[string]bool)
	for i := range a.Zones {
		name := a.Zones[i].Name
		if seen[name] {
			return nil, fmt.Errorf("zone %s: specified twice", name)
		}
		seen[name] = true
		if name == AllZones {
			base = a.Zones[i]
			base.StoreCheck = base.StoreCheck.inherit(a.Check)
		}
	}
	if p.Default, err = base.policy(a.Workers, mine); err != nil {
		return nil, fmt.Errorf("zone *: %w", err)
	}
	for i := range a.Zones {
		z := a.Zones[i]
		if z.Name == AllZones {
			continue
		}
		if err := CheckZoneName(z.Name); err != nil {
			return nil, err
		}
		z.inherit(&base)
		if p.Zones[z.Name], err = z.policy(a.Workers, mine); err != nil {
			return nil, fmt.Errorf("zone %s: %w", z.Name, err)
		}
	}
	return p, nil
}

// inherit takes what z leaves out from base.
func (z *Zone) inherit(base *Zone) {
	// A timeout of its own brings its own derived times along, unless they are
	// given too.
	if z.Timeout == 0 {
		z.Timeout = base.Timeout
		z.SlowAfter = cmp.Or(z.SlowAfter, base.SlowAfter)
		z.Window = cmp.Or(z.Window, base.Window)
	}
	z.BodyIdle = cmp.Or(z.BodyIdle, base.BodyIdle)
	z.MaxInflight = cmp.Or(z.MaxInflight, base.MaxInflight)
	z.MaxWait = cmp.Or(z.MaxWait, base.MaxWait)
	z.MaxStreams = cmp.Or(z.MaxStreams, base.MaxStreams)
	if z.FailStatus == nil {
		z.FailStatus = base.FailStatus
	}
	z.MinBadStores = cmp.Or(z.MinBadStores, base.MinBadStores)
	z.OpenTime = cmp.Or(z.OpenTime, base.OpenTime)
	z.OpenTimeMax = cmp.Or(z.OpenTimeMax, base.OpenTimeMax)
	z.Mode = cmp.Or(z.Mode, base.Mode)
	z.OnTimeout = cmp.Or(z.OnTimeout, base.OnTimeout)
	z.AbandonAfter = cmp.Or(z.AbandonAfter, base.AbandonAfter)
	z.HungHold = cmp.Or(z.HungHold, base.HungHold)
	z.Check = cmp.Or(z.Check, base.Check)
	z.StoreCheck = z.StoreCheck.inherit(base.StoreCheck)
}

// policy fills in the defaults. Of the workers there are, mine are this sidecar's.
func (z *Zone) policy(workers, mine int) (ZonePolicy, error) {
	timeout := cmp.Or(z.Timeout, defaultTimeout)
	if err := z.check(workers); err != nil {
		return ZonePolicy{}, err
	}
	p := ZonePolicy{
		Timeout:         time.Duration(timeout),
		SlowAfter:       time.Duration(cmp.Or(z.SlowAfter, timeout/2)),
		BodyIdle:        time.Duration(cmp.Or(z.BodyIdle, defaultBodyIdle)),
		MaxWait:         time.Duration(deref(z.MaxWait, maxWait(mine, timeout))),
		Window:          time.Duration(cmp.Or(z.Window, max(defaultWindow, windowTimeouts*timeout))),
		OpenTime:        time.Duration(cmp.Or(z.OpenTime, defaultOpenTime)),
		OpenTimeMax:     time.Duration(cmp.Or(z.OpenTimeMax, max(defaultOpenTimeMax, z.OpenTime))),
		AbandonAfter:    time.Duration(z.AbandonAfter),
		HungHold:        time.Duration(cmp.Or(z.HungHold, defaultHungHold)),
		MaxInflight:     z.MaxInflight.Of(mine),
		MaxStreams:      deref(z.MaxStreams, defaultMaxStreams),
		MinBadStores:    cmp.Or(z.MinBadStores, defaultMinBadStores),
		FailStatus:      slices.Clone(z.FailStatus),
		Observe:         z.Mode == ModeObserve,
		CancelOnTimeout: z.OnTimeout == OnTimeoutCancel,
		Check:           z.Check.withDefaults(),
	}
	if mine > 0 {
		p.MaxInflight = min(p.MaxInflight, mine)
	}
	if z.FailStatus == nil {
		p.FailStatus = defaultFailStatus()
	}
	var err error
	if p.StoreCheck, err = z.StoreCheck.policy(p.Timeout); err != nil {
		return p, fmt.Errorf("store check: %w", err)
	}
	return p, p.check()
}

// maxWait is the default: the smaller the pool, the longer all of its workers are
// busy by chance.
func maxWait(workers int, timeout Duration) Duration {
	wait := min(defaultPoolWait/Duration(max(1, workers)), timeout/4)
	return max(defaultMaxWait, wait/Duration(time.Millisecond)*Duration(time.Millisecond))
}

func (s *Store) policy() (StorePolicy, error) {
	p := StorePolicy{
		OpenTime:    time.Duration(cmp.Or(s.OpenTime, defaultStoreOpenTime)),
		OpenTimeMax: time.Duration(cmp.Or(s.OpenTimeMax, max(defaultOpenTimeMax, s.OpenTime))),
		Records:     cmp.Or(s.Records, defaultRecords),
	}
	return p, s.check(&p)
}

func deref[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

package sizing

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Load is what is known of the pool and of its traffic.
type Load struct {
	Workers int     // of all servers together
	Servers int     // API servers; 0 or 1: there is one
	Zones   int     // databases
	Rate    float64 // requests per second through this sidecar

	// The service time: half of the requests, and 99 of 100, take at most so
	// long. P50 0: a tenth of P99.
	P50, P99 time.Duration

	// The share of all requests that go to the busiest zone, above 0 to 1.
	// 0: twice the average.
	Busiest float64

	// The age at which the API server replaces a stuck worker; 0: never.
	KillAfter time.Duration

	// How many requests of one store come at once, as a page view sends them.
	// 0: 6.
	Burst int
}

// Settings are firebreak's, of every zone. What is zero is suggested.
type Settings struct {
	Timeout     time.Duration
	SlowAfter   time.Duration
	Window      time.Duration
	MaxWait     time.Duration
	MaxInflight int // 0: no limit of its own
	HungHold    time.Duration
}

// Plan is what Load needs, and what its settings mean.
type Plan struct {
	Load
	Settings // with what was zero suggested

	GuessedP50, GuessedBusiest bool

	Mean        time.Duration // of the service time
	P999        time.Duration
	Occupied    float64 // workers busy on average
	Utilisation float64 // as a share of the pool
	ZoneLoad    float64 // workers busy on average for the busiest zone
	ZoneNeed    int     // and in 99 of 100 moments
	ZonePeak    int     // and in 999 of 1,000

	Isolated    time.Duration // from the freeze of an average zone to its opening
	PoolGone    time.Duration // from the freeze to the last free worker, without firebreak
	Worst       int           // workers a frozen zone takes within 40 s
	WorstInTime int           // within ten minutes, without a check
	Patience    time.Duration // after which a zone without an answer is in doubt
	Taken       []int         // workers taken, if one zone is frozen, two, ...
	Bearable    int           // so many zones may be frozen: the others still have room

	FrozenServer *FrozenServer // nil: there is one server

	Warnings []string
}

// How many deviations of a normal distribution 90, 99 and 99.9 % are away.
const (
	deviations90  = 1.2816
	deviations99  = 2.3263
	deviations999 = 3.0902
)

// busyAtMost is how busy the workers that are left may be for the zones that
// are well to notice nothing.
const busyAtMost = .85

// Compute fills in a plan.
func Compute(load Load, have Settings) (*Plan, error) {
	p := &Plan{Load: load, Settings: have}
	if err := p.complete(); err != nil {
		return nil, err
	}
	p.measure()
	p.suggest()
	p.foresee()
	p.foreseeServers()
	p.warn(&have)
	return p, nil
}

func (p *Plan) complete() error {
	switch {
	case p.Workers < 1:
		return errors.New("say how many workers the API server has: --workers 32, or --cores 8 --workers-per-core 4")
	case p.Zones < 1:
		return errors.New("say over how many zones (databases, shards) the stores are spread: --zones 12")
	case !(p.Rate > 0) || math.IsInf(p.Rate, 0):
		return errors.New("say how many requests come per second through this sidecar: --rate 300")
	case p.P99 <= 0:
		return errors.New("say in which time 99 of 100 requests are answered: --p99 400ms")
	case p.P50 < 0 || p.P50 > p.P99:
		return fmt.Errorf("half of the requests within %s, but 99 of 100 within %s: --p50 must be the shorter one", p.P50, p.P99)
	case p.Busiest < 0 || p.Busiest > 1:
		return fmt.Errorf("the busiest zone has %v of the requests: a share from 0 to 1", p.Busiest)
	case p.KillAfter < 0 || p.Burst < 0:
		return errors.New("times and numbers must not be negative")
	case p.MaxInflight > p.Workers:
		return fmt.Errorf("max_inflight is %d, more than the %d workers there are", p.MaxInflight, p.Workers)
	}
	if err := p.checkServers(); err != nil {
		return err
	}
	if p.P50 == 0 {
		p.P50, p.GuessedP50 = max(p.P99/10, 1), true
	}
	if p.Busiest == 0 {
		p.Busiest, p.GuessedBusiest = min(1, 2/float64(p.Zones)), p.Zones > 1
	}
	if p.Burst == 0 {
		p.Burst = 6
	}
	return nil
}

// measure derives the load. Service times are taken for log-normal, which half
// and 99 % fix; workers busy on average are Little's law, and how many in a bad
// moment is Poisson's distribution, whatever that of the service times is.
func (p *Plan) measure() {
	sigma := math.Log(float64(p.P99)/float64(p.P50)) / deviations99
	p.Mean = time.Duration(float64(p.P50) * math.Exp(sigma*sigma/2))
	p.P999 = time.Duration(float64(p.P50) * math.Exp(sigma*deviations999))
	p.Occupied = p.Rate * p.Mean.Seconds()
	p.Utilisation = p.Occupied / float64(p.Workers)
	p.ZoneLoad = p.Occupied * p.Busiest
	p.ZoneNeed = poisson(p.ZoneLoad, .99)
	p.ZonePeak = poisson(p.ZoneLoad, .999)
}

// poisson is the least n that a Poisson distribution stays at or below with the
// probability q.
func poisson(mean, q float64) int {
	if mean > 500 {
		z := deviations99
		if q > .99 {
			z = deviations999
		}
		return int(math.Ceil(mean + z*math.Sqrt(mean)))
	}
	term := math.Exp(-mean)
	sum, n := term, 0
	for sum < q {
		n++
		term *= mean / float64(n)
		sum += term
	}
	return n
}

// Times suggests slow_after and the timeout for requests of which 999 of 1,000 are
// answered within p999.
func Times(p999 time.Duration) (slowAfter, timeout time.Duration) {
	slowAfter = max(nice(p999), 250*time.Millisecond)
	return slowAfter, 2 * slowAfter
}

// suggest fills in the settings that are zero.
func (p *Plan) suggest() {
	if p.SlowAfter == 0 && p.Timeout == 0 {
		p.SlowAfter, _ = Times(p.P999)
	}
	if p.Timeout == 0 {
		p.Timeout = 2 * p.SlowAfter
	}
	if p.SlowAfter == 0 {
		p.SlowAfter = p.Timeout / 2
	}
	if p.Window == 0 {
		p.Window = max(10*time.Second, 3*p.Timeout)
	}
	if p.MaxWait == 0 {
		drained := 2 * p.Mean * time.Duration(p.Burst) / time.Duration(p.slots())
		p.MaxWait = max(100*time.Millisecond, min(nice(drained), time.Second, p.Timeout/4))
	}
	if p.HungHold == 0 && p.KillAfter > 0 {
		p.HungHold = (p.KillAfter * 4 / 3).Round(time.Second)
	}
}

// slots is how many workers the busiest zone may occupy on a healthy day.
func (p *Plan) slots() int {
	if p.MaxInflight > 0 {
		return p.MaxInflight
	}
	return p.Workers
}

// nice rounds up to a figure that people would write.
func nice(d time.Duration) time.Duration {
	for unit := time.Millisecond; ; unit *= 10 {
		for _, tenths := range []time.Duration{10, 15, 20, 25, 30, 40, 50, 60, 80} {
			if n := unit * tenths / 10; n >= d {
				return n
			}
		}
	}
}

// sweep is how often the guard looks at requests in flight, and then some.
const sweep = 100 * time.Millisecond

// foresee says what a frozen zone does.
func (p *Plan) foresee() {
	perZone := p.Rate / float64(p.Zones)
	p.Isolated = p.SlowAfter + sweep + time.Duration(minBadStores/perZone*float64(time.Second))
	p.PoolGone = time.Duration((float64(p.Workers) - p.Occupied) / perZone * float64(time.Second))
	p.PoolGone = max(p.PoolGone, 0)
	p.Patience = min(max(20*time.Millisecond, 4*p.p90()), p.SlowAfter)
	early := math.Ceil(perZone * p.Patience.Seconds())
	o := Occupation{Workers: p.Workers, Limit: p.MaxInflight, Early: int(min(early, float64(p.Workers)))}
	p.Worst, p.WorstInTime = o.Usual(probesSoon), o.Usual(probesLater)
	p.Taken = o.Taken(p.Zones)
	p.Bearable = p.bearable(p.Taken)
}

// p90 is the time that nine of ten requests keep.
func (p *Plan) p90() time.Duration {
	sigma := math.Log(float64(p.P99)/float64(p.P50)) / deviations99
	return time.Duration(float64(p.P50) * math.Exp(sigma*deviations90))
}

// bearable is how many zones may freeze for the workers that are left to have
// time for the zones that are well.
func (p *Plan) bearable(taken []int) int {
	for k := range taken {
		left := float64(p.Workers - taken[k])
		need := p.Occupied * float64(p.Zones-k-1) / float64(p.Zones)
		if left <= 0 || need/left > busyAtMost {
			return k
		}
	}
	return len(taken)
}

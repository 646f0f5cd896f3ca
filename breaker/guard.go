package breaker

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

const (
	// sweepEvery is how often requests in flight are looked at.
	sweepEvery = 25 * time.Millisecond

	// lease is how long after a slot's time the guard waits for its owner to
	// report before it does so itself.
	lease = time.Second

	// busyRetry is the Retry-After of a request that found no slot.
	busyRetry = time.Second

	eventBuffer = 4096

	// past is how far back times reach: those of earlier processes, too.
	past = 30 * 24 * time.Hour
)

// Options is what a Guard needs beside its policy.
type Options struct {
	// Check asks a zone's database how it is; nil: zones have no checks. It is
	// called off the request path, one call at a time per zone, and must heed
	// its context.
	Check func(ctx context.Context, zone string, c *config.Check) error

	// Ask asks a zone's database about its stores, if its check says how; nil: no
	// database is asked. It is called like Check.
	Ask AskFunc

	// Dial tries to connect to a server that could not be dialled; nil: requests
	// find out. It is called off the request path, one call at a time per server,
	// and must heed its context.
	Dial func(ctx context.Context, address string) error

	// CheckServer asks a server that is out of service whether it is well, if the
	// policy has a check; nil: servers have none. It is called like Dial.
	CheckServer func(ctx context.Context, address string, c *config.ServerCheckPolicy) error
}

// Guard guards one pool of workers. All methods may be called concurrently.
// Create it with New and end it with Close.
type Guard struct {
	base   time.Time // time zero of all times in this package
	policy atomic.Pointer[config.Policy]
	opts   Options
	events chan Event
	stop   context.CancelFunc
	done   sync.WaitGroup

	life context.Context // ends with Close

	mu        sync.Mutex // guards changes of zones, and below
	zones     zoneTable
	forgotten totals // of zones that are no longer there

	servers servers

	occupied   atomic.Int64 // slots, live and hung; never more than the pool's capacity
	hung       atomic.Int64
	late       atomic.Int64 // slots that are late
	usage      atomicFloat  // workers that live requests use, averages of all zones
	rate       atomicFloat  // requests that end per second, likewise
	patience   atomic.Int64 // of zones that have not learned their own; 0: not known
	learned    int64        // when patience was learned; the sweeper's own
	busyZones  atomic.Int64 // zones with requests lately, as of the last sweep: see busyFor
	openZones  atomic.Int64 // zones open or half-open, those that only observe left out
	noUpstream atomic.Uint64
	awayAt     atomic.Int64 // when a dial to the API server last failed
	answeredAt atomic.Int64 // when any request was last answered
	stoodAt    atomic.Int64 // when the whole pool was last seen to stand still, as of the last sweep
	failedAt   atomic.Int64 // when the whole pool was last found not to answer
	sweptAt    atomic.Int64 // when the sweeper last ran
	suspect    atomic.Pointer[suspicion]

	countedErrors int64 // when failing zones were last counted; the sweeper's own
	dropped       atomic.Uint64
	panics        atomic.Uint64 // bugs survived

	checksPassed, checksFailed atomic.Uint64

	queue dispatcher

	fleet  atomic.Pointer[Fleet] // other sidecars; nil: there is none
	backAt atomic.Int64          // when a zone or store last came back that the fleet is told of

	stirred  stirred
	activeMu sync.Mutex // guards active
	active   []*zone    // zones that are swept

	simulation *Simulation // moves the guard's time; nil: time passes by itself
}

// New makes a guard and starts its sweeper.
func New(p *config.Policy, opts Options) *Guard {
	g := newGuard(time.Now(), p, opts)
	g.sweptAt.Store(g.now())
	g.done.Go(func() { g.sweeper(g.life) })
	g.done.Go(func() { g.dispatch(g.life) })
	return g
}

// newGuard makes a guard that nothing drives yet.
func newGuard(start time.Time, p *config.Policy, opts Options) *Guard {
	g := &Guard{base: start.Add(-past), opts: opts, events: make(chan Event, eventBuffer)}
	g.policy.Store(p)
	g.zones.init()
	g.servers.all.Store(&map[string]*server{})
	g.servers.owned = make(map[string][]string)
	g.countServers()
	g.queue.poke = make(chan struct{}, 1)
	g.life, g.stop = context.WithCancel(context.Background())
	return g
}

// Close ends the guard's goroutines and waits for them. Slots that are still
// open may end later; nothing more is judged.
func (g *Guard) Close() {
	g.stop()
	g.done.Wait()
}

// Policy is the policy in force.
func (g *Guard) Policy() *config.Policy { return g.policy.Load() }

// Apply puts a new policy in force. States, evidence and slots stay. zones
// names all zones there are, as far as that is known: the whole that
// max_open_zones is a share of. Idle zones that are neither named nor
// configured are forgotten.
func (g *Guard) Apply(p *config.Policy, zones []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.policy.Store(p)
	g.servers.mu.Lock()
	g.countServers()
	g.servers.mu.Unlock()
	g.applyZones(p, zones)
}

// survive keeps a bug in the guard's bookkeeping, or in a check, from taking
// the process down. It tells of it as an event and is deferred where no caller
// could do better; Admit lets a panic through, so that its caller can let the
// request through.
func (g *Guard) survive() {
	if v := recover(); v != nil {
		g.panics.Add(1)
		g.emit(Event{Kind: EventInternalError, At: time.Now(), Evidence: fmt.Sprintf("%v\n%s", v, debug.Stack())})
	}
}

// Events delivers transitions in order. One reader at a time should drain it;
// events that are not read in time are dropped and counted in Status.
func (g *Guard) Events() <-chan Event { return g.events }

func (g *Guard) emit(e Event) {
	select {
	case g.events <- e:
	default:
		g.dropped.Add(1)
	}
}

// now is the guard's time in nanoseconds: monotonic, and never zero.
func (g *Guard) now() int64 {
	if g.simulation != nil {
		return g.simulation.now
	}
	return int64(time.Since(g.base))
}

// wall turns the guard's time into the time of day.
func (g *Guard) wall(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return g.base.Add(time.Duration(t)).Round(0)
}

// takeWorker books one worker of a pool of capacity workers (0: not known), of
// which so many must stay free.
func (g *Guard) takeWorker(capacity, reserve int) bool {
	for {
		n := g.occupied.Load()
		if capacity > 0 && n >= int64(capacity-reserve) {
			return false
		}
		if g.occupied.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// mayOpen books one more open zone, unless that would be more than the share
// of zones that may be open at once. One zone may always open.
func (g *Guard) mayOpen() bool {
	limit := g.mostOpen()
	for {
		n := g.openZones.Load()
		if n >= limit {
			return false
		}
		if g.openZones.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// mostOpen is how many zones may be open at once.
func (g *Guard) mostOpen() int64 {
	return max(1, int64(g.policy.Load().MaxOpenZones*float64(g.ZoneCount())))
}

// awaySince reports whether the API server could not be dialled at some time since
// t: what broke around then is its doing.
func (g *Guard) awaySince(t int64) bool {
	at := g.awayAt.Load()
	return at != 0 && at >= t
}

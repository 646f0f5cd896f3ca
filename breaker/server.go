package breaker

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type atomicFloat = atomic.Uint64 // the bits of a float64

// ServerState says whether a server gets requests.
type ServerState uint8

// The states of a server.
const (
	InService    ServerState = iota
	InDoubt                  // avoided: its requests have no answer for longer than usual, and others are preferred
	OutOfService             // found ill; it gets one request at a time, to find out
	Away                     // it cannot be dialled
)

var serverStates = [...]string{"in_service", "in_doubt", "out_of_service", "away"}

// String is the state's name in logs, metrics and the admin API.
func (s ServerState) String() string { return serverStates[s&3] }

// MarshalText writes the state's name.
func (s ServerState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name, for clients of the admin API.
func (s *ServerState) UnmarshalText(text []byte) error {
	i := slices.Index(serverStates[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is no state of a server", text)
	}
	*s = ServerState(i)
	return nil
}

// server is one API server. What requests change is atomic; the rest belongs to
// the sweeper and to holders of servers.mu.
type server struct {
	address string
	id      uint64
	local   bool // its address may name another server on each machine

	occupied   atomic.Int64 // slots booked on it
	hung       atomic.Int64 // copy for readers, as of the last sweep
	capacity   atomic.Int64 // how many requests it may get at once; 0: not known
	workers    atomic.Int64 // its workers; 0: not known
	remembered atomic.Int64 // slots of an earlier process
	readAt     atomic.Int64 // when readings last told which workers are busy; 0: never
	answeredAt atomic.Int64 // when it last answered a request
	peerAt     atomic.Int64 // when it last answered one of another sidecar
	askedAt    atomic.Int64 // when the first request was sent that it has not answered any other since; 0: none
	state      atomic.Uint32
	draining   atomic.Bool
	window     atomic.Int64 // slow start: slots at once; 0: no limit
	tryAt      atomic.Int64 // out of service: when it may get a request again
	away       atomic.Int64 // when it last could not be dialled; 0: never
	backAt     atomic.Int64 // when it last answered a request that was sent since
	asking     atomic.Bool  // it is dialled or checked now
	lost       atomic.Uint64
	fillTo     atomic.Int64 // so many requests are sent to it rather than to others, to find out how many workers it has

	good, errors atomic.Int64 // answers since the last count, with and without an error
	errorsInRow  atomic.Int64
	goodLately   float64 // the sweeper's, decaying
	errorsLately float64

	since     int64 // when state began; guarded by servers.mu, as below
	evidence  string
	turn      int
	lostAfter int64         // tryAt, while requests hang on it that may be lost
	lostTurn  int           // how often lostAfter was set since none hung
	silent    int           // late requests, as of the last sweep
	lostAt    int64         // when lostOld was last taken
	lostOld   [2]uint64     // lost as of then, and as of lostKeep before
	silentFor int64         // since when the oldest of them has been on the server
	sick      bool          // out of service since it answers errors
	asked     int64         // when it was last checked
	checked   error         // what the last check has found
	trustAt   int64         // when a check that passes brings it back
	broughtAt int64         // when one last did
	distrust  int           // how often it then went out of service again
	picture   serverPicture // the sweeper's
	silence   serverSilence // of the latest picture
	joint     serverJoint

	measured   Measured
	found      int   // workers, if they are found out; 0: not yet
	foundExact bool  // false: there are at least so many
	leftBehind []int // of the latest readings
	filledAt   int64 // when it was last filled; 0: never
}

func (s *server) is(state ServerState) bool { return ServerState(s.state.Load()) == state }

// serves reports whether the server counts for the capacity of the pool.
func (s *server) serves() bool {
	return !s.draining.Load() && (s.is(InService) || s.is(InDoubt))
}

// release takes a slot off the books of the server; nil: it was on none.
func (s *server) release() {
	if s != nil {
		s.occupied.Add(-1)
	}
}

// noteLost counts a request that the server got and did not answer.
func (s *server) noteLost(o Outcome) {
	if s != nil && (o == Hung || o == GoneLate || o == Broken) {
		s.lost.Add(1)
	}
}

// noteAnswer takes in that the server has answered a request, by which a server
// that was out of service begins to come back.
func (s *server) noteAnswer(sentAt, now int64, failed bool) {
	s.answeredAt.Store(now)
	s.askedAt.Store(0)
	if sentAt > s.away.Load() {
		s.backAt.Store(now)
	}
	if failed {
		s.errors.Add(1)
		s.errorsInRow.Add(1)
	} else {
		s.good.Add(1)
		s.errorsInRow.Store(0)
	}
	if w := s.window.Load(); w > 0 {
		s.window.CompareAndSwap(w, w+1)
	}
}

// free is how many more requests the server may get now.
func (s *server) free() int64 {
	capacity := s.capacity.Load()
	if capacity == 0 {
		capacity = math.MaxInt32
	}
	if w := s.window.Load(); w > 0 {
		capacity = min(capacity, w)
	}
	return capacity - s.occupied.Load()
}

// servers is the API servers of the pool.
type servers struct {
	mu    sync.Mutex // guards changes of all
	all   atomic.Pointer[map[string]*server]
	owned map[string][]string // by owner
	ids   uint64

	total   atomic.Int64 // workers of the servers that serve; 0: not known
	serving atomic.Int64 // how many serve
	number  atomic.Int64 // how many there are
	room    atomic.Int64 // see Guard.capacity

	filled *server // which of them is filled; the sweeper's

	fleet serversOfFleet
}

func (s *servers) inService() int64 { return s.serving.Load() }

func (s *servers) known() int64 { return s.number.Load() }

func (s *servers) get(address string) *server { return (*s.all.Load())[address] }

// SetServers says which upstream addresses one owner (a reverse_proxy handler)
// sends requests to. The pool is the union over all owners. Servers that no
// owner names any more leave the pool, and what hangs on them leaves it with
// them.
func (g *Guard) SetServers(owner string, addresses []string) {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	if slices.Equal(g.servers.owned[owner], addresses) {
		return
	}
	if len(addresses) == 0 {
		delete(g.servers.owned, owner)
	} else {
		g.servers.owned[owner] = slices.Clone(addresses)
	}
	g.applyServers()
}

// ForgetServers takes back what SetServers has said for the owner.
func (g *Guard) ForgetServers(owner string) { g.SetServers(owner, nil) }

// applyServers makes the table of servers anew. The caller holds servers.mu.
func (g *Guard) applyServers() {
	old := *g.servers.all.Load()
	next := make(map[string]*server)
	for _, addresses := range g.servers.owned {
		for _, address := range addresses {
			s := cmp.Or(next[address], old[address])
			if s == nil {
				g.servers.ids++
				s = &server{address: address, id: g.servers.ids, local: IsLocalAddress(address), since: g.now()}
			}
			next[address] = s
		}
	}
	g.servers.all.Store(&next)
	for address, s := range old {
		if next[address] == nil {
			s.draining.Store(true)
			g.writeOff(s)
		}
	}
	g.countServers()
}

// writeOff takes the slots of a server that left off the books.
func (g *Guard) writeOff(gone *server) {
	g.done.Go(func() {
		defer g.survive()
		for _, z := range g.allZones() {
			z.do(func(z *zone, now int64) {
				var next *Slot
				for s := z.slots.head; s != nil; s = next {
					if next = s.next; s.server == gone && s.phase == hung {
						z.end(s, Abandoned, now)
					}
				}
			})
		}
		g.wake()
	})
}

// countServers computes the capacity of the pool. The sweeper repeats it, since
// slots come and go. The caller holds servers.mu.
func (g *Guard) countServers() {
	p, all := g.policy.Load(), *g.servers.all.Load()
	total, serving, extra := 0, 0, int64(0)
	for _, s := range all {
		room, workers := g.room(s, p.ServerWorkers(s.address, len(all)))
		s.capacity.Store(int64(room))
		s.workers.Store(int64(workers))
		if s.serves() {
			total += workers
			serving++
			extra += int64(room-workers) + max(0, s.occupied.Load()-int64(room))
		} else {
			extra += s.occupied.Load()
		}
	}
	if p.PerServer == 0 && len(p.Servers) == 0 {
		total = min(total, p.Pool()) // what division has rounded up
	}
	g.servers.total.Store(int64(total))
	g.servers.serving.Store(int64(serving))
	g.servers.number.Store(int64(len(all)))
	switch {
	case len(all) == 0:
		g.servers.room.Store(int64(p.Pool()))
	case total == 0:
		g.servers.room.Store(int64(p.Pool())) // no server is left: the limit stays
	default:
		g.servers.room.Store(int64(total) + extra)
	}
}

// capacity is how many slots the pool has room for now: the workers of the servers
// in service, and the slots that take no room there, on servers that do not serve or
// beyond a server's own workers; 0: not known.
func (g *Guard) capacity() int { return int(g.servers.room.Load()) }

// workers is how many workers the servers in service have; 0: not known.
func (g *Guard) workers() int {
	if n := g.servers.total.Load(); n > 0 {
		return int(n)
	}
	return g.capacity()
}

// DrainServer takes a server out of service, or puts it back, on the operator's
// word. It gets no new requests while another server can take them.
func (g *Guard) DrainServer(address string, drained bool) {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	if s := g.servers.get(address); s != nil && s.draining.Swap(drained) != drained {
		g.countServers()
	}
}

// Candidates is the addresses of servers to choose from, and the servers they
// belong to. It may be used concurrently.
type Candidates struct {
	addresses []string
	found     atomic.Pointer[candidateServers]
}

// candidateServers is the servers of candidates, in a table of all servers.
type candidateServers struct {
	in      *map[string]*server
	servers []*server // nil: not known
}

// NewCandidates prepares a choice among the servers with these addresses, which
// must not change.
func NewCandidates(addresses []string) *Candidates { return &Candidates{addresses: addresses} }

// Addresses are the addresses, in the order of the indexes of [Slot.PickServer].
func (c *Candidates) Addresses() []string { return c.addresses }

// in finds the servers of the candidates. They are looked up once for each table.
func (c *Candidates) in(all *map[string]*server) []*server {
	if known := c.found.Load(); known != nil && known.in == all {
		return known.servers
	}
	found := &candidateServers{in: all, servers: make([]*server, len(c.addresses))}
	for i, address := range c.addresses {
		found.servers[i] = (*all)[address]
	}
	c.found.Store(found)
	return found.servers
}

// PickServer chooses the server for the request among the candidates that are
// usable: the one with the most free workers, none that is out of service or
// drained while there is another. The slot is booked on it. It returns the
// server's index, or -1 if no candidate is usable. Called again, it moves the
// slot.
func (s *Slot) PickServer(c *Candidates, usable func(i int) bool) int {
	servers := c.in(s.z.g.servers.all.Load())
	now := s.z.g.now()
	usual := s.z.g.patience.Load() / patienceTimes
	best, bestRank := -1, rank{}
	look := func(i int) {
		if !usable(i) {
			return
		}
		if r := servers[i].rank(now, usual); best < 0 || r.better(bestRank) {
			best, bestRank = i, r
		}
	}
	switch n := len(servers); {
	case n <= fewServers:
		first := 0
		if n > 1 {
			first = rand.IntN(n)
		}
		for i := first; i < n; i++ {
			look(i)
		}
		for i := range first {
			look(i)
		}
	default:
		for range 2 {
			look(rand.IntN(n))
		}
		if best < 0 || !bestRank.fit() {
			for i := range n {
				look(i)
			}
		}
	}
	if best >= 0 {
		s.moveTo(servers[best], now)
	}
	return best
}

// fewServers is up to how many servers each is looked at; of more, two that
// chance has picked are.
const fewServers = 16

// rank is how good a choice a server is.
type rank struct {
	class int // the lower, the better
	free  int64
}

func (r rank) better(than rank) bool {
	if r.class != than.class {
		return r.class < than.class
	}
	return r.free > than.free
}

func (r rank) fit() bool { return r.class == fit }

// The classes of servers, best first.
const (
	fit = iota
	unknown
	doubtful
	full
	judged // in doubt, with as many requests as it takes to judge it
	ill
	drained
)

// rank ranks the server. usual is how long its answers usually take, 0 if that is
// not known.
func (s *server) rank(now, usual int64) rank {
	if s == nil {
		return rank{class: unknown}
	}
	r := rank{free: s.free()}
	switch {
	case s.draining.Load():
		r.class = drained
	case s.is(Away), s.is(OutOfService):
		r.class = ill
		if s.tries(now) {
			r = rank{class: fit, free: math.MaxInt64}
		}
	case s.is(InDoubt), s.hesitates(now, usual):
		r.class = doubtful
		switch {
		case s.tries(now):
			r = rank{class: fit, free: math.MaxInt64}
		case s.occupied.Load() >= zonesForServer:
			// A few requests are enough to judge it by. Should it stand still, all that
			// it gets are lost, also when the others are full for a moment.
			r.class = judged
		}
	case r.free <= 0:
		r.class = full
	case s.occupied.Load() < s.fillTo.Load():
		r.free = math.MaxInt64
	}
	return r
}

// hesitates reports whether the server has answered nothing for twice the usual
// time since a request was sent to it. To prefer others costs nothing, so this does
// not wait for the sweeper: each request that goes to a server that stands still
// is lost.
func (s *server) hesitates(now, usual int64) bool {
	asked := s.askedAt.Load()
	return asked != 0 && usual > 0 && now-asked > max(2*usual, leastPatience)
}

// Declines reports whether the request should be sent to another server than the one
// that a policy has chosen which knows nothing of their states: it is out of service,
// drained or in doubt, and others serve.
func (s *Slot) Declines(address string) bool {
	g := s.z.g
	v := g.servers.get(address)
	if v == nil {
		return false
	}
	others := g.servers.inService()
	if v.serves() {
		others--
	}
	return others > 0 && v.rank(g.now(), g.patience.Load()/patienceTimes).class >= judged
}

// tries reports whether the request that is asked for is to find out whether the
// server answers.
func (s *server) tries(now int64) bool {
	at := s.tryAt.Load()
	return at != 0 && now >= at && s.tryAt.CompareAndSwap(at, math.MaxInt64)
}

// moveTo books the slot on a server.
func (s *Slot) moveTo(v *server, now int64) {
	s.z.mu.Lock()
	defer s.z.mu.Unlock()
	if s.server == v || s.phase == ended {
		return
	}
	s.server.release()
	if s.server = v; v != nil {
		v.occupied.Add(1)
		v.askedAt.CompareAndSwap(0, now)
	}
	s.sentAt = now
	switch ill := v != nil && (v.is(OutOfService) || v.is(Away)); {
	case ill && s.silent():
		s.z.void(s, "", now)
	case ill:
		s.void = true
	case s.void:
		s.void = false
		s.z.resume(s)
	}
}

// Sent says to which server the request really goes.
func (s *Slot) Sent(address string) {
	if v := s.z.g.servers.get(address); v != nil {
		s.moveTo(v, s.z.g.now())
	}
}

// NotSent records that no connection to the server could be made. The slot leaves
// the server, which is away until a connection can be made again.
func (s *Slot) NotSent(address string) {
	g := s.z.g
	now := g.now()
	s.moveTo(nil, now)
	g.upstreamAway(now)
	v := g.servers.get(address)
	if v == nil || v.is(Away) {
		return
	}
	v.away.Store(now)
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	g.setServer(v, Away, now, "no connection can be made")
}

// setServer moves a server to a state. The caller holds servers.mu.
func (g *Guard) setServer(v *server, to ServerState, now int64, why string) {
	from := ServerState(v.state.Swap(uint32(to)))
	if from == to {
		return
	}
	v.since, v.evidence = now, why
	switch to {
	case OutOfService, Away:
		v.turn++
		v.window.Store(1)
		v.checked = nil
		g.schedule(v, now+int64(tryServer))
	case InService:
		v.tryAt.Store(0)
		v.joint = serverJoint{}
		if from == InDoubt {
			v.window.Store(0)
		}
	case InDoubt:
		v.turn = 0
		v.tryAt.Store(now + int64(g.policy.Load().Default.SlowAfter))
	}
	g.countServers()
	kind := ""
	switch {
	case to == OutOfService || to == Away:
		kind = EventServerOut
	case from == OutOfService || from == Away:
		kind = EventServerBack
	}
	lost := v.lost.Load()
	if kind == EventServerOut {
		lost = v.lostOld[1]
	}
	if kind != "" {
		g.emit(Event{Kind: kind, At: g.wall(now), Server: v.address, Evidence: why, First: g.wall(v.silentFor), Lost: lost})
	}
	g.wake()
}

// ServerStatus is the picture of one server.
type ServerStatus struct {
	Address  string      `json:"address"`
	State    ServerState `json:"state"`
	Draining bool        `json:"draining,omitempty"` // by an operator's switch
	Since    time.Time   `json:"since,omitzero"`     // when the state began
	Evidence string      `json:"evidence,omitempty"`
	Workers  int         `json:"workers"` // 0: not known
	Occupied int         `json:"occupied"`
	Live     int         `json:"live"`
	Hung     int         `json:"hung"`
	Lost     uint64      `json:"lost"`               // requests that were sent there and got no answer, since start
	Check    string      `json:"check,omitempty"`    // why its server_check fails, while it is out of service
	Measured *Measured   `json:"measured,omitempty"` // what is known beside the settings; nil: it is not asked
}

// Servers is the picture of all servers, by address.
func (g *Guard) Servers() []ServerStatus {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	all := *g.servers.all.Load()
	list := make([]ServerStatus, 0, len(all))
	for _, address := range slices.Sorted(maps.Keys(all)) {
		v := all[address]
		s := ServerStatus{
			Address: address, State: ServerState(v.state.Load()), Draining: v.draining.Load(), Since: g.wall(v.since), Evidence: v.evidence,
			Workers: int(v.workers.Load()), Occupied: int(v.occupied.Load()), Hung: int(v.hung.Load()), Lost: v.lost.Load(),
		}
		if s.State == InDoubt {
			s.Evidence = g.avoided(v)
		}
		if v.checked != nil {
			s.Check = v.checked.Error()
		}
		s.Hung = min(s.Hung, s.Occupied)
		s.Live = s.Occupied - s.Hung
		if v.measured.Source != "" {
			m := v.measured
			s.Measured = &m
		}
		list = append(list, s)
	}
	return list
}

// avoided is why a server is in doubt, as of now.
func (g *Guard) avoided(v *server) string {
	requests := "1 request"
	if v.silent != 1 {
		requests = fmt.Sprintf("%d requests", v.silent)
	}
	return fmt.Sprintf("avoided: %s unanswered since %s UTC", requests, g.wall(v.silentFor).UTC().Format(time.TimeOnly))
}

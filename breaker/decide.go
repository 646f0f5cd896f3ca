package breaker

import "time"

// picture is what is known of a zone, a store and the pool at the moment a
// request asks for a worker. Everything in it is kept in counters: taking it
// costs the same with one slot and with thousands.
type picture struct {
	// The zone.
	state      State
	doubt      bool // a witness is unanswered for longer than patience, and no request was answered since it began
	silent     int  // in doubt: stores with witnesses that began after the latest answer and have none
	asked      int  // in doubt: those witnesses
	hear       int  // stores it takes to judge the zone
	open       int  // questions: late requests that nothing explains yet
	ill        bool // many requests hang whose stores were known to come back
	mixed      bool // requests of some stores hang while others are answered
	stuck      int  // late and hung requests, explained or not
	remembered int  // of those, the ones that an earlier process saw hang
	taken      int  // workers occupied
	limit      int  // workers it may occupy
	window     int  // slow start: live requests at once; 0: no limit
	live       int
	quiet      time.Duration // since the latest late request of the zone began

	// The store.
	mine     int  // its unanswered requests
	greedy   bool // it holds most of the zone's workers, and other stores are awake
	mineOpen int  // questions among them
	mineLate int  // late ones among them
	asking   int  // unanswered requests of unproven stores that are not late, in the zone
	seconds  int  // second requests of stores in doubt that are unanswered, in the zone
	lost     bool // its latest request hung, and has ended without an answer
	struck   bool // each question of it is a strike: unanswered for slow_after while others were answered
	tried    bool // the database is asked whether the store is well
	vouched  bool // its probe in the database passed since then
	proven   bool // answered since the oldest late request of the zone began
	strikes  int  // strikes that put a store into quarantine
	shared   bool // the bucket of unknown keys

	// The pool.
	capacity, occupied int
	stuckAll           int // late and hung requests of all zones
	needed             int // workers that the other zones usually need, peaks included
}

// class is how well the requests of a store are known to come back. It decides
// how many workers of the pool are kept from them.
type class uint8

const (
	known    class = iota // the zone flows, and nothing speaks against the store
	unproven              // the zone or the store is in doubt: it may hang
	trial                 // the zone or the store was found ill, and is tried again
)

// reserve is the trunk reservation: how many workers of the pool must stay free
// when a request of the class is admitted, so that requests that may hang never
// take the last workers from those that are known to come back. Nor do requests
// that may hang get a worker if, with those that hang already, less is left than
// the other zones usually need, but for one at a time of a zone that flows.
func (c class) reserve(capacity int) int {
	if c == known || capacity <= 1 {
		return 0
	}
	return max(1, capacity/8)
}

// mostStuck is how many workers of the pool the late and hung requests of one
// zone may hold before only stores that are proven well are let in: three
// eighths, and as many as it takes to judge the zone.
func (p *picture) mostStuck() int { return max(p.hear, p.capacity*3/8) }

// beyondHalf reports whether the zone's late and hung requests hold half of the pool, and
// no further store may be asked yet. One may once none has hung for ten seconds, and for
// ten seconds more for each that has hung beyond half: a store without a request for hours
// must not be refused for as long as the workers hang. What an earlier process saw hang
// does not count, since after a restart no store is known to be well.
func (p *picture) beyondHalf() bool {
	over := p.stuck - p.remembered + p.asking - (p.capacity+1)/2
	return over >= 0 && (p.asking > 0 || p.quiet < time.Duration(over+1)*beyondHalfAfter)
}

const beyondHalfAfter = 10 * time.Second

// burst is how many requests a zone may have begun since its latest answer and still
// take any worker: as many as it takes to judge it, and an eighth of the pool, which a
// zone that is answered has by chance only once in some hundred requests.
func burst(hear, capacity int) int { return max(hear, capacity/8) }

// ruling is what happens to a request that asks for a worker.
type ruling struct {
	admit bool
	class class
	why   why

	// witness reports whether the silence of the request would speak against the
	// zone. That of a store which may hang by itself does not.
	witness bool
}

// why says why a request has to wait.
type why uint8

const (
	admitted why = iota
	zoneInDoubt
	storeInDoubt
	storeUnproven
	zoneStuck
	zoneStarts
	zoneLimit
	poolFull
	poolReserve
	beingTried
	fleetAsked
	storeGreedy
)

var whys = [...]string{
	admitted:      "admitted",
	zoneInDoubt:   "the zone is in doubt: its requests have no answer for longer than usual, and none was answered since",
	storeInDoubt:  "the store is in doubt: its requests have no answer, while others are answered",
	storeUnproven: "requests of the zone hang; a store that was not answered since gets one worker at a time",
	zoneStuck:     "requests of the zone that hang hold as many workers as one zone may lose",
	zoneStarts:    "the zone came back a moment ago: one more request is let in with each answer",
	zoneLimit:     "the zone occupies as many workers as it may",
	poolFull:      "every worker of the pool is occupied",
	poolReserve:   "the last workers of the pool are kept for requests that are known to come back",
	storeGreedy:   "the store holds most of the workers of its zone; the last ones are for the others",
	beingTried:    "another request is trying whether it is well again",
	fleetAsked:    "the other sidecars are asked which of them tries whether it is well again",
}

// zoneWide reports whether the reason holds for every store of the zone.
func (w why) zoneWide() bool {
	return w == zoneStarts || w == zoneLimit || w == poolFull
}

// ofPool reports whether what the request waits for may come free in another zone.
func (w why) ofPool() bool {
	return w == poolFull || w == poolReserve || w == zoneLimit || w == storeGreedy
}

// patient reports whether a request may wait up to slow_after instead of
// max_wait: what it waits for is an answer that is late, not a worker.
func (w why) patient() bool {
	switch w {
	case zoneInDoubt, storeInDoubt, zoneStarts, storeUnproven, zoneStuck, poolReserve:
		return true
	case admitted, zoneLimit, poolFull, beingTried, fleetAsked, storeGreedy:
	}
	return false
}

// decide says whether a request of a closed zone gets a worker. It is the one
// place where that is decided.
func decide(p *picture) ruling {
	c, why, witness := known, admitted, true
	switch {
	case p.doubt && (!p.mixed || p.proven):
		// No further worker beyond what it takes to hear enough stores.
		c = unproven
		fresh := p.mine == 0 && p.silent < p.hear
		again := p.asked < p.hear && (p.shared || p.mine == p.mineLate && p.mine < 2)
		if !fresh && !again && (!p.vouched || p.mine > 0) {
			why = zoneInDoubt
		}
	case p.shared:
	case p.mineOpen > 0:
		// Its next request, alone, says whether the store hangs.
		c, witness = unproven, false
		// While several stores are in question, it waits until the first request
		// is a strike, and two stores are asked again at a time: once two stores
		// are in quarantine, one strike is enough for the others.
		several := p.open >= p.hear
		if p.tried || p.mine > p.mineLate || p.mineOpen >= p.strikes || several && (!p.struck || p.strikes == 2 && p.seconds >= 2) {
			why = storeInDoubt
		}
	case p.lost || (p.open > 0 || p.mixed) && !p.proven:
		c, witness = unproven, false
		if p.mine > 0 || p.tried {
			why = storeUnproven
		}
	}
	if c == known && p.ill {
		c = unproven
	}
	if why == admitted && c == unproven && p.capacity > 0 && p.stuck+p.asking >= p.mostStuck() {
		// Beyond that, one request at a time finds out which stores are well.
		if p.beyondHalf() || !p.struck && p.asking > 0 {
			why = zoneStuck
		}
	}
	if why != admitted {
		return ruling{class: c, why: why}
	}
	r := p.room(c)
	r.witness = witness
	return r
}

// othersNeed reports whether so many requests hang that the other zones would lack
// workers if one more did. It is put up with for as few as it takes to judge the zone, if
// they are the only ones that hang, and half of the pool is left.
func (p *picture) othersNeed() bool {
	if p.doubt && p.stuck == p.stuckAll && p.stuck < p.hear && 2*(p.stuck+1) <= p.capacity {
		return false
	}
	return p.stuckAll > 0 && p.stuckAll >= p.capacity-p.needed
}

// room says whether there is a worker for a request of the class.
func (p *picture) room(c class) ruling {
	free, reserve := p.capacity-p.occupied, c.reserve(p.capacity)
	if c == known && p.asked >= burst(p.hear, p.capacity) {
		// The zone may have stopped a moment ago. It gets what the others do not
		// need until it is answered, or in doubt.
		reserve = max(reserve, min(p.needed, p.capacity/2))
	}
	limit := p.limit
	if p.greedy {
		reserve = max(reserve, 1, p.capacity/8)
		limit -= max(1, min(limit, p.capacity)/4)
	}
	switch {
	case p.window > 0 && p.live >= p.window:
		return ruling{class: c, why: zoneStarts}
	case p.taken >= limit && p.greedy:
		return ruling{class: c, why: storeGreedy}
	case p.taken >= limit:
		return ruling{class: c, why: zoneLimit}
	case p.capacity > 0 && free <= 0:
		return ruling{class: c, why: poolFull}
	case p.capacity > 0 && (free <= reserve || c != known && p.othersNeed() && (p.doubt || c == trial || p.asking > 0)):
		return ruling{class: c, why: poolReserve}
	}
	return ruling{admit: true, class: c}
}

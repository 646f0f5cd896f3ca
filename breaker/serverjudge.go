package breaker

import (
	"context"
	"fmt"
	"math"
	"time"
)

// serverPicture is what one sweep has seen of a server's slots.
type serverPicture struct {
	hung  int
	late  int                 // late requests that began after the server's latest answer
	aging map[uint64]struct{} // stores of those that are unanswered for slow_after, while their zones are answered elsewhere
	zones map[*zone]struct{}  // these zones
}

// storesForServer is how many stores must be silent on a server, while their
// zones are answered by other servers, for it to be taken out of service.
const storesForServer = 2

// look adds the slots of a zone to the pictures of their servers.
func (z *zone) look(now int64) {
	for s := z.slots.head; s != nil; s = s.next {
		v := s.server
		if v == nil {
			continue
		}
		if s.phase == hung {
			v.picture.hung++
		}
		if !s.unanswered() || !s.late || s.sentAt < v.answeredAt.Load() {
			continue
		}
		v.picture.late++
		if s.aging(now) && !s.void && z.answeredX.elsewhereSince(v.id, s.sentAt) {
			if v.picture.aging == nil {
				v.picture.aging, v.picture.zones = make(map[uint64]struct{}), make(map[*zone]struct{})
			}
			v.picture.aging[s.hash] = struct{}{}
			v.picture.zones[z] = struct{}{}
		}
	}
}

// judgeServers passes verdicts on servers: what is silent where others are
// answered is out of service.
func (g *Guard) judgeServers(now int64) {
	all := *g.servers.all.Load()
	if len(all) == 0 {
		return
	}
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	good, errors := g.countAnswers(all)
	for _, v := range all {
		v.hung.Store(int64(v.picture.hung))
		switch ServerState(v.state.Load()) {
		case InService, InDoubt:
			g.judgeServer(v, good-v.goodLately, errors-v.errorsLately, now)
		case OutOfService:
			g.judgeOut(v, now)
		case Away:
			g.judgeAway(v, now)
		}
		if w := v.window.Load(); w >= v.capacity.Load() && v.is(InService) {
			v.window.Store(0)
		}
	}
}

const answersOver = 2 * time.Second // time constant of answers and errors by server

// countAnswers updates the averages of answers and errors, and sums them up.
func (g *Guard) countAnswers(all map[string]*server) (good, errors float64) {
	keep := math.Exp(-float64(sweepEvery) / float64(answersOver))
	for _, v := range all {
		v.goodLately = v.goodLately*keep + float64(v.good.Swap(0))
		v.errorsLately = v.errorsLately*keep + float64(v.errors.Swap(0))
		good, errors = good+v.goodLately, errors+v.errorsLately
	}
	return good, errors
}

// judgeServer judges a server in service. good and errors are the answers of all
// others.
func (g *Guard) judgeServer(v *server, good, errors float64, now int64) {
	why := ""
	switch {
	case len(v.picture.aging) >= storesForServer:
		why = fmt.Sprintf("requests of %d stores have no answer for over %s, while their zones are answered by other servers", len(v.picture.aging), g.policy.Load().Default.SlowAfter)
	case v.errorsLately >= 10 && v.errorsLately >= v.goodLately && good >= 10 && errors <= good/10:
		why = fmt.Sprintf("%.0f %% of its answers are errors, %.0f %% of the other servers'", 100*v.errorsLately/(v.errorsLately+v.goodLately), 100*errors/(good+errors))
	}
	if why != "" && g.mayTakeOut() && !g.verdictsSuspended(now) {
		v.turn = 0
		g.setServer(v, OutOfService, now, why)
		g.voidSlots(v, why, now)
		return
	}
	if v.picture.late > 0 {
		g.setServer(v, InDoubt, now, "its requests have no answer for longer than usual")
	} else {
		g.setServer(v, InService, now, "it answers")
	}
}

// mayTakeOut reports whether one more server may be taken out of service by
// verdict: at most max_servers_out, and never the last one.
func (g *Guard) mayTakeOut() bool {
	all := *g.servers.all.Load()
	out := 0
	for _, v := range all {
		if v.is(OutOfService) || v.is(Away) {
			out++
		}
	}
	return float64(out+1) <= g.policy.Load().MaxServersOut*float64(len(all)) && g.servers.serving.Load() > 1
}

// judgeOut brings a server back that answers again.
func (g *Guard) judgeOut(v *server, now int64) {
	if answered := v.answeredAt.Load(); answered > v.since && v.goodLately > v.errorsLately {
		v.window.Store(2)
		g.setServer(v, InService, now, "it answers again")
		return
	}
	// The request that was to find out did not come back: the next one follows.
	if v.tryAt.Load() == math.MaxInt64 && v.occupied.Load() <= int64(v.picture.hung) {
		v.turn++
		v.tryAt.Store(now + int64(g.openTime(2*time.Second, time.Minute, v.turn)))
	}
}

const dialEvery = 250 * time.Millisecond

// judgeAway dials a server that could not be dialled.
func (g *Guard) judgeAway(v *server, now int64) {
	if v.answeredAt.Load() > v.since {
		g.cameBack(v, now)
		return
	}
	if g.opts.Dial == nil {
		if v.tryAt.Load() > now+int64(time.Second) {
			v.tryAt.Store(now + int64(time.Second))
		}
		return
	}
	v.tryAt.Store(math.MaxInt64)
	if now-v.away.Load() < int64(dialEvery) || !v.dialling.CompareAndSwap(false, true) {
		return
	}
	g.done.Go(func() {
		defer v.dialling.Store(false)
		defer g.survive()
		ctx, cancel := context.WithTimeout(g.life, time.Second)
		defer cancel()
		err := g.opts.Dial(ctx, v.address)
		now := g.now()
		g.servers.mu.Lock()
		defer g.servers.mu.Unlock()
		if v.away.Store(now); err == nil && v.is(Away) {
			g.cameBack(v, now)
		}
	})
}

func (g *Guard) cameBack(v *server, now int64) {
	v.window.Store(2)
	v.turn = 0
	g.setServer(v, InService, now, "connections can be made again")
}

// voidSlots takes back what the silence of a server has led to: it is no
// evidence against zones and stores. The caller holds servers.mu.
func (g *Guard) voidSlots(v *server, why string, now int64) {
	why = fmt.Sprintf("server %s is to blame: %s", v.address, why)
	for z := range g.inTurn(*g.zones.Load()) {
		if z.eventful.Load() {
			z.do(func(z *zone, now int64) { z.voidSlots(v, why, now) })
		}
	}
}

func (z *zone) voidSlots(v *server, why string, now int64) {
	for s := z.slots.head; s != nil; s = s.next {
		if s.server != v || !s.unanswered() || s.void {
			continue
		}
		s.void = true
		z.version++
		if z.since == s {
			z.nextSince(s)
		}
		rec := z.books.get(s.store)
		if rec == nil {
			continue
		}
		z.explained(s, rec)
		if s.struck {
			s.struck = false
			rec.strikes--
		}
		if rec.state != Calm && rec.strikes <= 0 {
			rec.culprit = false
			z.release(rec, now, why)
		}
	}
	if z.state == Open && z.held == nil && z.caseForOpening(now) == "" {
		z.toClosed(now, why)
	}
}

// nextSince moves since on to the next slot that may be evidence.
func (z *zone) nextSince(s *Slot) {
	for z.since = s.next; z.since != nil && (!z.since.unanswered() || z.since.void || !z.since.witness); z.since = z.since.next {
	}
}

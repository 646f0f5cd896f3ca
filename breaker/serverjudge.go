package breaker

import (
	"context"
	"fmt"
	"math"
	"time"
)

// serverPicture is what one sweep has seen of a server's slots.
type serverPicture struct {
	hung    int
	silence serverSilence

	late  int                 // late requests that began after the server's latest answer
	since int64               // when the oldest of them was sent
	zones map[*zone]struct{}  // zones of unanswered requests that are aging
	aging map[tenant]struct{} // stores of those that are unanswered for slow_after, while their zones are answered elsewhere
}

// tenant is a store of a zone.
type tenant struct {
	z     *zone
	store uint64
}

// manyErrors is how many answers of a server must be errors, in a row or half of
// the latest ones, for it to be taken out of service.
const manyErrors = 10

// storesForServer is how many stores must be silent on a server, while their
// zones are answered by other servers, for it to be taken out of service.
const storesForServer = 2

// zonesForServer is how many zones must be silent on a server, if they are not
// answered by others either since they get no requests there.
const zonesForServer = 3

// look adds the slots of a zone to the pictures of their servers, and takes in
// what their servers say of them.
func (z *zone) look(now int64) {
	if z.g.servers.known() == 0 {
		return
	}
	for s := z.slots.head; s != nil; s = s.next {
		v := s.server
		if v == nil {
			continue
		}
		if s.phase == hung {
			v.picture.hung++
		}
		if !s.late || s.remembered != 0 {
			continue
		}
		if rec := z.books.get(s.store); rec != nil {
			z.reconsider(s, rec)
		}
		// An answer that came right after the request was sent may have been on
		// its way already when the server stopped.
		answered := v.answeredAt.Load()
		if s.sentAt >= answered-z.patience()/2 {
			if v.picture.late++; v.picture.late == 1 || s.sentAt < v.picture.since {
				v.picture.since = s.sentAt
			}
		}
		if s.sentAt < answered-z.patience() || now-answered < s.slowAfter*8/10 {
			continue
		}
		if s.aging(now) {
			if v.picture.zones == nil {
				v.picture.zones = make(map[*zone]struct{})
			}
			v.picture.zones[z] = struct{}{}
		}
		if s.aging(now) && z.answeredX.elsewhereSince(v.id, s.sentAt) {
			if v.picture.aging == nil {
				v.picture.aging = make(map[tenant]struct{})
			}
			v.picture.aging[tenant{z, s.hash}] = struct{}{}
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
	g.countServers()
	for _, v := range all {
		v.hung.Store(int64(v.picture.hung))
		if now-v.lostAt >= int64(lostKeep) {
			v.lostAt, v.lostOld = now, [2]uint64{v.lost.Load(), v.lostOld[0]}
		}
		v.silent, v.silentFor, v.silence = v.picture.late, v.picture.since, v.picture.silence
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
	g.fillServers(now)
}

// lostKeep is how long before a server goes out of service the requests that it has
// lost are for the same reason, at least.
const lostKeep = 2 * time.Second

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
	why, sick := "", false
	switch {
	case len(v.picture.zones) >= zonesForServer && g.answeredAt.Load() > v.answeredAt.Load()+int64(g.policy.Load().Default.SlowAfter)/2:
		why = fmt.Sprintf("requests of %d zones have no answer for over %s, while other servers answer", len(v.picture.zones), g.policy.Load().Default.SlowAfter)
	case len(v.picture.aging) >= storesForServer:
		why = fmt.Sprintf("requests of %d stores have no answer for over %s, while their zones are answered by other servers", len(v.picture.aging), g.policy.Load().Default.SlowAfter)
	case v.errorsLately >= manyErrors/2 && (v.errorsLately >= v.goodLately || v.errorsInRow.Load() >= manyErrors) && good >= manyErrors && errors <= good/10:
		sick = true
		why = fmt.Sprintf("its last %d answers are errors, %.0f %% of the other servers' are", v.errorsInRow.Load(), 100*errors/(good+errors))
	}
	if why != "" && g.mayTakeOut() && !g.verdictsSuspended(now) {
		g.takeOut(v, sick, why, now)
		return
	}
	if asked := v.askedAt.Load(); v.picture.late == 0 && asked != 0 && now-asked > int64(g.policy.Load().Default.SlowAfter) {
		v.askedAt.CompareAndSwap(asked, 0) // what it was asked has ended without an answer
	}
	if v.picture.late > 0 {
		g.setServer(v, InDoubt, now, g.avoided(v))
		g.tryLater(v, now)
	} else {
		g.setServer(v, InService, now, "it answers")
	}
}

// takeOut takes a server out of service.
func (g *Guard) takeOut(v *server, sick bool, why string, now int64) {
	v.turn, v.sick = 0, sick
	g.setServer(v, OutOfService, now, why)
	g.trustCheck(v, now)
	g.voidSlots(v, why)
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

// tryServer is after what time a server that is out of service gets a request,
// the first time.
const tryServer = 2 * time.Second

// judgeOut brings a server back that answers again.
func (g *Guard) judgeOut(v *server, now int64) {
	if v.answeredAt.Load() > v.since && v.errorsInRow.Load() == 0 {
		g.cameBack(v, now, "it answers again")
		return
	}
	g.checkServer(v, now)
	g.tryFails(v)
	// The requests that hang on it are the best probes there are, and cost no
	// client anything. Once there is none left, one request at a time finds out.
	hangs, at := v.occupied.Load() > 0, v.tryAt.Load()
	switch {
	case v.joint.hinted || v.joint.trying:
	case hangs:
		if at != v.lostAfter { // it has gone out, or another one hangs
			v.lostTurn++
			v.lostAfter = now + int64(g.openTime(tryHung, time.Hour, v.lostTurn))
			v.tryAt.Store(v.lostAfter)
		}
		v.joint.dueAt, v.joint.askedAt = 0, 0
	default:
		if at == v.lostAfter {
			v.tryAt.Store(math.MaxInt64)
		}
		v.lostTurn = 0
		g.tryLater(v, now)
		g.tryJointly(v, now)
	}
}

// tryHung is after what time a server that is out of service gets a request, the first
// time, although some hang there: they may be lost, and hang for ever.
const tryHung = time.Minute

// tryLater decides when the server gets a request again that finds out whether it
// answers, after one has.
func (g *Guard) tryLater(v *server, now int64) {
	if v.tryAt.Load() != math.MaxInt64 || v.joint.dueAt != 0 || v.joint.askedAt != 0 {
		return
	}
	v.turn++
	wait := g.openTime(tryServer, time.Minute, v.turn)
	if v.checked != nil {
		wait = time.Minute // a check that is wrong must not keep it out for ever
	}
	g.schedule(v, now+int64(wait))
}

const dialEvery = 250 * time.Millisecond

// judgeAway dials a server that could not be dialled.
func (g *Guard) judgeAway(v *server, now int64) {
	if v.backAt.Load() > v.since {
		v.turn = 0
		g.cameBack(v, now, "connections can be made again")
		return
	}
	if g.opts.Dial == nil {
		if v.tryAt.Load() > now+int64(time.Second) {
			v.tryAt.Store(now + int64(time.Second))
		}
		return
	}
	v.tryAt.Store(math.MaxInt64)
	if now-v.away.Load() < int64(dialEvery) {
		return
	}
	dial := func(ctx context.Context) error { return g.opts.Dial(ctx, v.address) }
	g.askServer(v, time.Second, dial, func(err error, now int64) {
		if v.away.Store(now); err == nil && v.is(Away) {
			v.turn = 0
			g.cameBack(v, now, "connections can be made again")
		}
	})
}

// cameBack takes a server back into service, with a slow start.
func (g *Guard) cameBack(v *server, now int64, why string) {
	v.window.Store(v.occupied.Load() + 2)
	g.tellServerBack(v, now)
	g.setServer(v, InService, now, why)
}

// voidSlots takes back what the silence of a server has led to: it is no
// evidence against zones and stores. The caller holds servers.mu.
func (g *Guard) voidSlots(v *server, why string) {
	why = fmt.Sprintf("server %s is to blame: %s", v.address, why)
	for z := range g.inTurn() {
		if z.eventful.Load() {
			z.do(func(z *zone, now int64) { z.voidSlots(v, why, now) })
		}
	}
}

func (z *zone) voidSlots(v *server, why string, now int64) {
	for s := z.slots.head; s != nil; s = s.next {
		if s.server == v && s.silent() {
			z.void(s, why, now)
		}
	}
	if z.state == Open && z.held == nil && z.caseForOpening(now) == "" {
		z.toClosed(now, why)
	}
}

// void takes a slot whose silence is its server's out of what is held against its
// store and its zone.
func (z *zone) void(s *Slot, why string, now int64) {
	z.unmark(s)
	s.void = true
	rec := z.books.get(s.store)
	if rec == nil || !s.struck {
		return
	}
	s.struck = false
	if rec.strikes--; rec.strikes <= 0 && rec.state != Calm {
		rec.culprit = false
		z.release(rec, now, why)
	}
}

// nextSince moves since on to the next slot that may be evidence.
func (z *zone) nextSince(s *Slot) {
	for z.since = s.next; z.since != nil && z.since.silence != z.silence.number; z.since = z.since.next {
	}
}

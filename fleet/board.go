package fleet

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/firebreak-proxy/firebreak/breaker"
)

const (
	// claimHolds is how long a claim counts that is not renewed.
	claimHolds = 3 * time.Second

	// discreditedFor is how long a host does not count that others contradict.
	discreditedFor = 10 * time.Second

	// agreedKept is how long after an agreement the guard is told of answers.
	agreedKept = 10 * time.Minute

	// healing is how long after an agreement a host is not discredited for it: it may
	// be the last one that has no answer yet.
	healing = 30 * time.Second

	// contradicted is how long after the begin of the silence that a host claims, at
	// least, others were answered that discredit it: a request that was under way when
	// the zone stopped began before others were answered for the last time.
	contradicted = 500 * time.Millisecond

	// obstinate is how long a host goes on claiming what others contradict, and is not
	// discredited if it is about one zone or store: it has to hear of it first.
	obstinate = time.Second

	// repeatEvery is how often the guard is told of an agreement that holds.
	repeatEvery = 250 * time.Millisecond

	maxMatters   = 1024
	maxClaims    = 64  // of a matter
	maxPerSender = 128 // claims of a sender
	maxAnswers   = 8   // hosts whose answers are remembered, of a matter
	maxHosts     = 10_000

	// answerers is how many hosts contradict a claim before the others keep quiet.
	answerers = 3

	// answerPause is how long a sidecar does not repeat an answer.
	answerPause = time.Second

	// siblings is how many claims of other hosts make one more unnecessary.
	siblings = 12
)

// subject is what an observation is about.
type subject struct{ zone, store, server string }

func subjectOf(o *breaker.Observation) subject { return subject{o.Zone, o.Store, o.Server} }

// claim is that a host has no answer, for requests since start.
type claim struct {
	host      string
	start, at time.Duration
	refuted   time.Duration // since when others contradict it; 0: they do not
	stores    int
	some      [3]uint32
}

// answer is that a host was answered.
type answer struct {
	host string
	at   time.Duration
}

// matter is all that is known of a subject.
type matter struct {
	subject
	claims  map[run]claim
	answers []answer // one of a host

	askAt    time.Duration // when the guard is asked whether it knows better; 0: not
	answered time.Duration // the answer that was published last, and when it was
	said     time.Duration

	stands time.Duration // since when enough hosts claim it; 0: they do not
	agreed bool          // and the guard was told
	vetoed bool          // enough claim it, and it was answered

	agreedAt time.Duration // of the latest agreement; 0: none, or long ago
	since    time.Duration // begin of the youngest silence that was needed for it
	toldAt   time.Duration // when the guard was last told of it
}

// isZone reports whether it is about a zone as a whole.
func (m *matter) isZone() bool { return m.store == "" && m.server == "" }

// decisionKind is what a decision is about.
type decisionKind uint8

const (
	decidedAgreed      decisionKind = iota // enough hosts claim it
	decidedHolds                           // they still do
	decidedVetoed                          // enough do, but it was answered since
	decidedAnswered                        // what was agreed was answered
	decidedHeard                           // another host was answered
	decidedDiscredited                     // a host does not count for a while
)

// decision is something to tell the guard, or the operator.
type decision struct {
	kind decisionKind
	breaker.Agreement
	host string
}

// board keeps what the sidecars of a fleet claim and finds out what enough of them
// agree on. Times count from a moment that is longer ago than any
// observation. Whatever arrives, its memory is bounded. It is
// for one goroutine.
type board struct {
	agree   int
	self    *sender
	answers func(asked, buf []breaker.Observation) []breaker.Observation // of this sidecar's guard
	random  func() float64

	mostZones, mostServers func() int
	most, mostOut          int // zones, and servers, that a host may claim
	hasServer              func(address string) bool

	senders    senders
	sidecars   int // that were heard lately, this one included
	counted    time.Duration
	matters    *simplelru.LRU[subject, *matter]
	discredits *simplelru.LRU[string, time.Duration] // by host, until when

	decisions []decision
	publish   []breaker.Observation // answers that others wait for
	starts    []hostStart           // scratch: who counts, and which stores are silent
	different []uint32
	asked     []breaker.Observation // scratch
}

type hostStart struct {
	host   string
	start  time.Duration
	stores int
}

type boardOptions struct {
	agree    int
	id, host string
	boot     uint64
	answers  func(asked, buf []breaker.Observation) []breaker.Observation
	random   func() float64

	mostZones, mostServers func() int                // nil: no bound
	hasServer              func(address string) bool // nil: it has all
}

func newBoard(o boardOptions) *board {
	b := &board{agree: o.agree, answers: o.answers, random: o.random, mostZones: o.mostZones, mostServers: o.mostServers, hasServer: o.hasServer, most: math.MaxInt, mostOut: math.MaxInt, sidecars: 1}
	b.self = &sender{run: run{o.id, o.boot}, host: o.host}
	b.senders = newSenders(b.forget)
	b.matters, _ = simplelru.NewLRU[subject, *matter](maxMatters, nil)
	b.discredits, _ = simplelru.NewLRU[string, time.Duration](maxHosts, nil)
	return b
}

// forget takes back the claims of a sender.
func (b *board) forget(s *sender) {
	for about := range s.claims {
		b.withdraw(s, about)
	}
}

func (b *board) withdraw(s *sender, about subject) {
	delete(s.claims, about)
	if m, ok := b.matters.Peek(about); ok {
		delete(m.claims, s.run)
	}
}

// receive takes in a message of another sidecar. Messages usually take as long as way.
func (b *board) receive(now, way time.Duration, m *message) Drop {
	s, lag, drop := b.senders.admit(now, m)
	if drop != NotDropped {
		return drop
	}
	b.take(now, s, m.Observations, way+lag, m.Whole)
	return NotDropped
}

// own takes in all that this sidecar observes.
func (b *board) own(now time.Duration, all []breaker.Observation) {
	b.take(now, b.self, all, 0, true)
}

func (b *board) take(now time.Duration, s *sender, all []breaker.Observation, lag time.Duration, whole bool) {
	if b.hasServer != nil {
		all = slices.DeleteFunc(slices.Clone(all), func(o breaker.Observation) bool { return o.Server != "" && !b.hasServer(o.Server) })
	}
	if zones, servers := claimed(all); zones > b.most || servers > b.mostOut {
		b.forget(s) // it is the host
		all = slices.DeleteFunc(slices.Clone(all), isSilent)
	}
	if whole {
		for about := range s.claims {
			if !slices.ContainsFunc(all, func(o breaker.Observation) bool { return isSilent(o) && subjectOf(&o) == about }) {
				b.withdraw(s, about)
			}
		}
	}
	for i := range all {
		o := &all[i]
		age := o.For + lag
		switch {
		case o.Kind == breaker.ObservedSilent:
			b.claim(now, s, o, now-age)
		case o.Kind == breaker.ObservedAnswered:
			b.answer(now, s, o, now-age)
		}
	}
}

func isSilent(o breaker.Observation) bool { return o.Kind == breaker.ObservedSilent }

// claimed counts the zones and the servers that are claimed to be silent.
func claimed(all []breaker.Observation) (zones, servers int) {
	for i := range all {
		switch o := &all[i]; {
		case !isSilent(*o):
		case o.Server != "":
			servers++
		case o.Store == "":
			zones++
		}
	}
	return zones, servers
}

func (b *board) claim(now time.Duration, s *sender, o *breaker.Observation, start time.Duration) {
	if s != b.self && b.discredited(now, s.host) {
		return
	}
	about := subjectOf(o)
	if _, ok := s.claims[about]; !ok && len(s.claims) >= maxPerSender {
		if b.sweep(s); len(s.claims) >= maxPerSender {
			return
		}
	}
	m, ok := b.matters.Get(about)
	if !ok {
		m = &matter{subject: about, claims: make(map[run]claim)}
		b.matters.Add(about, m)
	}
	if _, ok := m.claims[s.run]; !ok && len(m.claims) >= maxClaims {
		m.dropOldest()
	}
	c := claim{host: s.host, start: start, at: now, stores: o.Stores, some: o.Some}
	if before := m.claims[s.run]; start-before.start < observeEvery {
		c.refuted = before.refuted
	}
	m.claims[s.run] = c
	if s.claims == nil {
		s.claims = make(map[subject]struct{})
	}
	s.claims[about] = struct{}{}
	if s != b.self && m.askAt == 0 {
		m.askAt = now + b.delay()
	}
	b.discredit(now, m)
}

// sweep leaves out of a sender's claims those that do not hold any more.
func (b *board) sweep(s *sender) {
	for about := range s.claims {
		if m, ok := b.matters.Peek(about); ok {
			if _, ok := m.claims[s.run]; ok {
				continue
			}
		}
		delete(s.claims, about)
	}
}

func (m *matter) dropOldest() {
	var oldest run
	at := time.Duration(1<<63 - 1)
	for r, c := range m.claims {
		if c.at < at {
			oldest, at = r, c.at
		}
	}
	delete(m.claims, oldest)
}

// delay is how long this sidecar waits for others to contradict a claim: of many, a
// few answer at once.
func (b *board) delay() time.Duration {
	const few, rest = 12, 50 * time.Millisecond
	if b.random()*float64(b.sidecars) < few {
		return 0
	}
	return 10*time.Millisecond + time.Duration(b.random()*float64(rest))
}

func (b *board) discredited(now time.Duration, host string) bool {
	until, ok := b.discredits.Peek(host)
	return ok && now < until
}

// answer takes in that a host was answered.
func (b *board) answer(now time.Duration, s *sender, o *breaker.Observation, at time.Duration) {
	if s != b.self && b.discredited(now, s.host) {
		return
	}
	m, ok := b.matters.Peek(subjectOf(o))
	if ok {
		m.remember(answer{s.host, at})
		b.discredit(now, m)
	}
	if s == b.self {
		return
	}
	d := decision{kind: decidedHeard, Agreement: breaker.Agreement{Observation: *o}, host: s.host}
	d.For = now - at
	if ok && m.agreedAt != 0 && m.agreed && at > m.since {
		d.kind = decidedAnswered
		m.agreed = false
	}
	b.decisions = append(b.decisions, d)
}

// remember keeps the answer if it is later than those of the same host, or than one of
// another if there are many.
func (m *matter) remember(a answer) {
	at := slices.IndexFunc(m.answers, func(other answer) bool { return other.host == a.host })
	if at < 0 && len(m.answers) < maxAnswers {
		m.answers = append(m.answers, a)
		return
	}
	if at < 0 {
		at = slices.Index(m.answers, slices.MinFunc(m.answers, func(a, b answer) int { return cmp.Compare(a.at, b.at) }))
	}
	if a.at > m.answers[at].at {
		m.answers[at] = a
	}
}

// discredit finds hosts whose claims two others contradict: on two zones at once, or
// though they had the time to hear of it. Shortly after an agreement there are many
// that have no answer yet.
func (b *board) discredit(now time.Duration, m *matter) {
	if m.agreedAt != 0 && now-m.agreedAt < healing {
		return
	}
	for r, c := range m.claims {
		since := c.start + max(contradicted, (c.at-c.start)/2)
		if now-c.at > claimHolds || m.contradictors(c.host, since) < 2 {
			continue
		}
		if c.refuted == 0 {
			c.refuted = now
			m.claims[r] = c
		}
		if b.discredited(now, c.host) || c.at-c.refuted < obstinate && !b.contradictedElsewhere(now, m, c.host) {
			continue
		}
		b.discredits.Add(c.host, now+discreditedFor)
		b.decisions = append(b.decisions, decision{kind: decidedDiscredited, host: c.host, Agreement: breaker.Agreement{
			Observation: breaker.Observation{Kind: breaker.ObservedSilent, Zone: m.zone, Store: m.store, Server: m.server, For: now - c.start},
		}})
	}
}

// contradictedElsewhere reports whether others contradict the host on another zone, too.
// On a store or a server a host that is well may be wrong at first.
func (b *board) contradictedElsewhere(now time.Duration, but *matter, host string) bool {
	if !but.isZone() {
		return false
	}
	for _, m := range b.matters.Values() {
		if m == but || !m.isZone() {
			continue
		}
		for _, c := range m.claims {
			if c.host == host && c.refuted != 0 && now-c.at <= claimHolds {
				return true
			}
		}
	}
	return false
}

// contradictors counts the other hosts that were answered then or later.
func (m *matter) contradictors(host string, since time.Duration) (n int) {
	for _, a := range m.answers {
		if a.host != host && a.at >= since {
			n++
		}
	}
	return n
}

// tick finds what there is to decide. Nothing is agreed on unless the transport is
// prompt: an answer that contradicts may be on its way for longer than grace.
func (b *board) tick(now, grace time.Duration, prompt bool) []decision {
	if now-b.counted > time.Second {
		b.counted = now
		b.sidecars = 1 + b.senders.heardSince(now-heardLately)
		if b.mostZones != nil {
			b.most = b.mostZones()
		}
		if b.mostServers != nil {
			b.mostOut = b.mostServers()
		}
	}
	b.ask(now, nil)
	for _, about := range b.matters.Keys() {
		m, _ := b.matters.Peek(about)
		m.expire(now)
		if len(m.claims) == 0 && m.agreedAt == 0 {
			b.matters.Remove(about)
			continue
		}
		b.judge(now, grace, prompt, m)
	}
	decisions := b.decisions
	b.decisions = nil
	return decisions
}

// heardLately is how long a sidecar counts as there that is not heard.
const heardLately = 20 * time.Minute

func (m *matter) expire(now time.Duration) {
	for r, c := range m.claims {
		if now-c.at > claimHolds {
			delete(m.claims, r)
		}
	}
	if m.agreedAt != 0 && now-m.agreedAt > agreedKept {
		m.agreedAt = 0
	}
}

func (b *board) judge(now, grace time.Duration, prompt bool, m *matter) {
	enough, claimed := b.enough(now, m)
	if !enough || !prompt {
		if claimed && !enough && !m.vetoed {
			b.decisions = append(b.decisions, decision{kind: decidedVetoed, Agreement: b.agreement(now, m)})
		}
		m.vetoed = claimed && !enough
		m.stands, m.agreed = 0, m.agreed && enough
		return
	}
	if m.stands == 0 {
		m.stands = now
	}
	if m.agreed && now-m.toldAt < repeatEvery || now-m.stands < grace {
		return
	}
	b.ask(now, m) // this sidecar may know better
	if enough, _ = b.enough(now, m); !enough {
		b.judge(now, grace, prompt, m)
		return
	}
	d := decision{kind: decidedAgreed, Agreement: b.agreement(now, m)}
	if m.agreed {
		d.kind = decidedHolds
	}
	m.agreed, m.agreedAt, m.toldAt, m.since, m.vetoed = true, now, now, now-d.For, false
	b.decisions = append(b.decisions, d)
}

// count lists the hosts that claim it in b.starts, each with its youngest request,
// youngest first: all, or those that nobody contradicts.
func (b *board) count(now time.Duration, m *matter, all bool) {
	b.starts, b.different = b.starts[:0], b.different[:0]
	answered := time.Duration(-1)
	for _, a := range m.answers {
		if a.host == b.self.host || !b.discredited(now, a.host) {
			answered = max(answered, a.at)
		}
	}
	for _, c := range m.claims {
		if b.discredited(now, c.host) || !all && answered > c.start {
			continue
		}
		b.different = append(b.different, c.some[:]...)
		at := slices.IndexFunc(b.starts, func(h hostStart) bool { return h.host == c.host })
		if at < 0 {
			b.starts = append(b.starts, hostStart{c.host, c.start, c.stores})
			continue
		}
		h := &b.starts[at]
		h.start, h.stores = max(h.start, c.start), h.stores+c.stores
	}
	slices.Sort(b.different)
	b.different = slices.Compact(b.different)
	slices.SortFunc(b.starts, func(a, b hostStart) int { return cmp.Compare(b.start, a.start) })
}

// enough reports whether enough hosts claim it and nobody contradicts them, and whether
// enough claim it at all.
func (b *board) enough(now time.Duration, m *matter) (enough, claimed bool) {
	if len(m.claims) < b.agree {
		return false, false
	}
	if b.count(now, m, true); len(b.starts) < b.agree || b.stores() < m.needed() {
		return false, false
	}
	b.count(now, m, false)
	return len(b.starts) >= b.agree && b.stores() >= m.needed(), true
}

// needed is how many stores have to be silent, at least: requests to one are no evidence
// against all of its zone, or against a server. The guard asks for more.
func (m *matter) needed() int {
	switch {
	case m.store != "":
		return 1
	case m.server != "":
		return 3
	}
	return 2
}

// stores is how many stores are silent, as far as the hosts in b.starts know.
func (b *board) stores() (n int) {
	for _, fingerprint := range b.different {
		if fingerprint != 0 {
			n++
		}
	}
	if n > 0 {
		return n
	}
	for _, h := range b.starts {
		n += max(h.stores, 1)
	}
	return n
}

// agreement is what those in b.starts agree on.
func (b *board) agreement(now time.Duration, m *matter) breaker.Agreement {
	b.count(now, m, false)
	if len(b.starts) < b.agree {
		b.count(now, m, true)
	}
	a := breaker.Agreement{Sidecars: len(b.starts), Observation: breaker.Observation{
		Kind: breaker.ObservedSilent, Zone: m.zone, Store: m.store, Server: m.server, Stores: b.stores(),
	}}
	if at := min(b.agree, len(b.starts)); at > 0 {
		a.For = now - b.starts[at-1].start
	}
	return a
}

// ask asks this sidecar's guard about the claims whose time has come, or about one
// matter, and keeps what it knows better for the others.
func (b *board) ask(now time.Duration, only *matter) {
	b.asked = b.asked[:0]
	if only != nil {
		b.question(now, only)
	} else {
		for _, m := range b.matters.Values() {
			if m.askAt == 0 || m.askAt > now {
				continue
			}
			m.askAt = 0
			if len(b.asked) < maxObservations {
				b.question(now, m)
			}
		}
	}
	if len(b.asked) == 0 {
		return
	}
	for _, o := range b.answers(b.asked, nil) {
		m, ok := b.matters.Peek(subjectOf(&o))
		if !ok || o.Kind != breaker.ObservedAnswered {
			continue
		}
		at := now - o.For
		b.answer(now, b.self, &o, at)
		if at > m.answered+10*time.Millisecond || now-m.said > answerPause {
			m.answered, m.said = at, now
			if len(b.publish) < maxObservations {
				b.publish = append(b.publish, o)
			}
		}
	}
}

// question adds the claim on m to ask about that began first, unless enough hosts
// contradict all of them.
func (b *board) question(now time.Duration, m *matter) {
	oldest, open := now, false
	for _, c := range m.claims {
		oldest = min(oldest, c.start)
		open = open || m.contradictors(c.host, c.start+max(contradicted, (c.at-c.start)/2)) < answerers
	}
	if open {
		b.asked = append(b.asked, breaker.Observation{Kind: breaker.ObservedSilent, Zone: m.zone, Store: m.store, Server: m.server, For: now - oldest})
	}
}

// spared reports whether this sidecar may leave a claim out that others make: it says
// nothing new once there is an agreement that many of them hold up.
func (b *board) spared(now time.Duration, about subject) bool {
	m, ok := b.matters.Peek(about)
	if !ok || !m.agreed {
		return false
	}
	fresh := 0
	for r, c := range m.claims {
		if r != b.self.run && now-c.at < renewEvery+renewEvery/2 {
			fresh++
		}
	}
	enough := max(siblings, 3*b.agree)
	if fresh >= enough {
		return true
	}
	// Those whose claims count go on until then: were each of them spared by chance, all
	// could be at once, and everybody would step in.
	if _, counts := m.claims[b.self.run]; counts {
		return false
	}
	// Not all of them step in at once where one drops out.
	return fresh > b.agree && b.random()*float64(b.sidecars) > float64(enough)
}

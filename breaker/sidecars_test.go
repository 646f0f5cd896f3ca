package breaker_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// sidecars is a fleet in virtual time: guards with pools of their own, which share the
// zones' databases and tell each other what they observe, with delays.
type sidecars struct {
	all    []*sidecar
	random *rand.Rand
	now    time.Duration
	events eventQueue // messages
	frozen map[string]time.Duration
	still  map[string]interval // when servers stand still
	hangs  float64             // share of requests that take longer than the timeout, by chance
	leases map[string]lease    // who may try what, and until when

	lost       func(from, to int) bool // messages that do not arrive; nil: all arrive
	told       func(s *sidecar, e breaker.Event)
	numbers    map[subject]int // of what is observed: sidecars look it up by these
	subjects   []subject
	sent       int                   // messages
	old        []func()              // some messages that were sent a while ago, to be sent again
	questions  []breaker.Observation // scratch
	asked      int
	ok         int
	stuck      map[string]int             // requests that got stuck, by zone and by zone/store
	stuckSince map[string][]time.Duration // when the first of each store did, by zone
}

type lease struct {
	holder int
	until  time.Duration
}

// sidecar is one of them, with what it has heard.
type sidecar struct {
	*world
	of    *sidecars
	id    int
	swept time.Duration
	lies  func() []breaker.Observation // what it claims beside what it observes; nil: nothing
	mute  bool                         // it has no fleet

	seen        map[int]int           // latest message by sender
	matters     []matter              // by number of the subject
	claimed     []int                 // those with claims
	discredited map[int]time.Duration // until when
}

// matter is what a sidecar has heard of a subject.
type matter struct {
	claims  map[int]claim
	answers []answer      // when senders were last answered
	enough  time.Duration // since when enough sidecars observe it
}

type subject struct{ zone, store, server string }

func subjectOf(o *breaker.Observation) subject { return subject{o.Zone, o.Store, o.Server} }

// numbersOf gives each observation's subject its number.
func (f *sidecars) numbersOf(obs []breaker.Observation) []int {
	numbers := make([]int, len(obs))
	for i := range obs {
		about := subjectOf(&obs[i])
		n, ok := f.numbers[about]
		if !ok {
			n = len(f.subjects)
			f.numbers[about] = n
			f.subjects = append(f.subjects, about)
		}
		numbers[i] = n
	}
	return numbers
}

// matter is what the sidecar knows of a subject. It is good until the next call.
func (s *sidecar) matter(number int) *matter {
	for len(s.matters) <= number {
		s.matters = append(s.matters, matter{})
	}
	return &s.matters[number]
}

// answer is when a sender was last answered.
type answer struct {
	by int
	at time.Duration
}

type claim struct {
	start, seen  time.Duration
	contradicted time.Duration // since when
	some         [3]uint32
}

const (
	agree       = 3
	grace       = 100 * time.Millisecond
	claimHolds  = time.Second
	tickEvery   = 50 * time.Millisecond
	sliceLength = 5 * time.Millisecond
)

func newSidecars(t testing.TB, n, workers, zones int, seed uint64) *sidecars {
	t.Helper()
	f := &sidecars{random: rand.New(rand.NewPCG(seed, 2)), frozen: map[string]time.Duration{}, still: map[string]interval{}, numbers: map[subject]int{}, leases: map[string]lease{}, stuck: map[string]int{}, stuckSince: map[string][]time.Duration{}, told: func(*sidecar, breaker.Event) {}}
	names := make([]string, zones)
	for i := range names {
		names[i] = fmt.Sprint("z", i)
	}
	for i := range n {
		app := twoSeconds()
		app.Workers = workers
		s := &sidecar{
			world: newWorld(t, &app, names, seed*1000+uint64(i)), of: f, id: i, swept: time.Duration(i%5) * sliceLength,
			seen: map[int]int{}, discredited: map[int]time.Duration{},
		}
		s.serve = f.serve
		s.done = func(_ request, _ *breaker.Slot, o breaker.Outcome, refusal *breaker.Refusal) {
			f.asked++
			if refusal == nil && o == breaker.OK {
				f.ok++
			}
		}
		s.sim.Guard().SetFleet(s)
		f.all = append(f.all, s)
	}
	return f
}

// serve has a request answered after some milliseconds, or after its zone or store is
// well again.
func (f *sidecars) serve(zone, store string) (time.Duration, breaker.Outcome) {
	if until := max(f.frozen[zone], f.frozen[zone+"/"+store]); until > f.now {
		f.stuck[zone]++
		f.stuck[zone+"/"+store]++
		if f.stuck[zone+"/"+store] == 1 {
			f.stuckSince[zone] = append(f.stuckSince[zone], f.now)
		}
		return until - f.now + 20*time.Millisecond, breaker.OK
	}
	switch u := f.random.Float64(); {
	case u < f.hangs:
		return 2*time.Second + time.Duration(f.random.ExpFloat64()*float64(6*time.Second)), breaker.OK
	case u < .01:
		return time.Duration(200+f.random.IntN(700)) * time.Millisecond, breaker.OK
	}
	return time.Duration(20 * float64(time.Millisecond) * lognormal(f.random, .8)), breaker.OK
}

func (f *sidecars) at(d time.Duration, do func()) { heap.Push(&f.events, event{d, do}) }

// load sends so many requests per second, from now until d, to any sidecar.
func (f *sidecars) load(perSecond float64, until time.Duration, pick func() (zone, store string)) {
	at := f.now + time.Duration(f.random.ExpFloat64()/perSecond*float64(time.Second))
	if at >= until {
		return
	}
	f.at(at, func() {
		s := f.all[f.random.IntN(len(f.all))]
		s.catchUp(f.now)
		s.send(pick())
		f.load(perSecond, until, pick)
	})
}

// run goes on until d.
func (f *sidecars) run(d time.Duration) {
	for f.now < d {
		end := f.now + sliceLength
		for len(f.events) > 0 && f.events[0].at <= end {
			e := heap.Pop(&f.events).(event)
			f.now = max(f.now, e.at)
			e.do()
		}
		f.now = end
		for _, s := range f.all {
			s.slice(end)
		}
	}
}

// catchUp brings a sidecar to the time of the fleet.
func (s *sidecar) catchUp(d time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= d {
		e := heap.Pop(&s.events).(event)
		s.now = max(s.now, e.at)
		s.sim.Set(s.start.Add(s.now))
		e.do()
	}
	s.now = d
	s.sim.Set(s.start.Add(d))
}

func (s *sidecar) slice(end time.Duration) {
	if len(s.events) == 0 && s.swept > end && len(s.claimed) == 0 {
		s.now = end
		return
	}
	s.catchUp(end)
	if s.swept > end {
		return
	}
	s.swept += breaker.SweepEvery
	s.sim.Sweep()
	for events := s.sim.Guard().Events(); len(events) > 0; {
		s.of.told(s, <-events)
	}
	if s.sim.Idle() {
		s.swept = end + 200*time.Millisecond
		if len(s.events) > 0 {
			s.swept = min(s.swept, end+breaker.SweepEvery)
		}
	}
	if !s.mute && (s.swept/breaker.SweepEvery)%2 == 0 {
		s.tick()
	}
}

// tick tells what the guard observes, and has it told what enough sidecars observe.
func (s *sidecar) tick() {
	var buf [8]breaker.Observation
	mine := s.sim.Guard().Observe(buf[:0])
	if s.lies != nil {
		mine = append(mine, s.lies()...)
	}
	if len(mine) > 0 {
		numbers := s.of.numbersOf(mine)
		s.take(s.id, mine, numbers)
		s.post(mine, numbers)
	}
	s.judge()
}

// post sends a message to all others. It takes 1 to 50 ms, for each of five parts of the
// fleet another time.
func (s *sidecar) post(obs []breaker.Observation, numbers []int) {
	f := s.of
	f.sent++
	number, kept := f.sent, slices.Clone(obs)
	deliver := func(part int) {
		for i := part; i < len(f.all); i += 5 {
			if i != s.id && (f.lost == nil || !f.lost(s.id, i)) {
				f.all[i].receive(s.id, number, kept, numbers)
			}
		}
	}
	if len(f.old) < 100 {
		f.old = append(f.old, func() {
			for part := range 5 {
				deliver(part)
			}
		})
	} else if f.random.IntN(100) == 0 {
		f.old[f.random.IntN(len(f.old))] = func() { deliver(0) }
	}
	for part := range 5 {
		f.at(f.now+time.Duration(1+f.random.IntN(50))*time.Millisecond, func() { deliver(part) })
	}
}

// receive takes in a message. One that is not newer than the latest of its sender is a
// repetition.
func (s *sidecar) receive(from, number int, obs []breaker.Observation, numbers []int) {
	if s.mute || number <= s.seen[from] {
		return
	}
	s.seen[from] = number
	s.catchUp(s.of.now)
	s.take(from, obs, numbers)
	asked := s.of.questions[:0]
	for i := range obs {
		if o := &obs[i]; o.Kind == breaker.ObservedSilent && s.matter(numbers[i]).contradictions(from, s.of.now-o.For) < 2 {
			asked = append(asked, *o)
		}
	}
	s.of.questions = asked
	if len(asked) == 0 {
		return
	}
	if answers := s.sim.Guard().Answers(asked, nil); len(answers) > 0 {
		numbers := s.of.numbersOf(answers)
		s.take(s.id, answers, numbers)
		s.post(answers, numbers)
	}
}

func (s *sidecar) take(from int, obs []breaker.Observation, numbers []int) {
	now := s.of.now
	for i := range obs {
		o, m := &obs[i], s.matter(numbers[i])
		if o.Kind == breaker.ObservedAnswered {
			m.noteAnswer(answer{from, now - o.For})
			if from != s.id {
				s.sim.Guard().PeerAnswered(*o)
			}
			continue
		}
		if m.claims == nil {
			m.claims = map[int]claim{}
		}
		if len(m.claims) == 0 {
			s.claimed = append(s.claimed, numbers[i])
		}
		c := m.claims[from]
		if start := now - o.For; c.seen == 0 || start > c.start+grace || start < c.start {
			c.start, c.contradicted = start, 0 // not the same request, or a message that was faster
		}
		c.seen, c.some = now, o.Some
		m.claims[from] = c
	}
}

func (m *matter) noteAnswer(a answer) {
	for i := range m.answers {
		if b := &m.answers[i]; b.by == a.by {
			b.at = max(b.at, a.at)
			return
		}
	}
	m.answers = append(m.answers, a)
}

// contradictions is how many others were answered since the start of a sender's claim,
// two at most.
func (m *matter) contradictions(from int, start time.Duration) (n int) {
	for _, a := range m.answers {
		if a.by != from && a.at > start {
			if n++; n == 2 {
				break
			}
		}
	}
	return n
}

// judge has the guard told what enough sidecars observe and none contradicts.
func (s *sidecar) judge() {
	now, wrong := s.of.now, map[int]int{}
	zones, servers := map[int]int{}, map[int]int{}
	for _, number := range s.claimed {
		at, m := s.of.subjects[number], s.matter(number)
		claims := m.claims
		for id, c := range claims {
			if now-c.seen > claimHolds {
				delete(claims, id)
				continue
			}
			// It is the host, if it claims it of more zones or servers than may be cut off.
			switch {
			case at.server != "":
				servers[id]++
			case at.store == "":
				zones[id]++
			}
			if zones[id] > max(1, s.sim.Guard().ZoneCount()/2) || servers[id] > s.sim.Guard().MostServersOut() {
				s.discredited[id] = now + 10*time.Second
			}
			if m.contradictions(id, c.start) < 2 {
				continue
			}
			if c.contradicted == 0 {
				c.contradicted = now
				claims[id] = c
			}
			if at.zone != "" && at.store == "" {
				wrong[id]++
			}
			if wrong[id] >= 2 || now-c.contradicted > time.Second {
				s.discredited[id] = now + 10*time.Second
			}
		}
		if len(claims) == 0 {
			m.enough = 0
		}
	}
	s.claimed = slices.DeleteFunc(s.claimed, func(number int) bool { return len(s.matter(number).claims) == 0 })
	for _, number := range s.claimed {
		s.count(s.of.subjects[number], s.matter(number))
	}
}

func (s *sidecar) count(at subject, m *matter) {
	now := s.of.now
	hosts, youngest, stores := 0, time.Duration(0), map[uint32]struct{}{}
	for id, c := range m.claims {
		if s.discredited[id] > now || m.contradictions(id, c.start) > 0 {
			continue
		}
		hosts, youngest = hosts+1, max(youngest, c.start)
		for _, print := range c.some {
			if print != 0 {
				stores[print] = struct{}{}
			}
		}
	}
	if hosts < agree || at.store == "" && len(stores) < agree {
		m.enough = 0
		return
	}
	if m.enough == 0 {
		m.enough = now
	}
	if now-m.enough >= grace {
		s.sim.Guard().Agree(breaker.Agreement{
			Observation: breaker.Observation{Kind: breaker.ObservedSilent, Zone: at.zone, Store: at.store, Server: at.server, Stores: len(stores), For: now - youngest},
			Sidecars:    hosts,
		})
	}
}

// Lease is the fleet's Lease: a key that expires.
func (s *sidecar) Lease(zone, store string, d time.Duration) bool {
	if s.mute {
		return false
	}
	s.of.lease(s, zone+"/"+store, d, func(granted bool, wait time.Duration) {
		s.sim.Guard().Leased(zone, store, granted, wait)
	})
	return true
}

// LeaseServer is the fleet's LeaseServer.
func (s *sidecar) LeaseServer(address string, d time.Duration) bool {
	if s.mute {
		return false
	}
	s.of.lease(s, address, d, func(granted bool, wait time.Duration) {
		s.sim.Guard().ServerLeased(address, granted, wait)
	})
	return true
}

func (f *sidecars) lease(s *sidecar, name string, d time.Duration, answer func(granted bool, wait time.Duration)) {
	f.at(f.now+time.Duration(1+f.random.IntN(10))*time.Millisecond, func() {
		held := f.leases[name]
		granted := held.until <= f.now || held.holder == s.id
		if granted {
			f.leases[name] = lease{s.id, f.now + d}
		}
		s.catchUp(f.now)
		answer(granted, held.until-f.now)
	})
}

// open is on how many sidecars a zone is open.
func (f *sidecars) open(zone string) (n int) {
	for _, s := range f.all {
		if z, ok := s.sim.Guard().Zone(zone); ok && z.State == breaker.Open {
			n++
		}
	}
	return n
}

// quarantined is on how many sidecars a store is in quarantine.
func (f *sidecars) quarantined(zone, store string) (n int) {
	for _, s := range f.all {
		if s.sim.Guard().Store(zone, store).State != breaker.Calm {
			n++
		}
	}
	return n
}

// hung is how many workers of all sidecars a zone's requests hold.
func (f *sidecars) hung(zone string) (n int) {
	for _, s := range f.all {
		z, _ := s.sim.Guard().Zone(zone)
		n += z.Live + z.Hung
	}
	return n
}

// thousandStores picks any of twelve zones and of a hundred stores of it.
func (f *sidecars) thousandStores() (zone, store string) {
	u := f.random.Float64()
	return fmt.Sprint("z", f.random.IntN(12)), fmt.Sprint("s", int(u*u*100))
}

// TestFleetCutsOffAFrozenZone: 300 requests/s over fifty sidecars, of which none sees
// enough of a zone to judge it soon.
func TestFleetCutsOffAFrozenZone(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(map[bool]string{true: "each for itself", false: "together"}[alone], func(t *testing.T) {
			f := newSidecars(t, 50, 32, 12, 1)
			for _, s := range f.all {
				s.mute = alone
			}
			const freeze, heal = 30 * time.Second, 70 * time.Second
			f.load(300, 100*time.Second, f.thousandStores)
			f.run(freeze)
			f.frozen["z7"] = heal
			everywhere := time.Duration(0)
			for f.now < heal {
				f.run(f.now + 25*time.Millisecond)
				if everywhere == 0 && f.open("z7") == len(f.all) {
					everywhere = f.now - f.stuckSince["z7"][2]
				}
			}
			lost := f.hung("z7")
			recovered := time.Duration(0)
			for f.now < heal+20*time.Second && recovered == 0 {
				asked, ok := f.asked, f.ok
				f.run(f.now + 500*time.Millisecond)
				if 100*(f.ok-ok) >= 99*(f.asked-asked) {
					recovered = f.now - 500*time.Millisecond - heal
				}
			}
			t.Logf("open on all %s after the third stuck store, %d workers lost after 40 s, %d messages, well %s after the heal", everywhere, lost, f.sent, recovered)
			if alone {
				return
			}
			if everywhere == 0 || everywhere > 1500*time.Millisecond {
				t.Errorf("open on all sidecars %s after the third stuck store, want at most slow_after + 500ms", everywhere)
			}
			if lost > 60 {
				t.Errorf("%d workers lost, want at most 60", lost)
			}
			if recovered > 2*time.Second {
				t.Errorf("well again %s after the heal, want at most 2s", recovered)
			}
		})
	}
}

// TestFleetNamesCulprits: three stores of a thousand hang, each with one request per
// second over fifty sidecars, so that no sidecar gets a second one soon.
func TestFleetNamesCulprits(t *testing.T) {
	sum, culprits := 0, 0
	for seed := range uint64(thorough(8, 2)) {
		f := newSidecars(t, 50, 32, 10, seed)
		const hang, after = 30 * time.Second, 20 * time.Second
		guilty := []subject{{zone: "z1", store: "bad"}, {zone: "z4", store: "bad"}, {zone: "z8", store: "bad"}}
		names, wrong := map[string]bool{}, 0
		for _, c := range guilty {
			names[c.zone+"/"+c.store] = true
		}
		f.told = func(_ *sidecar, e breaker.Event) {
			switch e.Kind {
			case breaker.EventZoneOpened:
				t.Errorf("zone %s opened: %s", e.Zone, e.Evidence)
			case breaker.EventStoreQuarantined:
				if !names[e.Zone+"/"+e.Store] {
					wrong++
				}
			}
		}
		f.load(300, time.Minute, func() (zone, store string) {
			u := f.random.Float64()
			return fmt.Sprint("z", f.random.IntN(10)), fmt.Sprint("s", int(u*u*100))
		})
		for i, c := range guilty {
			for at := time.Duration(0); at < time.Minute; at += time.Second {
				f.at(at+time.Duration(i)*300*time.Millisecond, func() {
					s := f.all[f.random.IntN(len(f.all))]
					s.catchUp(f.now)
					s.send(c.zone, c.store)
				})
			}
		}
		f.run(hang)
		for name := range names {
			f.frozen[name] = time.Hour
		}
		named := make([]time.Duration, len(guilty))
		for f.now < hang+after {
			f.run(f.now + 50*time.Millisecond)
			for i, c := range guilty {
				if named[i] == 0 && f.quarantined(c.zone, c.store) == len(f.all) {
					named[i] = f.now - hang
				}
			}
		}
		var lost []int
		for i, c := range guilty {
			n := f.stuck[c.zone+"/"+c.store]
			lost = append(lost, n)
			sum, culprits = sum+n, culprits+1
			// Two of its first three requests may come to the same sidecar.
			if named[i] == 0 || named[i] > 10*time.Second || n > 7 {
				t.Errorf("seed %d: %s named everywhere after %s, %d workers lost to it, want at most 10s and 7", seed, c.zone, named[i], n)
			}
		}
		if wrong > 0 {
			t.Errorf("seed %d: %d times another store was named", seed, wrong)
		}
		t.Logf("seed %d: named everywhere after %v, workers lost %v, %d messages", seed, named, lost, f.sent)
	}
	if mean := float64(sum) / float64(culprits); mean > 5.2 {
		t.Errorf("%.1f workers lost to each culprit, want 5", mean)
	}
}

var _ breaker.Fleet = (*sidecar)(nil)

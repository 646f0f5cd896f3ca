package fleet

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

const (
	observeEvery = 50 * time.Millisecond
	renewEvery   = time.Second

	// helloEvery is how often a sidecar says that it is there, in a small fleet; in a
	// large one all of them together say so 20 times a second.
	helloEvery = 5 * time.Second
	helloPause = 50 * time.Millisecond

	// promptness is how long after it was sent a sidecar's own message comes back, at
	// most, from a transport that can be relied on.
	promptness = 500 * time.Millisecond

	// leastGrace is how long after enough claims came an answer may come that
	// contradicts them, at least. It is longer where messages take longer.
	leastGrace = 100 * time.Millisecond

	// startPatience is how long after the start the transport need not be there yet.
	startPatience = 5 * time.Second

	publishTimeout = 500 * time.Millisecond
	leaseTimeout   = 250 * time.Millisecond
	leaseWait      = 50 * time.Millisecond // for an answer, before no more are asked for

	maxInbox  = 1024
	maxOutbox = 8
	maxLeases = 64
	maxEcho   = 16 // messages whose return is awaited
)

// Transport carries messages between sidecars. Its calls return when ctx ends.
type Transport interface {
	// Publish sends a message to all sidecars, the sender included.
	Publish(ctx context.Context, message []byte) error

	// Receive calls take for each message until the connection is lost: with those
	// of the last seconds first, as far as they are kept, with their age.
	Receive(ctx context.Context, take func(message []byte, age time.Duration)) error

	// Lease gives one sidecar at a time the right to something, or extends it. If
	// another has it, left is for how long.
	Lease(ctx context.Context, key string, d time.Duration) (granted bool, left time.Duration, err error)

	// Close ends it.
	Close() error
}

// Guard is what a fleet needs of a breaker.Guard.
type Guard interface {
	// Observe appends what the guard observes now to buf.
	Observe(buf []breaker.Observation) []breaker.Observation

	// Answers appends what contradicts the claims asked to buf: answers that came after
	// they began.
	Answers(asked, buf []breaker.Observation) []breaker.Observation

	Agree(breaker.Agreement)
	PeerAnswered(breaker.Observation)
	Leased(zone, store string, granted bool, wait time.Duration)
	ServerLeased(address string, granted bool, wait time.Duration)

	// HasServer reports whether observations of the server concern this sidecar.
	HasServer(address string) bool
}

// Options are what a fleet is made of.
type Options struct {
	Guard     Guard
	Transport Transport

	// The name of this sidecar, which no other one has, and that of its host.
	ID, Host string

	// How many hosts have to observe the same. Default: 3.
	Agree int

	// MostZones is how many zones may be open at once. A host that claims more of them
	// to be silent is itself at fault. Default: no bound.
	MostZones func() int

	// MostServers is the same for servers out of service, of those that this sidecar
	// has. Default: no bound.
	MostServers func() int

	// Observe tells what would be done, and does nothing.
	Observe bool

	// Tell is told what happens, from the fleet's goroutine. It must not block.
	Tell func(Event)
}

// How many hosts have to observe the same, by default and at most.
const (
	DefaultAgree = 3
	MostAgree    = 20
)

// EventKind is what an event is about.
type EventKind uint8

// Kinds of events.
const (
	Connected   EventKind = iota + 1 // messages come back
	Lost                             // they do not any more: this guard decides by itself
	Agreed                           // enough hosts observe it
	Vetoed                           // enough did, but it was answered
	Answered                         // what was agreed on was answered
	Discredited                      // a host does not count for a while
	Failed                           // the fleet has a bug, and goes on
)

// Event is something that happened in the fleet.
type Event struct {
	Kind EventKind
	breaker.Agreement
	Host    string // of Answered and Discredited
	Observe bool   // it would have been done
	Err     error  // of Lost, if known, and of Failed
}

// Fleet shares what the guard of this sidecar observes with the others.
type Fleet struct {
	o     Options
	began time.Time
	boot  uint64
	board *board // of the loop

	Counts Counts

	inbox  chan received
	outbox chan []breaker.Observation
	leases chan leaseRequest

	// promptUntil is until when the transport can be relied on, and way how long a
	// message takes from one sidecar to all.
	promptUntil, way atomic.Int64
	leasing          atomic.Int64 // since when a lease is asked for; 0: none is
	leasesFail       atomic.Bool

	// Of the loop.
	sent      map[subject]time.Duration // claims that were published: begin of the silence
	answered  map[subject]time.Duration // answers that were: when
	renewAt   time.Duration
	helloAt   time.Duration
	connected bool
	noted     bool // and somebody was told whether it is
	observed  []breaker.Observation
	out       []breaker.Observation

	mu  sync.Mutex // guards below
	err error      // of the transport, the latest
	// echo is when messages were sent that did not come back yet.
	seq  uint64
	echo map[uint64]time.Duration
}

type received struct {
	message *message
	at      time.Duration
}

type leaseRequest struct {
	subject
	d time.Duration
}

// New makes a fleet; Run has it work.
func New(o Options) *Fleet {
	if o.Agree == 0 {
		o.Agree = DefaultAgree
	}
	if o.MostZones == nil {
		o.MostZones = func() int { return math.MaxInt }
	}
	if o.MostServers == nil {
		o.MostServers = func() int { return math.MaxInt }
	}
	if o.Tell == nil {
		o.Tell = func(Event) {}
	}
	f := &Fleet{
		o: o, began: time.Now(), boot: rand.Uint64(),
		inbox: make(chan received, maxInbox), outbox: make(chan []breaker.Observation, maxOutbox), leases: make(chan leaseRequest, maxLeases),
		sent: make(map[subject]time.Duration), answered: make(map[subject]time.Duration), echo: make(map[uint64]time.Duration),
	}
	f.board = newBoard(boardOptions{agree: o.Agree, id: o.ID, host: o.Host, boot: f.boot, answers: o.Guard.Answers, mostZones: o.MostZones, mostServers: o.MostServers, hasServer: o.Guard.HasServer, random: rand.Float64})
	return f
}

// Agree is how many hosts have to observe the same.
func (f *Fleet) Agree() int { return f.o.Agree }

// Close ends a fleet that never ran.
func (f *Fleet) Close() error { return f.o.Transport.Close() }

// now counts from an hour before the fleet began, so that no observation is older.
func (f *Fleet) now() time.Duration { return maxAge + time.Since(f.began) }

// Run has the fleet work until ctx ends.
func (f *Fleet) Run(ctx context.Context) {
	defer func() { _ = f.o.Transport.Close() }()
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { f.receive(ctx) })
	work.Go(func() { f.publish(ctx) })
	work.Go(func() { f.lease(ctx) })
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-f.inbox:
			f.take(r)
		case <-tick.C:
			f.step()
		}
	}
}

// receive reads messages, again and again: a connection may be lost.
func (f *Fleet) receive(ctx context.Context) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		connected := time.Now()
		err := f.o.Transport.Receive(ctx, f.heard)
		f.failed(err)
		if time.Since(connected) > 10*time.Second {
			pause = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// heard takes in a message from the transport's goroutine.
func (f *Fleet) heard(data []byte, age time.Duration) {
	defer f.survive()
	f.Counts.Received.Add(1)
	f.Counts.ReceivedBytes.Add(int64(len(data)))
	m, err := decode(data)
	if err != nil {
		f.Counts.dropped[Unreadable].Add(1)
		return
	}
	now := f.now()
	if m.ID == f.o.ID && m.Boot == f.boot {
		if age == 0 {
			f.cameBack(now, m.Seq)
		}
		return
	}
	select {
	case f.inbox <- received{m, now - max(age, 0)}:
	default:
		f.Counts.dropped[Overflow].Add(1)
	}
}

// cameBack finds how long the way of a message is.
func (f *Fleet) cameBack(now time.Duration, seq uint64) {
	f.mu.Lock()
	sent, ok := f.echo[seq]
	for older := range f.echo {
		if older <= seq {
			delete(f.echo, older)
		}
	}
	f.mu.Unlock()
	if !ok {
		return
	}
	way := now - sent
	if way > promptness {
		f.promptUntil.Store(0)
		return
	}
	f.way.Store(int64(way))
	f.promptUntil.Store(int64(sent + 2*f.helloPeriod()))
}

// prompt reports whether messages arrive in time.
func (f *Fleet) prompt(now time.Duration) bool {
	return int64(now) < f.promptUntil.Load() && !f.overdue(now)
}

// overdue reports whether a message did not come back in time.
func (f *Fleet) overdue(now time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sent := range f.echo {
		if now-sent > promptness {
			return true
		}
	}
	return false
}

func (f *Fleet) helloPeriod() time.Duration {
	return max(helloEvery, time.Duration(f.Counts.Sidecars.Load())*helloPause)
}

// survive has a bug end neither the process nor the fleet's work.
func (f *Fleet) survive() {
	if p := recover(); p != nil && f.Counts.Panics.Add(1) == 1 {
		f.o.Tell(Event{Kind: Failed, Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())})
	}
}

func zonesFirst(a, b breaker.Observation) int {
	return cmp.Compare(min(len(a.Store), 1), min(len(b.Store), 1))
}

func (f *Fleet) take(r received) {
	defer f.survive()
	if drop := f.board.receive(r.at, time.Duration(f.way.Load()), r.message); drop != NotDropped {
		f.Counts.dropped[drop].Add(1)
		return
	}
	now := f.now()
	if f.board.ask(now, nil); len(f.board.publish) > 0 {
		f.say(now, f.prompt(now))
	}
}

// step is what is done twenty times a second.
func (f *Fleet) step() {
	defer f.survive()
	now := f.now()
	f.observed = f.o.Guard.Observe(f.observed[:0])
	slices.SortStableFunc(f.observed, zonesFirst) // if there are too many for a message
	f.board.own(now, f.observed)
	prompt := f.prompt(now)
	f.noteConnection(prompt)
	decisions := f.board.tick(now, max(leastGrace, observeEvery+2*time.Duration(f.way.Load())), prompt)
	f.Counts.Sidecars.Store(int64(f.board.sidecars))
	f.say(now, prompt)
	for _, d := range decisions {
		f.decide(&d)
	}
}

// noteConnection tells when messages come back, and when they do not any more.
func (f *Fleet) noteConnection(prompt bool) {
	f.Counts.Connected.Store(prompt)
	if prompt == f.connected && (prompt || f.noted || time.Since(f.began) < startPatience) {
		return
	}
	f.connected, f.noted = prompt, true
	if prompt {
		f.o.Tell(Event{Kind: Connected})
		return
	}
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	f.o.Tell(Event{Kind: Lost, Err: err})
}

// failed keeps why the transport cannot be relied on now.
func (f *Fleet) failed(err error) {
	if err == nil {
		return
	}
	f.promptUntil.Store(0)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *Fleet) decide(d *decision) {
	e := Event{Agreement: d.Agreement, Host: d.host, Observe: f.o.Observe}
	switch d.kind {
	case decidedHolds:
		if !f.o.Observe {
			f.o.Guard.Agree(d.Agreement)
		}
		return
	case decidedAgreed:
		e.Kind = Agreed
		f.Counts.Agreements.Add(1)
		if !f.o.Observe {
			f.o.Guard.Agree(d.Agreement)
		}
	case decidedVetoed:
		e.Kind = Vetoed
		f.Counts.Vetoes.Add(1)
	case decidedAnswered:
		e.Kind = Answered
		if !f.o.Observe {
			f.o.Guard.PeerAnswered(d.Observation)
		}
	case decidedHeard:
		if !f.o.Observe {
			f.o.Guard.PeerAnswered(d.Observation)
		}
		return
	case decidedDiscredited:
		e.Kind = Discredited
		f.Counts.Discredited.Add(1)
	}
	f.o.Tell(e)
}

// say publishes what is new, and the rest when it is due.
func (f *Fleet) say(now time.Duration, prompt bool) {
	f.out = append(f.out[:0], f.board.publish...)
	f.board.publish = f.board.publish[:0]
	claims, news := 0, false
	if prompt {
		claims, news = f.claims(now)
	} else if len(f.sent) > 0 {
		clear(f.sent)
	}
	switch {
	case now >= f.renewAt && (claims > 0 || !prompt), news, len(f.out) > claims:
	case now >= f.helloAt:
	default:
		return
	}
	if !f.send(slices.Clone(f.out)) {
		return
	}
	f.renewAt = now + jitter(renewEvery)
	f.helloAt = now + jitter(f.helloPeriod())
}

// claims adds what the guard observes to the next message. It reports how many claims
// these are, and whether there is anything that the others do not know yet.
func (f *Fleet) claims(now time.Duration) (n int, news bool) {
	before, kept := len(f.sent), 0
	renewal := now >= f.renewAt
	for i := range f.observed {
		o := &f.observed[i]
		about := subjectOf(o)
		begin := now - o.For
		if o.Kind == breaker.ObservedAnswered {
			if last, ok := f.answered[about]; !ok || begin > last+observeEvery {
				f.out, news = append(f.out, *o), true
				f.answered[about] = begin
			}
			continue
		}
		last, sent := f.sent[about]
		if (!sent || renewal) && f.board.spared(now, about) {
			continue
		}
		if sent {
			kept++
		}
		n++
		f.out = append(f.out, *o)
		// A silence that begins later than the one that was claimed is another one.
		if !sent || begin > last+observeEvery {
			f.sent[about], news = begin, true
		}
	}
	if kept < before {
		f.forgetClaims()
		news = true
	}
	if len(f.answered) > maxMatters {
		clear(f.answered)
	}
	return n, news
}

// forgetClaims leaves out the claims that are not made any more.
func (f *Fleet) forgetClaims() {
	for about := range f.sent {
		if !slices.ContainsFunc(f.out, func(o breaker.Observation) bool { return isSilent(o) && subjectOf(&o) == about }) {
			delete(f.sent, about)
		}
	}
}

// jitter keeps sidecars that began together from going on together.
func jitter(d time.Duration) time.Duration { return d - d/8 + rand.N(d/4) }

// send hands a message to the goroutine that publishes.
func (f *Fleet) send(observations []breaker.Observation) bool {
	select {
	case f.outbox <- observations:
		return true
	default:
		return false
	}
}

// publish sends messages, one after the other.
func (f *Fleet) publish(ctx context.Context) {
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return
		case observations := <-f.outbox:
			buf = f.encode(buf[:0], observations)
			f.transmit(ctx, buf)
		}
	}
}

// encode makes a message of observations.
func (f *Fleet) encode(buf []byte, observations []breaker.Observation) []byte {
	now := f.now()
	f.mu.Lock()
	f.seq++
	m := message{ID: f.o.ID, Host: f.o.Host, Boot: f.boot, Seq: f.seq, Sent: now - maxAge, Whole: true, Observations: observations}
	delete(f.echo, f.seq-maxEcho)
	f.echo[f.seq] = now
	f.mu.Unlock()
	return m.append(buf)
}

func (f *Fleet) transmit(ctx context.Context, data []byte) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := f.o.Transport.Publish(ctx, data); err != nil {
		f.Counts.SendFailures.Add(1)
		f.failed(err)
		return
	}
	f.Counts.Sent.Add(1)
	f.Counts.SentBytes.Add(int64(len(data)))
}

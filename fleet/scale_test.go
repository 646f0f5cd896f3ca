package fleet

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// scaled is a fleet of many sidecars in virtual time, without Redis: what each sends and
// when is decided by Fleet and put into bytes by the codec; one board hears all of it.
//
// Every sidecar hears every message at the same time, so all boards know the same, but
// for the claims of their own sidecar. They share one here: ten thousand would need a
// hundred million senders. What its guard observes is played: requests to a zone that
// is frozen come by chance, are stuck for slow_after before they are told of, and are
// answered at the heal.
type scaled struct {
	n    int
	now  time.Duration
	rand *rand.Rand

	heard    *board
	late     *board // of a sidecar that has just started; nil: there is none
	sidecars []*scaledSidecar
	flying   [][]byte // messages that arrive in the next slot

	agreed, lateAgreed time.Duration // when it was decided that the zone is silent
	back               time.Duration // when the zone was answered first

	second scaledLoad // of this second
	loads  []scaledLoad
	burst  int // most messages in a slot of 50 ms
	slot   int
}

// scaledLoad is what came to Redis in a second.
type scaledLoad struct{ messages, bytes int }

type scaledSidecar struct {
	*Fleet
	id, host string
	seq      uint64
	started  time.Duration
	stuck    time.Duration // since when its first request has no answer; 0: none
	back     time.Duration // when the zone was first answered here; 0: it was not
	last     time.Duration // when it was answered last
	next     time.Duration // when the next request comes
	some     [3]uint32
}

const (
	scaledSlot  = 5 * time.Millisecond // also how long a message takes
	scaledRate  = 0.5                  // requests a second of a sidecar to the zone
	scaledStuck = time.Second          // slow_after
)

// newScaled makes a fleet that has run for long: all know each other, and it is not known
// when each says next that it is there.
func newScaled(n int) *scaled {
	w := &scaled{n: n, now: maxAge + 24*time.Hour, rand: rand.New(rand.NewPCG(uint64(n), 1))}
	w.heard = w.board("observer")
	for i := range n {
		s := &scaledSidecar{id: fmt.Sprintf("api-%05d.example.com:8080", i), host: fmt.Sprintf("api-%05d.example.com", i), started: w.now - time.Hour}
		view := *w.heard // with the same matters
		view.self = &sender{run: run{s.id, uint64(i)}, host: s.host}
		s.Fleet = &Fleet{
			o: Options{ID: s.id, Host: s.host, Agree: DefaultAgree}, boot: uint64(i), board: &view,
			outbox: make(chan []breaker.Observation, maxOutbox), sent: make(map[subject]time.Duration), answered: make(map[subject]time.Duration),
		}
		w.sidecars = append(w.sidecars, s)
		for _, ago := range []time.Duration{10 * time.Second, 5 * time.Second} {
			w.heard.receive(w.now-ago, 0, s.message(w.now-ago, nil))
		}
	}
	w.heard.tick(w.now, leastGrace, true)
	w.count()
	for _, s := range w.sidecars {
		s.helloAt = w.now + time.Duration(w.rand.Float64()*float64(s.helloPeriod()))
	}
	return w
}

func (w *scaled) board(id string) *board {
	return newBoard(boardOptions{
		agree: DefaultAgree, id: id, host: id, random: w.rand.Float64,
		answers: func(_, buf []breaker.Observation) []breaker.Observation { return buf },
	})
}

// count tells the sidecars how many there are, as each board counts once a second.
func (w *scaled) count() {
	for _, s := range w.sidecars {
		s.board.sidecars = w.heard.sidecars
		s.Counts.Sidecars.Store(int64(w.heard.sidecars))
	}
}

func (s *scaledSidecar) message(now time.Duration, all []breaker.Observation) *message {
	s.seq++
	return &message{ID: s.id, Host: s.host, Boot: s.boot, Seq: s.seq, Sent: now - s.started, Whole: true, Observations: all}
}

// run plays the fleet for a while.
func (w *scaled) run(d time.Duration) {
	for end := w.now + d; w.now < end; w.now += scaledSlot {
		w.arrive()
		phase := int(w.now/scaledSlot) % 10
		if phase == 0 {
			w.judge()
			w.burst, w.slot = max(w.burst, w.slot), 0
		}
		for i := phase; i < w.n; i += 10 { // each looks every 50 ms, at a time of its own
			w.step(w.sidecars[i])
		}
		if w.now%time.Second < scaledSlot {
			w.loads, w.second = append(w.loads, w.second), scaledLoad{}
			w.count()
		}
	}
}

func (w *scaled) arrive() {
	flying := w.flying
	w.flying = nil
	for _, data := range flying {
		for _, b := range []*board{w.heard, w.late} {
			if b == nil {
				continue
			}
			m, err := decode(data)
			if err != nil {
				panic(err)
			}
			b.receive(w.now, scaledSlot, m)
		}
	}
}

func (w *scaled) judge() {
	for _, d := range w.heard.tick(w.now, leastGrace, true) {
		switch {
		case d.kind == decidedAgreed && w.agreed == 0:
			w.agreed = w.now
		case d.kind == decidedAnswered && w.back == 0:
			w.back = w.now
		}
	}
	if w.late == nil {
		return
	}
	for _, d := range w.late.tick(w.now, leastGrace, true) {
		if d.kind == decidedAgreed && w.lateAgreed == 0 {
			w.lateAgreed = w.now
		}
	}
}

// step is what Fleet.step does, with what the sidecar observes played.
func (w *scaled) step(s *scaledSidecar) {
	s.observed = s.observed[:0]
	if s.next != 0 && w.now >= s.next {
		w.request(s)
	}
	switch {
	case s.stuck != 0 && w.now-s.stuck >= scaledStuck:
		s.observed = append(s.observed, breaker.Observation{Kind: breaker.ObservedSilent, Zone: "z0042", Stores: 1, Some: s.some, For: w.now - s.stuck})
	case s.back != 0 && w.now-s.back < time.Second:
		s.observed = append(s.observed, breaker.Observation{Kind: breaker.ObservedAnswered, Zone: "z0042", For: w.now - s.last})
	}
	s.say(w.now, true)
	for len(s.outbox) > 0 {
		data := s.message(w.now, <-s.outbox).append(nil)
		w.flying = append(w.flying, data)
		w.second.messages++
		w.second.bytes += len(data)
		w.slot++
	}
}

// request has a request come to the zone: it is stuck, refused, or answered.
func (w *scaled) request(s *scaledSidecar) {
	s.next = w.now + time.Duration(w.rand.ExpFloat64()/scaledRate*float64(time.Second))
	switch {
	case w.back != 0:
		if s.back == 0 {
			s.back = w.now
		}
		s.last = w.now
	case w.agreed == 0 && s.stuck == 0:
		s.stuck, s.some = w.now, [3]uint32{1 + uint32(w.rand.IntN(100))}
	}
}

// freeze has the zone answer nothing from now on.
func (w *scaled) freeze() {
	for _, s := range w.sidecars {
		s.next = w.now + time.Duration(w.rand.ExpFloat64()/scaledRate*float64(time.Second))
	}
}

// heal has the requests that are stuck answered; the first sidecar tells of it.
func (w *scaled) heal() {
	first := true
	for _, s := range w.sidecars {
		if s.stuck != 0 && first {
			s.back, s.last, first = w.now, w.now, false
		}
		s.stuck = 0
	}
}

// third is when the third host can tell of a request that is stuck.
func (w *scaled) third() time.Duration {
	var stuck []time.Duration
	for _, s := range w.sidecars {
		if s.stuck != 0 {
			stuck = append(stuck, s.stuck)
		}
	}
	slices.Sort(stuck)
	return stuck[DefaultAgree-1] + scaledStuck
}

// load is the mean of some seconds, and peak the worst of them.
func load(all []scaledLoad) (mean, peak scaledLoad) {
	for _, l := range all {
		mean.messages, mean.bytes = mean.messages+l.messages, mean.bytes+l.bytes
		peak.messages, peak.bytes = max(peak.messages, l.messages), max(peak.bytes, l.bytes)
	}
	n := max(len(all), 1)
	return scaledLoad{mean.messages / n, mean.bytes / n}, peak
}

// TestScale: what a fleet of fifty, a thousand and ten thousand sidecars sends while
// nothing is wrong, while a zone is frozen, and after it has healed, and how long the
// verdict takes. Each message goes to each sidecar: what reaches Redis is what each
// sidecar gets, and what leaves it is that times the number of sidecars.
func TestScale(t *testing.T) {
	for _, n := range []int{50, 1000, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if (raceDetector || testing.Short()) && n > 1000 {
				t.Skip("takes a minute with the race detector, and 4 s without: make soak")
			}
			w := newScaled(n)
			w.run(20 * time.Second)
			quiet, _ := load(w.loads)

			w.late = w.board("late") // it has heard nobody
			w.loads, w.burst = nil, 0
			w.freeze()
			w.run(20 * time.Second)
			if w.agreed == 0 || w.lateAgreed == 0 {
				t.Fatalf("no agreement: %s, %s", w.agreed, w.lateAgreed)
			}
			_, outbreak := load(w.loads[:5])
			held, _ := load(w.loads[10:])
			verdict, late, burst := w.agreed-w.third(), w.lateAgreed-w.third(), w.burst

			w.loads, w.burst = nil, 0
			w.heal()
			w.run(10 * time.Second)
			_, healing := load(w.loads)
			t.Logf("FIGURE %d sidecars: quiet %d messages/s (%d B/s); a zone freezes: %d messages in the worst second (%d B), %d in the worst 50 ms; held %d/s (%d B/s); heals: %d in the worst second (%d B), %d in the worst 50 ms; verdict %d ms after the third host could tell, %d ms where a sidecar has just started",
				n, quiet.messages, quiet.bytes, outbreak.messages, outbreak.bytes, burst, held.messages, held.bytes,
				healing.messages, healing.bytes, w.burst, verdict.Milliseconds(), late.Milliseconds())
			if quiet.messages > 30 {
				t.Errorf("%d messages/s while nothing is wrong, want at most 30", quiet.messages)
			}
			if burst > 500 {
				t.Errorf("%d messages in 50 ms: all step in at once", burst)
			}
			if held.messages > 150 {
				t.Errorf("%d messages/s while the zone is cut off, want at most 150", held.messages)
			}
			if verdict > 400*time.Millisecond || late > 2500*time.Millisecond {
				t.Errorf("the verdict took %s, and %s for a sidecar that has just started", verdict, late)
			}
		})
	}
}

// TestScaleOfBoard: what one sidecar has to do for a message, and the memory it needs.
func TestScaleOfBoard(t *testing.T) {
	for _, n := range []int{50, 1000, 10_000} {
		w := newScaled(n)
		encoded := make([][]byte, n)
		claims := make([][]byte, n)
		fill := func(into [][]byte, all []breaker.Observation) {
			for i, s := range w.sidecars {
				into[i] = s.message(w.now, all).append(nil)
			}
		}
		took := func(b *board, all [][]byte) time.Duration {
			w.now += time.Second
			began := time.Now()
			for _, data := range all {
				m, err := decode(data)
				if err != nil {
					t.Fatal(err)
				}
				b.receive(w.now, scaledSlot, m)
			}
			return time.Since(began) / time.Duration(len(all))
		}
		memory := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := memory()
		b := w.board("measured")
		for range 2 {
			fill(encoded, nil)
			took(b, encoded)
		}
		after := memory()
		known := after - min(before, after)
		fill(encoded, nil)
		hello := took(b, encoded)
		fill(claims, []breaker.Observation{{Kind: breaker.ObservedSilent, Zone: "z0042", Stores: 3, Some: [3]uint32{1, 2, 3}, For: 1500 * time.Millisecond}})
		claim := took(b, claims)
		began := time.Now()
		const ticks = 100
		for range ticks {
			w.now += time.Second + time.Millisecond // counts the sidecars, too
			b.tick(w.now, leastGrace, true)
		}
		tick := time.Since(began) / ticks
		t.Logf("FIGURE board that knows %d sidecars: %d KB; a message %d B: %s; a claim %d B: %s; counting the sidecars, once a second: %s",
			n, known>>10, len(encoded[0]), hello, len(claims[0]), claim, tick)
		runtime.KeepAlive(b)
		if known > 64<<20 {
			t.Errorf("%d MB", known>>20)
		}
	}
}

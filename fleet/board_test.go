package fleet

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// peers are sidecars that talk to a board in virtual time.
type peers struct {
	*board
	now       time.Duration
	answered  map[subject]time.Duration // what this sidecar's guard knows
	seqs      map[run]uint64
	skew      time.Duration // how much longer messages take
	decisions []decision
}

func newPeers(agree int) *peers {
	p := &peers{now: maxAge, answered: make(map[subject]time.Duration), seqs: make(map[run]uint64)}
	p.board = newBoard(boardOptions{agree: agree, id: "self:1", host: "self", boot: 1, random: func() float64 { return 0.5 }, answers: p.know})
	return p
}

// know answers as a guard does.
func (p *peers) know(asked, buf []breaker.Observation) []breaker.Observation {
	for _, o := range asked {
		if at, ok := p.answered[subjectOf(&o)]; ok && at > p.now-o.For {
			buf = append(buf, breaker.Observation{Kind: breaker.ObservedAnswered, Zone: o.Zone, Store: o.Store, Server: o.Server, For: p.now - at})
		}
	}
	return buf
}

func (p *peers) message(host string, all ...breaker.Observation) *message {
	id := run{host + ":1", 7}
	p.seqs[id]++
	return &message{ID: id.id, Host: host, Boot: id.boot, Seq: p.seqs[id], Sent: p.now - p.skew, Whole: true, Observations: all}
}

// says has a host say something.
func (p *peers) says(host string, all ...breaker.Observation) Drop {
	return p.receive(p.now, 0, p.message(host, all...))
}

// meet introduces hosts.
func (p *peers) meet(hosts ...string) {
	for _, host := range hosts {
		p.says(host)
	}
	p.pass(introduction)
}

// pass lets time pass.
func (p *peers) pass(d time.Duration) {
	for end := p.now + d; p.now < end; {
		p.now = min(end, p.now+observeEvery)
		p.decisions = append(p.decisions, p.tick(p.now, leastGrace, true)...)
	}
}

// agreements are how often something was agreed on for the first time.
func (p *peers) count(kind decisionKind) (n int) {
	for _, d := range p.decisions {
		if d.kind == kind {
			n++
		}
	}
	return n
}

func (p *peers) want(t *testing.T, what string, kind decisionKind, want int) {
	t.Helper()
	if got := p.count(kind); got != want {
		t.Errorf("%s: %d decisions %d, want %d: %+v", what, got, kind, want, p.decisions)
	}
}

// silent is a claim about a zone: as many stores as fingerprints.
func silent(zone string, d time.Duration, stores ...uint32) breaker.Observation {
	o := breaker.Observation{Kind: breaker.ObservedSilent, Zone: zone, For: d, Stores: len(stores)}
	copy(o.Some[:], stores)
	return o
}

func answered(zone string, ago time.Duration) breaker.Observation {
	return breaker.Observation{Kind: breaker.ObservedAnswered, Zone: zone, For: ago}
}

func TestEnoughHostsAgree(t *testing.T) {
	p := newPeers(3)
	p.meet("a", "b", "c")
	p.says("a", silent("z7", 3*time.Second, 1))
	p.says("b", silent("z7", 2*time.Second, 2))
	p.pass(500 * time.Millisecond)
	p.want(t, "two hosts", decidedAgreed, 0)
	p.says("c", silent("z7", time.Second, 3))
	p.pass(50 * time.Millisecond)
	p.want(t, "three, within the grace", decidedAgreed, 0)
	p.pass(100 * time.Millisecond)
	p.want(t, "three", decidedAgreed, 1)
	d := p.decisions[0]
	// An answer since the oldest of the three would leave two.
	if want := 3600 * time.Millisecond; d.Sidecars != 3 || d.Stores != 3 || d.Zone != "z7" || d.For < want || d.For > want+observeEvery {
		t.Errorf("agreement %+v, want 3 sidecars and stores, silent for %s", d.Agreement, want)
	}
	p.pass(time.Second)
	p.want(t, "while it stands", decidedAgreed, 1)
	if n := p.count(decidedHolds); n < 3 {
		t.Errorf("the guard was told %d times in a second that it holds", n)
	}
	p.pass(2 * claimHolds)
	p.decisions = nil
	p.pass(time.Second)
	if len(p.decisions) != 0 {
		t.Errorf("claims that were not renewed: %+v", p.decisions)
	}
}

func TestOwnClaimCounts(t *testing.T) {
	p := newPeers(3)
	p.meet("a", "b")
	p.says("a", silent("z7", time.Second, 1))
	p.says("b", silent("z7", time.Second, 2))
	p.own(p.now, []breaker.Observation{silent("z7", time.Second, 3)})
	p.pass(200 * time.Millisecond)
	p.want(t, "two others and this one", decidedAgreed, 1)
	p.own(p.now, nil)
	p.decisions = nil
	p.pass(500 * time.Millisecond)
	p.want(t, "its own claim is taken back", decidedHolds, 0)
}

func TestHostsCountNotSidecars(t *testing.T) {
	p := newPeers(3)
	p.meet("a", "b")
	for id := range 5 {
		for seq := range 2 {
			m := message{ID: fmt.Sprint("a:", id), Host: "a", Boot: 9, Seq: uint64(1 + seq), Sent: p.now, Observations: []breaker.Observation{silent("z7", time.Second, uint32(id+1))}}
			p.receive(p.now, 0, &m)
			p.now += introduction
		}
	}
	p.says("b", silent("z7", time.Second, 9))
	p.pass(300 * time.Millisecond)
	p.want(t, "six sidecars on two hosts", decidedAgreed, 0)
}

// TestOneStoreIsNoZone: three hosts with a request each to the same store.
func TestOneStoreIsNoZone(t *testing.T) {
	p := newPeers(3)
	p.meet("a", "b", "c")
	for _, host := range []string{"a", "b", "c"} {
		p.says(host, silent("z7", time.Second, 77))
	}
	p.pass(300 * time.Millisecond)
	p.want(t, "one store", decidedAgreed, 0)
}

func TestAnAnswerIsAVeto(t *testing.T) {
	for name, veto := range map[string]func(*peers){
		"of another host":        func(p *peers) { p.says("d", answered("z7", 500*time.Millisecond)) },
		"of this sidecar itself": func(p *peers) { p.answered[subject{zone: "z7"}] = p.now - 500*time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeers(3)
			p.meet("a", "b", "c", "d", "e")
			for i, host := range []string{"a", "b", "c"} {
				p.says(host, silent("z7", time.Second, uint32(i+1)))
			}
			p.pass(60 * time.Millisecond)
			veto(p)
			p.pass(time.Second)
			p.want(t, "answered within the grace", decidedAgreed, 0)
			p.want(t, "answered within the grace", decidedVetoed, 1)
			// Those that are silent since after the answer go on counting.
			for i, host := range []string{"b", "c", "e"} {
				p.says(host, silent("z7", time.Second, uint32(i+4)))
			}
			p.pass(300 * time.Millisecond)
			p.want(t, "silent since", decidedAgreed, 1)
		})
	}
}

// TestWhoKnowsBetterSaysSo: a claim that this sidecar can contradict is contradicted,
// not more often than it has to.
func TestWhoKnowsBetterSaysSo(t *testing.T) {
	p := newPeers(3)
	p.meet("a", "b", "c", "d")
	p.answered[subject{zone: "z7"}] = p.now
	p.says("a", silent("z7", time.Second, 1))
	p.pass(100 * time.Millisecond)
	if len(p.publish) != 1 || p.publish[0].Kind != breaker.ObservedAnswered || p.publish[0].Zone != "z7" {
		t.Fatalf("it says %+v", p.publish)
	}
	p.publish = nil
	p.says("b", silent("z7", time.Second, 1))
	p.pass(100 * time.Millisecond)
	if len(p.publish) != 0 {
		t.Errorf("it repeats itself at once: %+v", p.publish)
	}
	for _, host := range []string{"b", "c", "d"} {
		p.says(host, answered("z7", 0))
	}
	p.answered[subject{zone: "z7"}] = p.now
	p.says("a", silent("z7", time.Second, 1))
	p.pass(100 * time.Millisecond)
	if len(p.publish) != 0 {
		t.Errorf("three others have said it, and it says %+v", p.publish)
	}
}

// TestContradictedHostIsDiscredited: a host that claims two zones that two others are
// answered by counts for nothing else.
func TestContradictedHostIsDiscredited(t *testing.T) {
	lie := []breaker.Observation{silent("z1", time.Second, 1), silent("z2", time.Second, 2), silent("z9", time.Second, 3, 4)}
	for contradictions, want := range map[int]int{1: 0, 2: 3} {
		p := newPeers(3)
		p.meet("a", "b", "c", "d", "e")
		for _, host := range []string{"a", "b", "c"} {
			p.says(host, lie...)
		}
		for _, host := range []string{"d", "e"}[:contradictions] {
			p.says(host, answered("z1", 0), answered("z2", 0))
		}
		p.pass(300 * time.Millisecond)
		p.want(t, fmt.Sprint(contradictions, " contradict"), decidedDiscredited, want)
		p.want(t, fmt.Sprint(contradictions, " contradict, a zone that no other has requests of"), decidedAgreed, 1-want/3)
		p.pass(discreditedFor)
		p.decisions = nil
		for i, host := range []string{"a", "b", "c"} {
			p.says(host, silent("z9", time.Second, uint32(i+1)))
		}
		p.pass(300 * time.Millisecond)
		p.want(t, "later", decidedAgreed, 1)
	}
}

// TestObstinateHostIsDiscredited: one claim that others contradict is normal for a
// sidecar with few requests, until it has heard of it.
func TestObstinateHostIsDiscredited(t *testing.T) {
	p := newPeers(3)
	p.meet("a", "d", "e")
	began := p.now - 2*time.Second
	for range 3 {
		p.want(t, "not obstinate yet", decidedDiscredited, 0)
		p.says("a", silent("z1", p.now-began, 1))
		p.says("d", answered("z1", 0))
		p.says("e", answered("z1", 0))
		p.pass(600 * time.Millisecond)
	}
	p.want(t, "after more than a second", decidedDiscredited, 1)
}

// TestHostThatSuspectsAllIsItselfAtFault: it claims more zones than may be open.
func TestHostThatSuspectsAllIsItselfAtFault(t *testing.T) {
	for most, want := range map[int]int{2: 0, 3: 3} {
		p := newPeers(3)
		p.mostZones = func() int { return most }
		p.meet("a", "b", "c")
		p.pass(time.Second)
		for i, host := range []string{"a", "b", "c"} {
			n := uint32(i)
			p.says(host, silent("z1", time.Second, 1+n), silent("z2", time.Second, 4+n), silent("z3", time.Second, 7+n))
		}
		p.pass(300 * time.Millisecond)
		p.want(t, fmt.Sprint(most, " zones may be open, and three are claimed"), decidedAgreed, want)
	}
}

func silentServer(address string, d time.Duration, of ...uint32) breaker.Observation {
	o := silent("", d, of...)
	o.Server = address
	return o
}

// TestServers: hosts agree on a server by three stores or zones, and not on one that this
// sidecar does not have, nor with hosts that claim it of more than may be out of service.
func TestServers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		stores  [3]uint32
		most    int
		unknown bool
		more    bool // each claims two more servers
		veto    bool
		want    int
	}{
		{"three stores", [3]uint32{1, 2, 3}, 2, false, false, false, 1},
		{"two stores", [3]uint32{1, 2, 2}, 2, false, false, false, 0},
		{"not its own", [3]uint32{1, 2, 3}, 2, true, false, false, 0},
		{"too many at once", [3]uint32{1, 2, 3}, 2, false, true, false, 0},
		{"as many as may be", [3]uint32{1, 2, 3}, 3, false, true, false, 3},
		{"another one was answered", [3]uint32{1, 2, 3}, 2, false, false, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPeers(3)
			p.mostServers = func() int { return tt.most }
			p.hasServer = func(address string) bool { return !tt.unknown || address != "api3:9000" }
			p.meet("a", "b", "c", "d")
			p.pass(time.Second)
			for i, host := range []string{"a", "b", "c"} {
				all := []breaker.Observation{silentServer("api3:9000", time.Second, tt.stores[i])}
				if tt.more {
					all = append(all, silentServer("api4:9000", time.Second, tt.stores[i]), silentServer("api5:9000", time.Second, tt.stores[i]))
				}
				p.says(host, all...)
			}
			if tt.veto {
				p.says("d", breaker.Observation{Kind: breaker.ObservedAnswered, Server: "api3:9000"})
			}
			p.pass(300 * time.Millisecond)
			p.want(t, tt.name, decidedAgreed, tt.want)
		})
	}
}

// TestWrongOnServersIsNotDiscredited: requests of a host to two servers hang for a reason
// of their own, and others are answered there.
func TestWrongOnServersIsNotDiscredited(t *testing.T) {
	p := newPeers(3)
	p.meet("a", "b", "c")
	p.says("a", silentServer("api3:9000", 2*time.Second, 1), silentServer("api4:9000", 2*time.Second, 1))
	for _, host := range []string{"b", "c"} {
		p.says(host, breaker.Observation{Kind: breaker.ObservedAnswered, Server: "api3:9000"}, breaker.Observation{Kind: breaker.ObservedAnswered, Server: "api4:9000"})
	}
	p.pass(50 * time.Millisecond)
	p.says("a")
	p.pass(2 * time.Second)
	p.want(t, "two servers", decidedDiscredited, 0)
}

// TestAnswersReachTheGuard: what others were answered is told to the guard, once
// something that was agreed on also to the operator.
func TestAnswersReachTheGuard(t *testing.T) {
	p := newPeers(2)
	p.meet("a", "b", "c")
	p.says("a", silent("z7", time.Second, 1))
	p.says("b", silent("z7", time.Second, 2))
	p.pass(300 * time.Millisecond)
	p.want(t, "agreed", decidedAgreed, 1)
	p.says("c", answered("z7", 50*time.Millisecond), answered("z8", time.Second))
	p.pass(50 * time.Millisecond)
	p.want(t, "answered", decidedAnswered, 1)
	p.want(t, "of no zone that is claimed", decidedHeard, 1)
}

func TestReplaysAndLateMessagesAreDropped(t *testing.T) {
	p := newPeers(2)
	claim := silent("z7", time.Second, 1, 2)
	first := p.message("a", claim)
	for want, m := range map[Drop]*message{Introduced: first} {
		if got := p.receive(p.now, 0, m); got != want {
			t.Errorf("first message: %s, want %s", got, want)
		}
	}
	if got := p.receive(p.now, 0, first); got != Replayed {
		t.Errorf("the same again: %s", got)
	}
	if got := p.says("a", claim); got != Introduced {
		t.Errorf("a second one at once, as out of a Redis that was stopped: %s", got)
	}
	p.pass(introduction)
	if got := p.says("a", claim); got != NotDropped {
		t.Errorf("a later one: %s", got)
	}
	held := p.message("a", claim)
	p.pass(2 * time.Second)
	if got := p.receive(p.now, 0, held); got != Late {
		t.Errorf("held back for two seconds: %s", got)
	}
	p.skew = 500 * time.Millisecond
	if got := p.says("a", claim); got != NotDropped {
		t.Errorf("half a second late: %s", got)
	}
	for _, c := range p.claimsOf("z7") {
		if want := p.now - 1500*time.Millisecond; c.start != want {
			t.Errorf("the silence began at %s, want %s: the message was on its way for longer", c.start, want)
		}
	}
}

// TestClocksDoNotMatter: the sender's clock only has to run.
func TestClocksDoNotMatter(t *testing.T) {
	p := newPeers(2)
	p.skew = 10 * time.Minute // it began to run earlier
	p.meet("a")
	p.skew = -10 * time.Minute
	p.meet("b")
	p.skew = 10 * time.Minute
	if got := p.says("a", silent("z7", time.Second, 1)); got != NotDropped {
		t.Error(got)
	}
	p.skew = -10 * time.Minute
	if got := p.says("b", silent("z7", time.Second, 2)); got != NotDropped {
		t.Error(got)
	}
	p.pass(200 * time.Millisecond)
	p.want(t, "clocks that differ", decidedAgreed, 1)
	// One whose machine stood still for a minute is late until that is the usual.
	p.skew = 0
	drop := Late
	for range 100 {
		p.pass(time.Second)
		drop = p.says("b", silent("z7", time.Second, 2))
	}
	p.skew = time.Minute
	if p.says("b"); drop != NotDropped {
		t.Errorf("a clock that went ahead: %s", drop)
	}
	for range 100 {
		p.pass(time.Second)
		drop = p.says("b", silent("z7", time.Second, 2))
	}
	if drop != NotDropped {
		t.Errorf("a clock that stood still for a minute: %s after 100 s", drop)
	}
}

func TestNothingIsAgreedOnWhileMessagesAreSlow(t *testing.T) {
	p := newPeers(2)
	p.meet("a", "b")
	p.says("a", silent("z7", time.Second, 1))
	p.says("b", silent("z7", time.Second, 2))
	for range 20 {
		p.now += observeEvery
		p.decisions = append(p.decisions, p.tick(p.now, leastGrace, false)...)
	}
	p.want(t, "slow", decidedAgreed, 0)
	p.pass(200 * time.Millisecond)
	p.want(t, "in time again", decidedAgreed, 1)
}

func TestClaimsAreTakenBack(t *testing.T) {
	p := newPeers(2)
	p.meet("a", "b")
	p.says("a", silent("z7", time.Second, 1))
	p.says("b", silent("z7", time.Second, 2))
	p.says("b", silent("z8", time.Second, 2))
	p.pass(300 * time.Millisecond)
	p.want(t, "one of two took it back", decidedAgreed, 0)
}

func (p *peers) claimsOf(zone string) map[run]claim {
	m, _ := p.matters.Peek(subject{zone: zone})
	if m == nil {
		return nil
	}
	return m.claims
}

// bounded reports what of a board is not.
func (b *board) bounded() error {
	if n := b.matters.Len(); n > maxMatters {
		return fmt.Errorf("%d matters", n)
	}
	for _, m := range b.matters.Values() {
		if len(m.claims) > maxClaims || len(m.answers) > maxAnswers {
			return fmt.Errorf("%d claims, %d answers", len(m.claims), len(m.answers))
		}
	}
	for _, s := range b.senders.known.Values() {
		if len(s.claims) > maxPerSender {
			return fmt.Errorf("%d claims of a sender", len(s.claims))
		}
	}
	if b.senders.known.Len() > maxSenders || b.discredits.Len() > maxHosts || len(b.publish) > maxObservations {
		return fmt.Errorf("%d senders, %d hosts, %d to publish", b.senders.known.Len(), b.discredits.Len(), len(b.publish))
	}
	return nil
}

// TestBoardIsBounded: whatever arrives, in whatever order.
func TestBoardIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPeers(rapid.IntRange(2, 5).Draw(t, "agree"))
		p.answered[subject{zone: "z1"}] = p.now
		observation := rapid.Custom(func(t *rapid.T) breaker.Observation {
			o := breaker.Observation{
				Kind: rapid.SampledFrom([]breaker.ObservationKind{breaker.ObservedSilent, breaker.ObservedAnswered}).Draw(t, "kind"),
				Zone: fmt.Sprint("z", rapid.IntRange(0, 300).Draw(t, "zone")),
				For:  time.Duration(rapid.IntRange(0, 4000).Draw(t, "for")) * time.Millisecond,
			}
			if rapid.Bool().Draw(t, "store") {
				o.Store = fmt.Sprint("s", rapid.IntRange(0, 30).Draw(t, "store"))
			}
			return o
		})
		for range rapid.IntRange(1, 200).Draw(t, "messages") {
			host := fmt.Sprint("h", rapid.IntRange(0, 100).Draw(t, "host"))
			m := p.message(host, rapid.SliceOfN(observation, 0, 20).Draw(t, "observations")...)
			m.Whole = rapid.Bool().Draw(t, "whole")
			p.receive(p.now, 0, m)
			p.pass(time.Duration(rapid.IntRange(0, 200).Draw(t, "pause")) * time.Millisecond)
			if err := p.bounded(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestFloodIsBounded: one host cannot fill the board.
func TestFloodIsBounded(t *testing.T) {
	p := newPeers(2)
	p.meet("flood", "a", "b")
	p.says("a", silent("z7", time.Second, 1))
	for n := range 200 {
		m := p.message("flood")
		m.Whole = false
		for i := range maxObservations {
			m.Observations = append(m.Observations, silent(fmt.Sprint("f", n, "-", i), time.Second, 1))
		}
		p.receive(p.now, 0, m)
	}
	if err := p.bounded(); err != nil {
		t.Error(err)
	}
	if n := p.matters.Len(); n > maxPerSender+1 {
		t.Errorf("one sender claims %d things", n)
	}
	p.says("b", silent("z7", time.Second, 2))
	p.pass(200 * time.Millisecond)
	p.want(t, "meanwhile", decidedAgreed, 1)
	for n := range 2 * maxSenders {
		m := p.message(fmt.Sprint("n", n))
		p.receive(p.now, 0, m)
		delete(p.seqs, run{m.ID, m.Boot})
	}
	if err := p.bounded(); err != nil {
		t.Error(err)
	}
}

// receiveInto has a board take in a message that was decoded, as the second of its
// sender.
func receiveInto(t *testing.T, m *message) {
	p := newPeers(2)
	p.receive(p.now, 0, &message{ID: m.ID, Host: m.Host, Boot: m.Boot, Sent: m.Sent})
	p.pass(introduction)
	if m.Seq != 0 && p.receive(p.now, 0, m) == Introduced {
		t.Fatal("the sender is not known")
	}
	p.pass(time.Second)
	if err := p.bounded(); err != nil {
		t.Fatal(err)
	}
}

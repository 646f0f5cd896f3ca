package breaker

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// IsLocalAddress reports whether an address may name another server on each machine: a
// unix socket, this machine itself, or an address that holds for one link only.
func IsLocalAddress(address string) bool {
	if network, rest, ok := strings.Cut(address, "/"); ok {
		if !strings.HasPrefix(network, "tcp") {
			return true
		}
		address = rest
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	return err == nil && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.Zone() != "")
}

// serverJoint is what the rest of the fleet has to do with a server. Guarded by
// servers.mu.
type serverJoint struct {
	agreedAt int64 // when enough sidecars last agreed that it is silent
	dueAt    int64 // out of service: when the right to try it is to be asked for; 0: not set
	askedAt  int64 // when it was; 0: it is not being asked for
	triedAt  int64 // when a request was last to try it
	trying   bool  // this sidecar tries it for all
	hinted   bool  // it is tried since another sidecar was answered
	misled   bool  // it was, in vain
}

// serversOfFleet is what the guard tells the fleet of servers, and asks it.
type serversOfFleet struct {
	back []cameBack    // servers that have come back; store is the address. Guarded by servers.mu
	asks []serverLease // the sweeper's: to be asked for when no lock is held
}

// serverLease is the right to try a server, for d.
type serverLease struct {
	address string
	d       time.Duration
}

// serverSilence is the requests that a server has not answered, as of the last sweep.
type serverSilence struct {
	requests  int   // that speak against it
	oldest    int64 // when the first of them was sent
	missing   int64 // when the latest of all was
	different [3]uint32
}

// serversNeeded is how many different stores, or zones that were not answered by other
// servers either, must be silent on a server in the whole fleet.
const serversNeeded = 3

// sharesServer reports whether the fleet is told of the server.
func (g *Guard) sharesServer(v *server) bool { return !v.local && g.fleet.Load() != nil }

// HasServer reports whether requests are sent to a server of that address, and it is the
// same server for every sidecar.
func (g *Guard) HasServer(address string) bool {
	v := g.servers.get(address)
	return v != nil && !v.local
}

// MostServersOut is how many servers may be out of service at once.
func (g *Guard) MostServersOut() int {
	return max(1, int(g.policy.Load().MaxServersOut*float64(g.servers.known())))
}

// lookForFleet adds the slots of a zone that their servers have not answered to the
// servers' pictures. A store that is silent on two servers is silent by itself, and so
// is a zone that is and was not answered by others.
func (z *zone) lookForFleet(now int64) {
	servers := &z.g.servers
	if z.g.fleet.Load() == nil || z.hung == 0 && z.lates.len == 0 && servers.serving.Load() == servers.number.Load() {
		return
	}
	type place struct {
		on      *server
		several bool
	}
	var zone place
	var stores map[uint64]*place
	put := func(p *place, v *server) {
		p.several = p.several || p.on != nil && p.on != v
		p.on = v
	}
	for s := z.slots.head; s != nil; s = s.next {
		if !s.missing(now) {
			continue
		}
		if stores == nil {
			stores = make(map[uint64]*place)
		}
		if stores[s.hash] == nil {
			stores[s.hash] = new(place)
		}
		put(stores[s.hash], s.server)
		silence := &s.server.picture.silence
		silence.missing = max(silence.missing, s.sentAt)
		if !z.answeredX.elsewhereSince(s.server.id, s.lately()) {
			put(&zone, s.server)
		}
	}
	if stores == nil {
		return
	}
	for s := z.slots.head; s != nil; s = s.next {
		v := s.server
		if !s.missing(now) || v.local || s.sentAt <= max(v.answeredAt.Load(), v.peerAt.Load()) || stores[s.hash].several {
			continue
		}
		if rec := z.books.get(s.store); rec != nil && rec.state != Calm {
			continue
		}
		switch {
		case z.answeredX.elsewhereSince(v.id, s.lately()):
			v.picture.silence.add(fingerprint(z.name+"\x00"+s.store), s.sentAt)
		case !zone.several && (z.state == Calm || z.state == Troubled) && z.g.answeredAt.Load() > s.lately():
			v.picture.silence.add(fingerprint(z.name), s.sentAt)
		}
	}
}

// lately is when answers that come show that others are well: those that came right after
// the request was sent were on their way already.
func (s *Slot) lately() int64 { return s.sentAt + s.slowAfter/2 }

// missing reports whether a server owes an answer for slow_after. One whose connection
// was closed will not come.
func (s *Slot) missing(now int64) bool {
	return s.server != nil && s.unanswered() && s.remembered == 0 && s.abandonedAt == 0 && now-s.sentAt >= s.slowAfter
}

func (p *serverSilence) add(fingerprint uint32, sentAt int64) {
	if p.requests == 0 || sentAt < p.oldest {
		p.oldest = sentAt
	}
	p.requests++
	for i, known := range p.different {
		if known == fingerprint {
			return
		}
		if known == 0 {
			p.different[i] = fingerprint
			return
		}
	}
}

// tellServerBack has the fleet told that the server answers again. The caller holds
// servers.mu.
func (g *Guard) tellServerBack(v *server, now int64) {
	if !g.sharesServer(v) || v.answeredAt.Load() <= v.since {
		return
	}
	f := &g.servers.fleet
	if len(f.back) == mostBack {
		f.back = slices.Delete(f.back, 0, 1)
	}
	f.back = append(f.back, cameBack{v.address, now})
	g.backAt.Store(now)
}

// observeServers appends what is to be told of servers.
func (g *Guard) observeServers(buf []Observation, trusted bool, now int64) []Observation {
	if g.servers.known() == 0 {
		return buf
	}
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	f := &g.servers.fleet
	f.back = slices.DeleteFunc(f.back, func(b cameBack) bool { return now-b.at > int64(tellBack) })
	for _, b := range f.back {
		if v := g.servers.get(b.store); v != nil {
			buf = append(buf, Observation{Kind: ObservedAnswered, Server: v.address, For: time.Duration(now - v.answeredAt.Load())})
		}
	}
	first := len(buf)
	if !trusted {
		return buf
	}
	for _, v := range *g.servers.all.Load() {
		p := &v.silence
		if p.requests == 0 || v.local || v.sick || v.is(Away) || p.oldest <= max(v.answeredAt.Load(), v.peerAt.Load()) {
			continue
		}
		o := Observation{Kind: ObservedSilent, Server: v.address, Some: p.different, For: time.Duration(now - p.oldest)}
		for _, f := range p.different {
			o.Stores += int(min(f, 1))
		}
		buf = append(buf, o)
	}
	slices.SortFunc(buf[first:], func(a, b Observation) int { return strings.Compare(a.Server, b.Server) })
	return buf
}

// serverAnswer contradicts the observation that a server is silent, if it does.
func (g *Guard) serverAnswer(o *Observation, now int64) (answer Observation, ok bool) {
	v := g.servers.get(o.Server)
	if v == nil || v.local {
		return answer, false
	}
	at := v.answeredAt.Load()
	return Observation{Kind: ObservedAnswered, Server: v.address, For: time.Duration(now - at)}, at > now-int64(o.For)
}

// agreeOnServer takes the server out of service, as judgeServer does, unless it has
// answered here since.
func (g *Guard) agreeOnServer(a *Agreement) {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	now, v := g.now(), g.servers.get(a.Server)
	if v == nil || v.local || a.Stores < serversNeeded {
		return
	}
	since := now - max(int64(a.For), int64(g.policy.Load().Default.SlowAfter))
	if max(v.answeredAt.Load(), v.peerAt.Load()) > since {
		return
	}
	v.joint.agreedAt = now
	if !v.is(InService) && !v.is(InDoubt) || v.draining.Load() || !g.mayTakeOut() || g.verdictsSuspended(now) {
		return
	}
	g.takeOut(v, false, fmt.Sprintf("%d sidecars observe that its requests have no answer, of %d stores or zones, the latest for %s, and none was answered since", a.Sidecars, a.Stores, brief(now-since)), now)
}

// serverAnsweredElsewhere has a server that is out of service tried at once, as it has
// answered another sidecar since.
func (g *Guard) serverAnsweredElsewhere(o *Observation) {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	now, v := g.now(), g.servers.get(o.Server)
	if v == nil || v.local {
		return
	}
	at := now - int64(o.For)
	if at <= v.peerAt.Load() {
		return
	}
	v.peerAt.Store(at)
	if j := &v.joint; v.is(OutOfService) && !v.sick && !j.misled && !j.hinted && at > v.since {
		j.hinted = true
		j.try(v, now)
	}
}

// schedule says when a server that is out of service is tried. In a fleet the right to
// do so is asked for then. The caller holds servers.mu.
func (g *Guard) schedule(v *server, at int64) {
	if v.is(OutOfService) && g.sharesServer(v) {
		v.joint.dueAt = at
		at = math.MaxInt64
	}
	v.tryAt.Store(at)
}

// try lets the next request find out whether the server answers. The caller holds
// servers.mu.
func (j *serverJoint) try(v *server, now int64) {
	j.askedAt, j.dueAt, j.triedAt = 0, 0, now
	v.tryAt.Store(now)
}

const (
	// inUse is how lately requests were answered here for this sidecar to try a server
	// for all: it takes a request to do so.
	inUse = 2 * time.Second

	// unused is for how long a server waits for such a sidecar.
	unused = 10 * time.Second
)

// tryJointly asks the fleet for the right to try a server whose time has come. Without
// an answer this guard decides by itself. While enough sidecars observe its silence,
// they have the requests that will tell.
func (g *Guard) tryJointly(v *server, now int64) {
	j := &v.joint
	agreed := j.agreedAt != 0 && now-j.agreedAt < int64(agreedHold) && now-v.since < int64(time.Minute)
	switch {
	case j.askedAt != 0 && now-j.askedAt >= int64(leaseWait), j.dueAt != 0 && !g.sharesServer(v):
		j.try(v, now)
	case j.askedAt != 0 || j.dueAt == 0 || now < j.dueAt || agreed:
	case now-g.answeredAt.Load() < int64(inUse) || now-j.dueAt > int64(unused):
		j.askedAt = now
		g.servers.fleet.asks = append(g.servers.fleet.asks, serverLease{v.address, g.policy.Load().Default.Timeout + time.Second})
	}
}

// tryFails takes in that the request has no answer that was to find out whether the
// server answers: the others are kept off for as long as this sidecar waits, too.
func (g *Guard) tryFails(v *server) {
	j := &v.joint
	if !j.trying && !j.hinted || v.tryAt.Load() != math.MaxInt64 {
		return
	}
	hangs := v.silence.missing >= j.triedAt
	if !hangs && v.occupied.Load() > 0 {
		return // it is under way
	}
	if hangs && j.trying {
		g.servers.fleet.asks = append(g.servers.fleet.asks, serverLease{v.address, g.openTime(tryServer, time.Minute, v.turn+1)})
	}
	j.misled = j.misled || hangs && j.hinted
	j.trying, j.hinted = false, false
}

// askForServers asks the fleet for what tryJointly and tryFails have noted. No lock is
// held meanwhile.
func (g *Guard) askForServers() {
	asks := g.servers.fleet.asks
	if len(asks) == 0 {
		return
	}
	g.servers.fleet.asks = asks[:0]
	f := g.fleet.Load()
	for _, l := range asks {
		if f == nil || !(*f).LeaseServer(l.address, l.d) {
			g.serverLeased(l.address, leaseAnswer{granted: true, alone: true})
		}
	}
}

// ServerLeased takes in the answer to Fleet.LeaseServer, as Leased does.
func (g *Guard) ServerLeased(address string, granted bool, wait time.Duration) {
	defer g.survive()
	g.serverLeased(address, leaseAnswer{granted: granted, wait: min(max(wait, leastRefused), hungTryMax)})
}

func (g *Guard) serverLeased(address string, a leaseAnswer) {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	now, v := g.now(), g.servers.get(address)
	if v == nil || v.joint.askedAt == 0 || !v.is(OutOfService) {
		return
	}
	j := &v.joint
	if a.granted {
		j.trying = !a.alone
		j.try(v, now)
		return
	}
	j.askedAt, j.dueAt = 0, now+int64(a.wait)
	if a.wait > g.openTime(tryServer, time.Minute, v.turn) {
		v.turn++ // the tries of other sidecars are tries, too
	}
}

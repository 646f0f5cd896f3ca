package breaker

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Measured is what is known of a server's workers beside the settings; package
// workers finds it out. The zero value: nothing.
type Measured struct {
	Source  string    `json:"source"`            // where it is asked: "kernel", "fpm", "puma" or "uwsgi"
	Workers int       `json:"workers,omitempty"` // confirmed; 0: not known yet
	Exact   bool      `json:"exact,omitempty"`   // false: there are at least so many
	Busy    int       `json:"busy"`              // workers, as of the latest reading
	Queued  int       `json:"queued"`            // requests that waited for a worker there, likewise
	At      time.Time `json:"at,omitzero"`       // when it was last read
	Problem string    `json:"problem,omitempty"` // why it cannot be read now
	Wrong   string    `json:"wrong,omitempty"`   // what is wrong with the setting
	Write   string    `json:"write,omitempty"`   // what to write instead

	// Next is how many requests may be sent to the server in order to find out
	// more; 0: nothing more is to be found out.
	Next int `json:"-"`

	// LeftBehind is how many workers are busy with requests of an earlier process,
	// as far as readings tell; negative: they do not.
	LeftBehind int `json:"-"`
}

// Measure takes in what is known of a server's workers. Settings that are found
// wrong, and right again, are events.
func (g *Guard) Measure(address string, m Measured) {
	if g.measure(address, m) {
		g.reconcile(address, m.LeftBehind)
	}
	g.wake()
}

// ServerOccupied is how many slots are booked on a server, and how many of them are
// of an earlier process.
func (g *Guard) ServerOccupied(address string) (remembered, all int) {
	v := g.servers.get(address)
	if v == nil {
		return 0, 0
	}
	return int(v.remembered.Load()), int(v.occupied.Load())
}

// measure reports whether what is left behind of an earlier process is to be
// reconciled.
func (g *Guard) measure(address string, m Measured) bool {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	v := g.servers.get(address)
	if v == nil {
		return false
	}
	before := v.measured
	v.measured = m
	if m.Exact || m.Workers > v.found {
		v.found, v.foundExact = m.Workers, v.foundExact || m.Exact
	}
	read := m.Problem == "" && m.LeftBehind >= 0 && m.At.After(before.At)
	if read {
		v.readAt.Store(g.now())
	}
	g.countServers()
	kind, why := "", m.Wrong
	switch {
	case m.Wrong != "" && m.Wrong != before.Wrong:
		kind = EventWorkersWrong
	case m.Wrong == "" && before.Wrong != "" && m.Source != "":
		kind, why = EventWorkersRight, "readings agree with the setting"
	}
	if kind != "" {
		g.emit(Event{Kind: kind, At: time.Now().Round(0), Server: address, Evidence: why, Write: m.Write})
	}
	return read
}

// room is how many requests the server may get at once, if it has so many workers
// by the settings, and how many workers that are. One more than is known may be
// sent in order to find out more, as long as nothing hangs and nothing is late.
// The caller holds servers.mu.
func (g *Guard) room(v *server, workers int) (room, known int) {
	if p := g.policy.Load(); v.found > 0 && p.FindsWorkers(v.address) {
		found := v.found
		if !v.foundExact {
			found = max(found, p.PerServer)
		}
		workers = p.Part(v.address).Workers(found, v.address)
	}
	next := v.measured.Next
	if next <= workers || g.hung.Load() > 0 || g.late.Load() > 0 {
		return workers, workers
	}
	return next, workers
}

const (
	// fillFor is for how long one server is filled before it is another one's turn.
	fillFor = 30 * time.Second

	// fillAgain is after what time a server is filled again.
	fillAgain = 5 * time.Minute
)

// fillServers sees to it that servers are filled of which it is to be found out how
// many workers they have: requests that are spread evenly would never keep all
// workers of one busy. One server at a time gets as many as it is known to serve at
// once, and one more, as long as nothing hangs and nothing is late. The caller holds
// servers.mu.
func (g *Guard) fillServers(now int64) {
	all := *g.servers.all.Load()
	wants := func(v *server) bool {
		m := &v.measured
		return m.Source != "" && m.Problem == "" && !m.Exact && m.Next > 0 && v.is(InService) && !v.draining.Load()
	}
	may := func(v *server) bool { // with enough requests to fill it
		return wants(v) && int(g.occupied.Load()) >= v.measured.Next && (v.filledAt == 0 || now-v.filledAt > int64(fillAgain))
	}
	old := g.servers.filled
	if old != nil {
		old.fillTo.Store(0)
	}
	if len(all) < 2 || g.hung.Load() > 0 || g.late.Load() > 0 {
		return
	}
	if old == nil || !wants(old) || now-old.filledAt > int64(fillFor) {
		g.servers.filled = nextServer(all, old, may)
		if g.servers.filled == nil {
			return
		}
		g.servers.filled.filledAt = now
	}
	g.servers.filled.fillTo.Store(int64(g.servers.filled.measured.Next))
}

// nextServer is the server that comes after one, by address, among those that are
// wanted; nil if there is none.
func nextServer(all map[string]*server, after *server, wanted func(*server) bool) (next *server) {
	var first *server
	for _, v := range all {
		if !wanted(v) {
			continue
		}
		if first == nil || v.address < first.address {
			first = v
		}
		if after != nil && v.address > after.address && (next == nil || v.address < next.address) {
			next = v
		}
	}
	if next == nil {
		return first
	}
	return next
}

// restoreServers takes over what an earlier process has found out about servers.
func (g *Guard) restoreServers(list []ServerSnapshot) {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	for _, m := range list {
		if v := g.servers.get(m.Server); v != nil && v.found == 0 {
			v.found, v.foundExact = max(0, m.Workers), m.Exact
		}
	}
	g.countServers()
}

// serverSnapshots are what must not be forgotten of servers.
func (g *Guard) serverSnapshots() (list []ServerSnapshot) {
	g.servers.mu.Lock()
	defer g.servers.mu.Unlock()
	for _, v := range *g.servers.all.Load() {
		if v.found > 0 && g.policy.Load().FindsWorkers(v.address) {
			list = append(list, ServerSnapshot{v.address, v.found, v.foundExact})
		}
	}
	slices.SortFunc(list, func(a, b ServerSnapshot) int { return strings.Compare(a.Server, b.Server) })
	return list
}

// readFor is for how long a reading of a server is trusted.
const readFor = 10 * time.Second

// isRead reports whether readings of the server tell which workers are busy.
func (s *server) isRead(now int64) bool {
	at := s.readAt.Load()
	return at != 0 && now-at < int64(readFor)
}

// readings is how many readings in a row must show that workers are free again.
const readings = 3

// reconcile takes as many workers of an earlier process off the books as readings of
// their server show to be free.
func (g *Guard) reconcile(address string, left int) {
	v := g.servers.get(address)
	if v == nil || v.remembered.Load() == 0 {
		return
	}
	g.servers.mu.Lock()
	v.leftBehind = append(v.leftBehind, left)
	if n := len(v.leftBehind) - readings; n > 0 {
		v.leftBehind = slices.Delete(v.leftBehind, 0, n)
	}
	enough, most := len(v.leftBehind) == readings, slices.Max(v.leftBehind)
	g.servers.mu.Unlock()
	free := int(v.remembered.Load()) - most
	if !enough || free <= 0 {
		return
	}
	all := slices.SortedFunc(maps.Values(g.allZones()), func(a, b *zone) int { return strings.Compare(a.name, b.name) })
	// Zones that are closed come first: their workers are the likelier to be free.
	for _, closed := range []bool{true, false} {
		for _, z := range all {
			if free <= 0 {
				return
			}
			z.do(func(z *zone, now int64) {
				if closed == (z.state == Calm || z.state == Troubled) {
					free -= z.endRestoredOn(v, free, now)
				}
			})
		}
	}
}

// endRestoredOn takes up to n remembered workers of a server off the books, the oldest
// first, and returns how many.
func (z *zone) endRestoredOn(v *server, n int, now int64) int {
	taken := 0
	z.endRestored(now, func(s *Slot) bool {
		if s.server != v || taken == n {
			return false
		}
		taken++
		return true
	})
	return taken
}

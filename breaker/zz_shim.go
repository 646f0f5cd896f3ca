package breaker

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

type ServerState uint8

const (
	InService ServerState = iota
	InDoubt
	OutOfService
	Away
)

var serverStates = [...]string{"in_service", "in_doubt", "out_of_service", "away"}

func (s ServerState) String() string               { return serverStates[s&3] }
func (s ServerState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *ServerState) UnmarshalText(text []byte) error {
	i := slices.Index(serverStates[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is no state of a server", text)
	}
	*s = ServerState(i)
	return nil
}

type ServerStatus struct {
	Address  string      `json:"address"`
	State    ServerState `json:"state"`
	Draining bool        `json:"draining,omitempty"`
	Since    time.Time   `json:"since,omitzero"`
	Evidence string      `json:"evidence,omitempty"`
	Workers  int         `json:"workers"`
	Occupied int         `json:"occupied"`
	Live     int         `json:"live"`
	Hung     int         `json:"hung"`
}

var shim = struct {
	sync.Mutex
	owned map[string][]string
	drain map[string]bool
	away  map[string]time.Time
	slots map[*Slot]string
}{owned: map[string][]string{}, drain: map[string]bool{}, away: map[string]time.Time{}, slots: map[*Slot]string{}}

func (g *Guard) SetServers(owner string, addresses []string) {
	shim.Lock()
	defer shim.Unlock()
	if len(addresses) == 0 {
		delete(shim.owned, owner)
	} else {
		shim.owned[owner] = slices.Clone(addresses)
	}
	known := map[string]bool{}
	for _, l := range shim.owned {
		for _, a := range l {
			known[a] = true
		}
	}
	for a := range shim.drain {
		if !known[a] {
			delete(shim.drain, a)
		}
	}
}
func (g *Guard) ForgetServers(owner string) { g.SetServers(owner, nil) }
func (g *Guard) DrainServer(address string, drained bool) {
	shim.Lock()
	defer shim.Unlock()
	for _, l := range shim.owned {
		if slices.Contains(l, address) {
			shim.drain[address] = drained
		}
	}
}

func shimCounts() (live, hungN map[string]int) {
	live, hungN = map[string]int{}, map[string]int{}
	for s, a := range shim.slots {
		switch s.phase {
		case ended:
			delete(shim.slots, s)
		case hung:
			hungN[a]++
		default:
			live[a]++
		}
	}
	return
}

func (s *Slot) PickServer(candidates []string, usable func(i int) bool) int {
	shim.Lock()
	defer shim.Unlock()
	l, h := shimCounts()
	best, bestRank := -1, 0
	for i, a := range candidates {
		if !usable(i) {
			continue
		}
		rank := l[a] + h[a]
		if shim.drain[a] {
			rank += 10000
		}
		if time.Since(shim.away[a]) < time.Second {
			rank += 20000
		}
		if best < 0 || rank < bestRank {
			best, bestRank = i, rank
		}
	}
	if best >= 0 {
		shim.slots[s] = candidates[best]
	}
	return best
}
func (s *Slot) Sent(address string) {
	shim.Lock()
	defer shim.Unlock()
	shim.slots[s] = address
}
func (s *Slot) NotSent(address string) {
	shim.Lock()
	defer shim.Unlock()
	delete(shim.slots, s)
	shim.away[address] = time.Now()
}
func (g *Guard) Servers() (list []ServerStatus) {
	shim.Lock()
	defer shim.Unlock()
	l, h := shimCounts()
	seen := map[string]bool{}
	for _, as := range shim.owned {
		for _, a := range as {
			if seen[a] {
				continue
			}
			seen[a] = true
			st := ServerStatus{Address: a, Draining: shim.drain[a], Workers: 8, Live: l[a], Hung: h[a], Occupied: l[a] + h[a]}
			if time.Since(shim.away[a]) < time.Second {
				st.State = Away
			}
			list = append(list, st)
		}
	}
	slices.SortFunc(list, func(a, b ServerStatus) int {
		if a.Address < b.Address {
			return -1
		}
		return 1
	})
	return list
}

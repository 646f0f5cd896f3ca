package episodes

import (
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/incidents"
)

// Kinds of events.
const (
	EventBegan    = "episode_began"    // it is worth telling people
	EventWorsened = "episode_worsened" // stores were in quarantine; now the zone is cut off
	EventMerged   = "episode_merged"   // it goes on under another id, which others have told of
	EventEnded    = "episode_ended"    // all is calm, on all sidecars
)

// Event is what people are to be told, by this sidecar for all.
type Event struct {
	Kind    string
	At      time.Time
	ID      string // of the episode
	Into    string // with EventMerged, the id under which it goes on
	Aliases []string
	Zone    string // "" if it is of a server
	Server  string // its address
	Grave   int    // incidents.GraveStores or GraveZone
	Observe bool

	Evidence string           // of this sidecar; "" if it saw nothing itself
	Sum      incidents.Part   // of all sidecars
	Sidecars []incidents.Part // each

	telling *telling
}

// Settle reports whether the event was delivered. Until then the keeper keeps its claim.
// It may be called more than once, from any goroutine; the first call counts.
func (e *Event) Settle(told bool) {
	if e.telling != nil {
		e.telling.settle(told)
	}
}

// telling is what becomes of an event.
type telling struct {
	kind  string
	level int
	alone bool // decided without the others; of the keeper

	mu      sync.Mutex // guards below
	settled bool
	told    bool
}

func (t *telling) settle(told bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.settled {
		t.settled, t.told = true, told
	}
}

// outcome is whether it is settled, and how.
func (t *telling) outcome() (settled, told bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.settled, t.told
}

package recent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	// keptEvents is how many events a client that was away can catch up on.
	keptEvents = 512

	// MaxListeners is how many clients may listen at once.
	MaxListeners = 128

	// maxBrief is how long a text in a dashboard's list of events may be, in bytes.
	maxBrief = 400

	// maxQueue is how many events may wait for a client before it is dropped.
	maxQueue = 256
)

// Stream hands events to the clients that listen at the admin endpoint. Like
// the guard there is one in the process, so that numbers of events go on over
// reloads. The sender of an event never waits for a client.
type Stream struct {
	epoch string // tells this process' numbers from those of one before

	mu        sync.Mutex // guards below
	last      uint64     // number of the latest event
	kept      []Event    // the latest events, oldest first
	listeners map[*Listener]struct{}
	servers   map[*http.Server]struct{} // whose end is watched
	closed    bool
}

// Event is an event as clients get it.
type Event struct {
	Number uint64
	Kind   string
	zone   string
	Data   []byte // JSON
	Brief  []byte // what dashboards show of it, as JSON
}

func newStream() *Stream {
	return &Stream{
		epoch:     strconv.FormatInt(time.Now().UnixNano(), 36),
		listeners: make(map[*Listener]struct{}),
		servers:   make(map[*http.Server]struct{}),
	}
}

// Tell hands an event to every subscriber.
func (s *Stream) Tell(kind string, data map[string]any) {
	text, err := json.Marshal(data)
	if err != nil {
		return // flat data of strings and numbers can always be written
	}
	zone, _ := data[telemetry.FieldZone].(string)
	brief := briefOf(kind, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	event := Event{Number: s.last, Kind: kind, zone: zone, Data: text, Brief: brief}
	if len(s.kept) == keptEvents {
		s.kept = append(s.kept[:0:0], s.kept[keptEvents/4:]...)
	}
	s.kept = append(s.kept, event)
	for l := range s.listeners {
		if l.wants(&event) && !l.take(event) {
			s.remove(l)
		}
	}
}

// briefOf is an event as dashboards show it.
func briefOf(kind string, data map[string]any) []byte {
	text := func(field string) string {
		s, _ := data[field].(string)
		return shorten.To(s, maxBrief)
	}
	brief, _ := json.Marshal(struct {
		Kind    string `json:"kind"`
		At      string `json:"at"`
		Zone    string `json:"zone,omitempty"`
		Store   string `json:"store,omitempty"`
		Server  string `json:"server,omitempty"`
		Message string `json:"message"`
		Why     string `json:"why,omitempty"`
		By      string `json:"by,omitempty"`
		Reason  string `json:"reason,omitempty"`
		Next    string `json:"next,omitempty"`
	}{
		kind, text("at"), text(telemetry.FieldZone), text(telemetry.FieldStore), text(telemetry.FieldServer), text("message"),
		cmp.Or(text(telemetry.FieldEvidence), text(telemetry.FieldDetail)), text(telemetry.FieldBy), text(telemetry.FieldReason), text(telemetry.FieldNext),
	})
	return brief
}

// Join lets a client listen to a zone, or ("") to everything. It returns false
// if there are too many.
func (s *Stream) Join(zone string, lossy bool, server *http.Server) (*Listener, bool) {
	l := &Listener{zone: zone, lossy: lossy, server: server, Wake: make(chan struct{}, 1), End: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.listeners) >= MaxListeners {
		return nil, false
	}
	s.listeners[l] = struct{}{}
	if _, watched := s.servers[server]; !watched && server != nil {
		s.servers[server] = struct{}{}
		// Caddy replaces its admin endpoint at each reload and waits for the
		// requests of the old one, which would never end.
		server.RegisterOnShutdown(func() { s.endOf(server) })
	}
	return l, true
}

// Leave ends a client's listening.
func (s *Stream) Leave(l *Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(l)
}

// remove is leave with mu held.
func (s *Stream) remove(l *Listener) {
	if _, ok := s.listeners[l]; ok {
		delete(s.listeners, l)
		close(l.End)
	}
}

// endOf ends the streams of a server that shuts down.
func (s *Stream) endOf(server *http.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.servers, server)
	for l := range s.listeners {
		if l.server == server {
			s.remove(l)
		}
	}
}

// close ends all streams.
func (s *Stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for l := range s.listeners {
		s.remove(l)
	}
}

// Since returns the kept events after the one of an id, and false if events
// between them are lost. An id of another process, or none, is as none lost.
func (s *Stream) Since(id, zone string) (events []Event, complete bool) {
	after, ok := s.number(id)
	if !ok {
		return nil, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	complete = after >= s.last || len(s.kept) > 0 && s.kept[0].Number <= after+1
	for _, e := range s.kept {
		if e.Number > after && (zone == "" || e.zone == zone) {
			events = append(events, e)
		}
	}
	return events, complete
}

// Latest returns the latest n kept events of a zone, or ("") of all.
func (s *Stream) Latest(zone string, n int) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []Event
	for i := len(s.kept) - 1; i >= 0 && len(events) < n; i-- {
		if zone == "" || s.kept[i].zone == zone {
			events = append(events, s.kept[i])
		}
	}
	return events
}

func (s *Stream) number(id string) (uint64, bool) {
	epoch, text, _ := strings.Cut(id, "-")
	if epoch != s.epoch {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// IDOf is the id of the event with this number.
func (s *Stream) IDOf(number uint64) string { return fmt.Sprintf("%s-%d", s.epoch, number) }

// Listener is a client that listens.
type Listener struct {
	zone   string // "": everything
	lossy  bool   // it would rather miss events than be dropped
	server *http.Server
	Wake   chan struct{} // an event waits
	End    chan struct{} // closed when it must end

	mu     sync.Mutex // guards below
	queue  []Event
	missed int
}

func (l *Listener) wants(e *Event) bool { return l.zone == "" || l.zone == e.zone }

// take queues an event. It returns false if the client is too slow.
func (l *Listener) take(e Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxQueue {
		l.missed++
		return l.lossy
	}
	l.queue = append(l.queue, e)
	select {
	case l.Wake <- struct{}{}:
	default: // it is awake
	}
	return true
}

// Taken empties the queue, and says how many events did not fit into it.
func (l *Listener) Taken() (events []Event, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, missed = l.queue, l.missed
	l.queue, l.missed = nil, 0
	return events, missed
}

package maintenance

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Head is which state one has: told apart by all three.
type Head struct {
	// The state's life: a random name made with its first change. Empty: there
	// is no state yet.
	Epoch string `json:"epoch,omitempty"`

	// Counts the changes within the epoch.
	Revision uint64 `json:"revision"`

	// The id of the latest change.
	Change string `json:"change,omitempty"`
}

// Empty reports whether there is no state yet.
func (h Head) Empty() bool { return h.Epoch == "" }

// String is the head in short, as ETags use it.
func (h Head) String() string { return fmt.Sprintf("%s-%d", h.Epoch, h.Revision) }

// State is all switches at one head. It is never changed after it was made.
type State struct {
	Head

	// Epochs whose switches were taken over by this one.
	Absorbed []string

	Switches map[Target]Switch

	sorted atomic.Pointer[[]Switch] // what Sorted has worked out
}

// Change is one step from a head to the next, and a line of the audit log.
type Change struct {
	Head           // after the change
	At   time.Time `json:"at"` // by the backend's clock

	// Who made it, why, and through which sidecar and address.
	By       string `json:"by,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Instance string `json:"instance,omitempty"`
	Remote   string `json:"remote,omitempty"`

	Set   []Switch `json:"set,omitempty"`
	Clear []Target `json:"clear,omitempty"`

	// An epoch that was taken over.
	Absorbed string `json:"absorbed,omitempty"`

	// How many switches it set and cleared, if Set and Clear hold only the
	// first of them: large changes are cut in the audit log.
	SetTotal   int `json:"set_total,omitempty"`
	ClearTotal int `json:"clear_total,omitempty"`
}

// loggedTargets is how many switches of a change the audit log keeps.
const loggedTargets = 100

// Cut is the change as the audit log keeps it: of a large one, the first targets
// and how many there were.
func (c *Change) Cut() *Change {
	short := *c
	if len(c.Set) > loggedTargets {
		short.Set, short.SetTotal = c.Set[:loggedTargets], len(c.Set)
	}
	if len(c.Clear) > loggedTargets {
		short.Clear, short.ClearTotal = c.Clear[:loggedTargets], len(c.Clear)
	}
	return &short
}

// isCut reports whether the change does not hold all that it changed.
func (c *Change) isCut() bool { return c.SetTotal > len(c.Set) || c.ClearTotal > len(c.Clear) }

// Corrupt is a stored record that could not be read and was left out.
type Corrupt struct {
	Record string `json:"record"` // where it is kept
	Error  string `json:"error"`
}

// apply makes the state after a change on top of s.
func (s *State) apply(c *Change) *State {
	next := &State{Head: c.Head, Absorbed: s.Absorbed, Switches: maps.Clone(s.Switches)}
	if next.Switches == nil {
		next.Switches = make(map[Target]Switch, len(c.Set))
	}
	if c.Absorbed != "" {
		next.Absorbed = append(slices.Clone(s.Absorbed), c.Absorbed)
	}
	next.take(c)
	return next
}

// take changes a state that has no other user yet.
func (s *State) take(c *Change) {
	for _, t := range c.Clear {
		delete(s.Switches, t)
	}
	for _, sw := range c.Set {
		s.Switches[sw.Target] = sw
	}
}

// Sorted are all switches: all first, then zones, stores and servers by name.
// They are put in order once for each state and must not be changed.
func (s *State) Sorted() []Switch {
	if list := s.sorted.Load(); list != nil {
		return *list
	}
	list := slices.SortedFunc(maps.Values(s.Switches), func(a, b Switch) int { return a.compare(b.Target) })
	s.sorted.Store(&list)
	return list
}

// SortedAfter are the switches that follow a target, which need not have one
// itself, in the order of Sorted.
func (s *State) SortedAfter(t Target) []Switch {
	list := s.Sorted()
	at, found := slices.BinarySearchFunc(list, t, func(sw Switch, t Target) int { return sw.compare(t) })
	if found {
		at++
	}
	return list[at:]
}

var scopes = []Scope{All, Zone, Store, Server, Stale}

// compare orders targets: all first, then zones, stores and servers by name.
func (t Target) compare(o Target) int {
	if t.Scope != o.Scope {
		return slices.Index(scopes, t.Scope) - slices.Index(scopes, o.Scope)
	}
	return strings.Compare(t.Name, o.Name)
}

// newID is a random name for an epoch or a change.
func newID() string { return strings.ToLower(rand.Text()[:16]) }

// stateHeader is the first line of an encoded state.
type stateHeader struct {
	Format   int           `json:"firebreak_state"` // version of the format
	Head     Head          `json:"head"`
	Absorbed []string      `json:"absorbed,omitempty"`
	Ahead    time.Duration `json:"clock_ahead,omitempty"` // see Board.clock
}

const stateFormat = 1

// Encode writes a state: a header, then a line for each switch, so that one
// broken line costs one switch.
func (s *State) Encode(w io.Writer) error { return s.encode(w, 0) }

func (s *State) encode(w io.Writer, ahead time.Duration) error {
	buffered := bufio.NewWriter(w)
	enc := json.NewEncoder(buffered)
	if err := enc.Encode(stateHeader{stateFormat, s.Head, s.Absorbed, ahead}); err != nil {
		return err
	}
	for _, sw := range s.Sorted() {
		if err := enc.Encode(&sw); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

var errNoState = errors.New("no firebreak state: its first line is missing or of another format")

// DecodeState reads what Encode wrote. Switches that cannot be read are left
// out and named; without its header nothing can be read.
func DecodeState(data []byte) (*State, []Corrupt, error) {
	s, _, corrupt, err := decodeState(data)
	return s, corrupt, err
}

func decodeState(data []byte) (*State, time.Duration, []Corrupt, error) {
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	var header stateHeader
	if err := json.Unmarshal(first, &header); err != nil || header.Format != stateFormat || header.Head.Empty() {
		return nil, 0, nil, errNoState
	}
	s := &State{Head: header.Head, Absorbed: header.Absorbed, Switches: make(map[Target]Switch)}
	var corrupt []Corrupt
	line := 1
	for text := range bytes.Lines(rest) {
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		sw, err := DecodeSwitch(text)
		if err != nil {
			corrupt = append(corrupt, Corrupt{Record: fmt.Sprintf("line %d", line), Error: err.Error()})
			continue
		}
		s.Switches[sw.Target] = sw
	}
	return s, header.Ahead, corrupt, nil
}

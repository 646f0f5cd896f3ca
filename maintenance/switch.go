package maintenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/firebreak-proxy/firebreak/config"
)

// Scope is what a switch is for.
type Scope string

// The scopes.
const (
	All    Scope = "all"
	Zone   Scope = "zone"
	Store  Scope = "store"
	Server Scope = "server" // an API server that is to be drained; see Drain
	Stale  Scope = "stale"  // answers from memory; see Off
)

// Mode is what a switch does.
type Mode string

// The modes.
const (
	Full     Mode = "full"      // every request is refused
	ReadOnly Mode = "read_only" // GET, HEAD and OPTIONS pass
	Drain    Mode = "drain"     // a server gets no new requests; refuses nothing
	Off      Mode = "off"       // no answers are given from memory; refuses nothing
)

// Limits of what a switch may hold.
const (
	maxName    = 128   // bytes of a store's or a zone's name
	maxAddress = 300   // bytes of a server's address
	maxText    = 2000  // bytes of a reason, message, ticket or name of a person
	maxExcept  = 50000 // stores excepted from one switch
	MaxTargets = 10000 // switches in one change
)

// Target is the place a switch stands at. There is at most one switch for each.
type Target struct {
	Scope Scope  `json:"scope"`
	Name  string `json:"name,omitempty"` // the zone, the store or the server's address; empty for all and stale
}

// nameless reports whether there is one target of a scope, which has no name.
func (s Scope) nameless() bool { return s == All || s == Stale }

// Refuses reports whether switches of the scope refuse requests.
func (s Scope) Refuses() bool { return s != Server && s != Stale }

// String is the target in words: "all", "zone z7", "store s123", "server 10.0.0.7:9000".
func (t Target) String() string {
	if t.Scope.nameless() {
		return string(t.Scope)
	}
	return string(t.Scope) + " " + t.Name
}

// Key is the target as one word, for backends: "all", "zone/z7", "store/s123",
// "server/10.0.0.7:9000".
func (t Target) Key() string {
	if t.Scope.nameless() {
		return string(t.Scope)
	}
	return string(t.Scope) + "/" + t.Name
}

// ParseKey reads what Key wrote.
func ParseKey(key string) (Target, error) {
	scope, name, _ := strings.Cut(key, "/")
	t := Target{Scope: Scope(scope), Name: name}
	return t, t.Check()
}

// Check says what is wrong with a target.
func (t Target) Check() error {
	switch {
	case !slices.Contains(scopes, t.Scope):
		return fmt.Errorf("scope is %q: it must be all, zone, store, server or stale", t.Scope)
	case t.Scope.nameless() && t.Name != "":
		return fmt.Errorf("the scope %s takes no name", t.Scope)
	case !t.Scope.nameless() && t.Name == "":
		return fmt.Errorf("the scope %s needs a name", t.Scope)
	case len(t.Name) > t.maxName():
		return fmt.Errorf("the name of the %s has %d bytes; at most %d are possible", t.Scope, len(t.Name), t.maxName())
	case !utf8.ValidString(t.Name):
		return fmt.Errorf("the name of the %s is not valid UTF-8", t.Scope)
	case t.Scope == Server && strings.ContainsFunc(t.Name, notInAddress):
		return fmt.Errorf("%q is not the address of a server: it contains spaces or control characters", t.Name)
	}
	return nil
}

func (t Target) maxName() int {
	if t.Scope == Server {
		return maxAddress
	}
	return maxName
}

func notInAddress(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// Switch is maintenance, as a person set it.
type Switch struct {
	Target

	// "full" (default) refuses every request; "read_only" lets GET, HEAD and
	// OPTIONS pass. The only mode of a server is "drain", that of stale is "off".
	Mode Mode `json:"mode"`

	// Requests that it refuses are answered from memory, if there is an answer.
	Stale bool `json:"stale,omitempty"`

	// Why it was set, its author, and where the work is tracked. For
	// operators; clients never see it.
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
	Ticket string `json:"ticket,omitempty"`

	// When it was set, by the clock of the state backend.
	Since time.Time `json:"since"`

	// When it begins and ends. Zero: at once, and when it is removed.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`

	// What refused clients are told: when to come again, and why. Without
	// RetryAfter they are told the time left until Until, or a minute.
	RetryAfter config.Duration `json:"retry_after,omitempty"`
	Message    string          `json:"message,omitempty"`

	// Stores it does not hold for: those that were released already. Sorted.
	Except []string `json:"except,omitempty"`

	// The revision that set it or changed it last.
	Revision uint64 `json:"revision"`
}

// Check says what is wrong with a switch.
func (s *Switch) Check() error {
	if err := s.Target.Check(); err != nil {
		return err
	}
	switch {
	case s.Scope == Server && s.Mode != Drain:
		return fmt.Errorf("mode is %q: that of a server must be drain", s.Mode)
	case s.Scope == Stale && s.Mode != Off:
		return fmt.Errorf("mode is %q: that of stale must be off", s.Mode)
	case !s.Scope.Refuses() && s.Stale:
		return errors.New("stale is for switches that refuse requests")
	case s.Scope == Stale && (s.RetryAfter != 0 || s.Message != "" || len(s.Except) > 0):
		return errors.New("it refuses no request: it takes no retry_after, message or except")
	case s.Scope == Server && (s.RetryAfter != 0 || s.Message != "" || len(s.Except) > 0):
		return errors.New("draining a server refuses no request: it takes no retry_after, message or except")
	case s.Scope.Refuses() && s.Mode != Full && s.Mode != ReadOnly:
		return fmt.Errorf("mode is %q: it must be full or read_only", s.Mode)
	case s.RetryAfter < 0:
		return errors.New("retry_after must not be negative")
	case !s.From.IsZero() && !s.Until.IsZero() && !s.From.Before(s.Until):
		return errors.New("until must be later than from")
	case len(s.Except) > 0 && s.Scope == Store:
		return errors.New("a store's switch has no exceptions")
	case len(s.Except) > maxExcept:
		return fmt.Errorf("%d exceptions; at most %d are possible: set a switch for the few stores that are left instead", len(s.Except), maxExcept)
	}
	for _, text := range []struct{ name, value string }{{"reason", s.Reason}, {"by", s.By}, {"ticket", s.Ticket}, {"message", s.Message}} {
		if len(text.value) > maxText {
			return fmt.Errorf("%s has %d bytes; at most %d are possible", text.name, len(text.value), maxText)
		}
		if !utf8.ValidString(text.value) || strings.ContainsRune(text.value, 0) {
			return fmt.Errorf("%s is not valid text", text.name)
		}
	}
	for _, store := range s.Except {
		if err := (Target{Scope: Store, Name: store}).Check(); err != nil {
			return fmt.Errorf("except: %w", err)
		}
	}
	return nil
}

// tidy fills in what was left out and puts the rest in order.
func (s *Switch) tidy() {
	switch {
	case s.Mode != "":
	case s.Scope == Server:
		s.Mode = Drain
	case s.Scope == Stale:
		s.Mode = Off
	default:
		s.Mode = Full
	}
	if len(s.Except) > 0 {
		s.Except = slices.Clone(s.Except)
		slices.Sort(s.Except)
		s.Except = slices.Compact(s.Except)
	} else {
		s.Except = nil
	}
	s.Since, s.From, s.Until = inUTC(s.Since), inUTC(s.From), inUTC(s.Until)
}

// inUTC drops what would make the same moment look different.
func inUTC(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// sameAs reports whether two switches ask for the same, regardless of author and time.
func (s *Switch) sameAs(o *Switch) bool {
	return s.Target == o.Target && s.Mode == o.Mode && s.Reason == o.Reason && s.By == o.By &&
		s.Ticket == o.Ticket && s.From.Equal(o.From) && s.Until.Equal(o.Until) &&
		s.RetryAfter == o.RetryAfter && s.Message == o.Message && s.Stale == o.Stale && slices.Equal(s.Except, o.Except)
}

// sameBut reports whether o is s with more stores excepted.
func (s *Switch) sameBut(o *Switch) bool {
	same := *o
	same.Except = s.Except
	if !s.sameAs(&same) || len(o.Except) <= len(s.Except) {
		return false
	}
	for _, store := range s.Except {
		if !o.Excepts(store) {
			return false
		}
	}
	return true
}

// Phase is where a switch stands in time.
type Phase string

// The phases.
const (
	Ahead   Phase = "ahead"    // from is yet to come
	InForce Phase = "in_force" //
	Expired Phase = "expired"  // until has passed
)

// Phase is the switch's phase at a moment of the backend's clock.
func (s *Switch) Phase(at time.Time) Phase {
	switch {
	case !s.Until.IsZero() && !at.Before(s.Until):
		return Expired
	case at.Before(s.From):
		return Ahead
	}
	return InForce
}

// Excepts reports whether the switch does not hold for a store.
func (s *Switch) Excepts(store string) bool {
	_, found := slices.BinarySearch(s.Except, store)
	return found
}

// DecodeSwitch reads a stored switch and checks it.
func DecodeSwitch(data []byte) (Switch, error) {
	var s Switch
	if err := json.Unmarshal(data, &s); err != nil {
		return s, err
	}
	s.tidy()
	return s, s.Check()
}

package breaker

import (
	"encoding/json"
	"fmt"
)

// What a hold is called in JSON.
const (
	holdIsolated = "isolated"
	holdAdmitted = "admitted"
)

// holdFields has a hold's fields, but not its methods.
type holdFields Hold

// holdJSON is a hold whose As is a word of its own: an isolated zone is not one
// that its breaker has opened.
type holdJSON struct {
	As string `json:"as"`
	*holdFields
}

// Word is "isolated" (everything is refused) or "admitted" (the breaker does not
// open).
func (h *Hold) Word() string {
	if h.As == Open {
		return holdIsolated
	}
	return holdAdmitted
}

// MarshalJSON writes As as "isolated" (Open) or "admitted" (Calm).
func (h Hold) MarshalJSON() ([]byte, error) {
	return json.Marshal(holdJSON{h.Word(), (*holdFields)(&h)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Hold) UnmarshalJSON(text []byte) error {
	var read holdFields
	j := holdJSON{"", &read}
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	switch j.As {
	case holdIsolated:
		read.As = Open
	case holdAdmitted:
		read.As = Calm
	default:
		return fmt.Errorf("hold as %q: it must be %s or %s", j.As, holdIsolated, holdAdmitted)
	}
	*h = Hold(read)
	return nil
}

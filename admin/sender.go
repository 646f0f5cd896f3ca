package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// sendPatience is how long one write to a client may take.
	sendPatience = 5 * time.Second

	// pingEvery keeps proxies from closing a stream in which nothing happens,
	// and finds out which clients are gone.
	pingEvery = 15 * time.Second

	// reconnect is how long clients wait before they come again.
	reconnect = time.Second
)

// sender writes server-sent events.
type sender struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer // what flush sends
}

// newSender answers with a stream.
func newSender(w http.ResponseWriter) (*sender, error) {
	s := &sender{w: w, control: http.NewResponseController(w)}
	// The admin endpoint reads requests for ten seconds at most, and takes the
	// end of that time for the end of the client.
	_ = s.control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for nginx between us and the client
	w.WriteHeader(http.StatusOK)
	fmt.Fprintf(&s.buffer, "retry: %d\n\n", reconnect.Milliseconds())
	return s, s.flush()
}

// event adds an event; id may be "".
func (s *sender) event(kind, id string, data []byte) {
	if id != "" {
		fmt.Fprintf(&s.buffer, "id: %s\n", id)
	}
	fmt.Fprintf(&s.buffer, "event: %s\ndata: %s\n\n", kind, data)
}

// json adds an event without an id.
func (s *sender) json(kind string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	s.event(kind, "", text)
	return nil
}

// flush sends what was added. A client that does not take it in time is gone.
func (s *sender) flush() error {
	if s.buffer.Len() == 0 {
		return nil
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(sendPatience))
	if _, err := s.w.Write(s.buffer.Bytes()); err != nil {
		return err
	}
	s.buffer.Reset()
	return s.control.Flush()
}

func (s *sender) ping() error {
	s.buffer.WriteString(": ping\n\n")
	return s.flush()
}

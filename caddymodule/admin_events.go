package caddymodule

import (
	"net/http"
	"time"
)

// adminEvents serves /firebreak/events: every event as it happens.
func adminEvents(w http.ResponseWriter, r *http.Request, a *App) error {
	zone := r.URL.Query().Get("zone")
	if zone != "" {
		if err := a.checkKnownZone(zone); err != nil {
			return err
		}
	}
	l, err := a.listen(r, zone, false)
	if err != nil {
		return err
	}
	events := a.shared.stream
	defer events.leave(l)
	if r.Method == http.MethodHead {
		return nil
	}
	out, err := newSender(w)
	if err != nil {
		return nil //nolint:nilerr // the client is gone
	}
	// What was told between joining and now is both kept and queued.
	caughtUp := catchUp(out, events, r.Header.Get("Last-Event-ID"), zone)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for err == nil {
		queued, _ := l.taken()
		for _, e := range queued {
			if e.number > caughtUp {
				out.event(e.kind, events.id(e.number), e.data)
			}
		}
		if err = out.flush(); err != nil {
			break
		}
		select {
		case <-l.wake:
		case <-ping.C:
			err = out.ping()
		case <-l.end:
			return nil
		case <-a.live.ended:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
	return nil
}

// catchUp sends what a client missed, and returns the number of the last event
// that it has.
func catchUp(out *sender, events *stream, lastID, zone string) uint64 {
	missed, complete := events.since(lastID, zone)
	if !complete {
		out.event("missed", "", []byte(`{"message":"some events are lost: too many have happened since"}`))
	}
	last := uint64(0)
	for _, e := range missed {
		out.event(e.kind, events.id(e.number), e.data)
		last = e.number
	}
	return last
}

// listen lets the client of a request listen until the request's server or
// this app ends.
func (a *App) listen(r *http.Request, zone string, lossy bool) (*listener, error) {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	l, ok := a.shared.stream.join(zone, lossy, server)
	if !ok {
		return nil, apiError(http.StatusServiceUnavailable, "%d clients listen already; close some dashboards, or try again later", maxListeners)
	}
	return l, nil
}

package admin

import (
	"net/http"
	"time"

	"github.com/firebreak-proxy/firebreak/recent"
)

// adminEvents serves /firebreak/events: every event as it happens.
func adminEvents(w http.ResponseWriter, r *http.Request, a *API) error {
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
	events := a.Events
	defer events.Leave(l)
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
		queued, _ := l.Taken()
		for _, e := range queued {
			if e.Number > caughtUp {
				out.event(e.Kind, events.IDOf(e.Number), e.Data)
			}
		}
		if err = out.flush(); err != nil {
			break
		}
		select {
		case <-l.Wake:
		case <-ping.C:
			err = out.ping()
		case <-l.End:
			return nil
		case <-a.Ended:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
	return nil
}

// catchUp sends what a client missed, and returns the number of the last event
// that it has.
func catchUp(out *sender, events Events, lastID, zone string) uint64 {
	missed, complete := events.Since(lastID, zone)
	if !complete {
		out.event("missed", "", []byte(`{"message":"some events are lost: too many have happened since"}`))
	}
	last := uint64(0)
	for _, e := range missed {
		out.event(e.Kind, events.IDOf(e.Number), e.Data)
		last = e.Number
	}
	return last
}

// listen lets the client of a request listen until the request's server or
// this app ends.
func (a *API) listen(r *http.Request, zone string, lossy bool) (*recent.Listener, error) {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	l, ok := a.Events.Join(zone, lossy, server)
	if !ok {
		return nil, apiError(http.StatusServiceUnavailable, "%d clients listen already; close some dashboards, or try again later", recent.MaxListeners)
	}
	return l, nil
}

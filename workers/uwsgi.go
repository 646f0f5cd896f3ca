package workers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// UWSGI reads uWSGI's stats server (--stats), which sends its statistics to
// whoever connects, or by HTTP with --stats-http.
type UWSGI struct {
	address string
	http    bool
}

var uwsgiPage = &url.URL{Scheme: "http", Host: "uwsgi", Path: "/"}

// NewUWSGI returns a source for the uWSGI whose stats server is at an address:
// "127.0.0.1:9191" or "unix//run/stats.sock". byHTTP is true if it runs with
// --stats-http.
func NewUWSGI(address string, byHTTP bool) *UWSGI { return &UWSGI{address, byHTTP} }

// Read asks the stats server.
func (u *UWSGI) Read(ctx context.Context) (Reading, error) {
	data, err := u.page(ctx)
	if err == nil {
		var r Reading
		if r, err = parseUWSGI(data); err == nil {
			return r, nil
		}
	}
	return Reading{}, fmt.Errorf("the stats server of uWSGI at %s: %w", u.address, err)
}

func (u *UWSGI) page(ctx context.Context) ([]byte, error) {
	if u.http {
		return fetch(ctx, u.address, uwsgiPage)
	}
	conn, err := dial(ctx, u.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return readBounded(conn)
}

// parseUWSGI reads the statistics. A worker serves as many requests at once as it
// has cores; one that is cheap does not run, but would if it were needed.
func parseUWSGI(data []byte) (r Reading, err error) {
	var v struct {
		Queue   int `json:"listen_queue"`
		Workers []struct {
			ID     int    `json:"id"`
			Status string `json:"status"`
			Cores  []struct {
				InRequest int `json:"in_request"`
			} `json:"cores"`
		} `json:"workers"`
	}
	if err := parse(data, &v); err != nil {
		return r, err
	}
	if len(v.Workers) == 0 || v.Queue < 0 {
		return r, errors.New("it lists no workers: " + beginning(data))
	}
	r.Queued = v.Queue
	for _, w := range v.Workers {
		if len(w.Cores) == 0 {
			r.Workers++
			if w.Status == "busy" {
				r.Busy++
			}
			continue
		}
		r.Workers += len(w.Cores)
		for _, c := range w.Cores {
			if c.InRequest > 0 {
				r.Busy++
			}
		}
	}
	return r, nil
}

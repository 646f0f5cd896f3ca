package workers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// Puma reads the statistics of Puma's control app (activate_control_app), in
// single and in cluster mode. In cluster mode they are up to worker_check_interval
// (5 s) old.
type Puma struct {
	address string
	page    *url.URL
}

// NewPuma returns a source for the Puma whose control app is at an address:
// "127.0.0.1:9293" or "unix//run/pumactl.sock". token is the one it is configured
// with, if any.
func NewPuma(address, token string) *Puma {
	page := &url.URL{Scheme: "http", Host: "puma", Path: "/stats"}
	if token != "" {
		page.RawQuery = url.Values{"token": {token}}.Encode()
	}
	return &Puma{address, page}
}

// Read asks the control app.
func (p *Puma) Read(ctx context.Context) (Reading, error) {
	data, err := fetch(ctx, p.address, p.page)
	if err == nil {
		var r Reading
		if r, err = parsePuma(data); err == nil {
			return r, nil
		}
	}
	return Reading{}, fmt.Errorf("the control app of Puma at %s: %w", p.address, err)
}

// pumaStats are those of one process.
type pumaStats struct {
	Backlog  int  `json:"backlog"`       // requests that wait for a thread
	Running  int  `json:"running"`       // threads that exist
	Capacity *int `json:"pool_capacity"` // requests that could be taken now
	Busy     *int `json:"busy_threads"`  // since Puma 6.5; may count the backlog
	Max      int  `json:"max_threads"`
}

// parsePuma reads the statistics.
func parsePuma(data []byte) (r Reading, err error) {
	var v struct {
		pumaStats
		Workers []struct {
			Last pumaStats `json:"last_status"`
		} `json:"worker_status"`
	}
	if err := parse(data, &v); err != nil {
		return r, err
	}
	processes := []pumaStats{v.pumaStats}
	if v.Workers != nil {
		processes = processes[:0]
		for _, w := range v.Workers {
			processes = append(processes, w.Last)
		}
	}
	for _, p := range processes {
		if p.Max < 1 || p.Backlog < 0 || p.Capacity == nil && p.Busy == nil {
			return Reading{}, errors.New("it has no max_threads, pool_capacity and backlog; a worker may be about to boot: " + beginning(data))
		}
		r.Workers += p.Max
		r.Queued += p.Backlog
		if p.Capacity != nil {
			r.Busy += min(max(0, p.Max-*p.Capacity), p.Max)
		} else {
			r.Busy += min(max(0, *p.Busy), p.Max)
		}
	}
	if len(processes) == 0 {
		return Reading{}, errors.New("it has no workers")
	}
	return r, nil
}

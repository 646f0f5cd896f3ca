package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"
)

// Pool keeps the books of the workers: which are busy, with which zone, since when.
type Pool struct {
	mu      sync.Mutex // guards below
	jobs    []job
	busy    int
	byZone  map[string]int
	worst   int
	worstBy map[string]int
	served  int
	killed  int
}

// job is what one worker does; zero when it is idle.
type job struct {
	since time.Time
	zone  string
}

// State is the pool at one moment. Worst values are since the start or the last
// reset.
type State struct {
	Workers       int            `json:"workers"`
	Busy          int            `json:"busy"`
	BusyByZone    map[string]int `json:"busy_by_zone"`
	WorstBusy     int            `json:"worst_busy"`
	WorstByZone   map[string]int `json:"worst_by_zone"`
	LongestBusyMS int64          `json:"longest_busy_ms"`
	Served        int            `json:"served"`
	Killed        int            `json:"killed"`
}

func newPool(workers int) *Pool {
	return &Pool{
		jobs:    make([]job, workers),
		byZone:  map[string]int{},
		worstBy: map[string]int{},
	}
}

// begin books worker id as busy; its zone is not known yet.
func (p *Pool) begin(id int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs[id] = job{since: time.Now()}
	p.busy++
	p.worst = max(p.worst, p.busy)
}

// asks books that worker id now waits for a zone.
func (p *Pool) asks(id int, zone string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs[id].zone = zone
	p.byZone[zone]++
	p.worstBy[zone] = max(p.worstBy[zone], p.byZone[zone])
}

// end books worker id as idle.
func (p *Pool) end(id int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if zone := p.jobs[id].zone; zone != "" {
		p.byZone[zone]--
		if p.byZone[zone] == 0 {
			delete(p.byZone, zone)
		}
	}
	p.jobs[id] = job{}
	p.busy--
	p.served++
}

func (p *Pool) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed++
}

// State returns the pool as it is now.
func (p *Pool) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{
		Workers: len(p.jobs), Busy: p.busy, WorstBusy: p.worst,
		BusyByZone: maps.Clone(p.byZone), WorstByZone: maps.Clone(p.worstBy),
		Served: p.served, Killed: p.killed,
	}
	for _, j := range p.jobs {
		if !j.since.IsZero() {
			s.LongestBusyMS = max(s.LongestBusyMS, time.Since(j.since).Milliseconds())
		}
	}
	return s
}

// ResetWorst starts the worst values anew, from what is busy now.
func (p *Pool) ResetWorst() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worst = p.busy
	p.worstBy = maps.Clone(p.byZone)
}

// Handler serves GET /pool and POST /pool/reset-worst. It needs no worker, so
// it answers while all of them are stuck.
func (p *Pool) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pool", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.State())
	})
	mux.HandleFunc("POST /pool/reset-worst", func(w http.ResponseWriter, _ *http.Request) {
		p.ResetWorst()
		fmt.Fprintln(w, "reset")
	})
	return mux
}

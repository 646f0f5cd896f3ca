package zone

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Hang makes queries for these stores wait until Heal; then they are answered.
func (s *Server) Hang(stores ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, store := range stores {
		s.hung[store] = true
	}
}

// Slow adds a delay to every query.
func (s *Server) Slow(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

// Refuse closes the listener and every connection.
func (s *Server) Refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return
	}
	s.listener.Close()
	s.listener = nil
	for conn := range s.conns {
		conn.Close()
	}
}

// Heal ends every fault.
func (s *Server) Heal() error {
	s.mu.Lock()
	s.delay = 0
	clear(s.hung)
	close(s.healed)
	s.healed = make(chan struct{})
	s.mu.Unlock()
	return s.listen()
}

// Control serves the faults over HTTP: POST /hang?store=…&store=…,
// /slow?delay=1.5s, /refuse and /heal.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hang", func(w http.ResponseWriter, r *http.Request) {
		stores := r.URL.Query()["store"]
		s.Hang(stores...)
		fmt.Fprintln(w, "hanging:", strings.Join(stores, " "))
	})
	mux.HandleFunc("POST /slow", func(w http.ResponseWriter, r *http.Request) {
		delay, err := time.ParseDuration(r.URL.Query().Get("delay"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.Slow(delay)
		fmt.Fprintln(w, "slower by", delay)
	})
	mux.HandleFunc("POST /refuse", func(w http.ResponseWriter, _ *http.Request) {
		s.Refuse()
		fmt.Fprintln(w, "refusing connections")
	})
	mux.HandleFunc("POST /heal", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Heal(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "well")
	})
	return mux
}

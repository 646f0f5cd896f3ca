// Package zone is a zone database of the example: a small TCP server that
// answers "GET store\n" with "value\n" after a few milliseconds and can be made
// ill: stores that hang, slow queries, refused connections. Freezing is done
// from outside, with SIGSTOP.
package zone

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// Config is how the database works while it is well.
type Config struct {
	// Listen is the address, for example 127.0.0.1:5432.
	Listen string
	// MinService and MaxService bound the time a query takes.
	MinService, MaxService time.Duration
	// Parallel is the number of queries worked on at once; more wait. It makes
	// a surge hurt as it does on a real machine.
	Parallel int
}

// Server is one zone database.
type Server struct {
	config Config
	slots  chan struct{}

	mu       sync.Mutex // guards below
	listener net.Listener
	conns    map[net.Conn]bool
	hung     map[string]bool
	healed   chan struct{} // closed when the hung stores are healed
	delay    time.Duration
}

// NewServer listens and serves until Close.
func NewServer(c Config) (*Server, error) {
	s := &Server{
		config: c,
		slots:  make(chan struct{}, max(c.Parallel, 1)),
		conns:  map[net.Conn]bool{},
		hung:   map[string]bool{},
		healed: make(chan struct{}),
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is where the database listens, also while it refuses connections.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config.Listen
}

// Close ends the server and its connections.
func (s *Server) Close() {
	s.Refuse()
}

func (s *Server) listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", s.config.Listen)
	if err != nil {
		return fmt.Errorf("opening zone database: %w", err)
	}
	s.listener = listener
	s.config.Listen = listener.Addr().String()
	go s.accept(listener)
	return nil
}

func (s *Server) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of file descriptors
			continue
		}
		go s.serve(listener, conn)
	}
}

func (s *Server) serve(listener net.Listener, conn net.Conn) {
	defer conn.Close()
	if !s.enter(listener, conn) {
		return
	}
	defer s.leave(conn)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		store, found := strings.CutPrefix(lines.Text(), "GET ")
		if !found {
			fmt.Fprintln(conn, "ERROR want: GET store")
			return
		}
		if _, err := fmt.Fprintln(conn, s.query(store)); err != nil {
			return
		}
	}
}

// enter books the connection, unless its listener was closed in the meantime.
func (s *Server) enter(listener net.Listener, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != listener {
		return false
	}
	s.conns[conn] = true
	return true
}

func (s *Server) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// query works on one store. Waiting on damaged data or on a slow disk takes no
// slot: the rest of the zone stays as fast as it was.
func (s *Server) query(store string) string {
	s.waitWhileHung(store)
	s.mu.Lock()
	delay := s.delay
	s.mu.Unlock()
	time.Sleep(delay)

	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	time.Sleep(s.serviceTime())
	return "value of " + store
}

func (s *Server) serviceTime() time.Duration {
	spread := s.config.MaxService - s.config.MinService
	if spread <= 0 {
		return s.config.MinService
	}
	return s.config.MinService + rand.N(spread)
}

func (s *Server) waitWhileHung(store string) {
	s.mu.Lock()
	hung, healed := s.hung[store], s.healed
	s.mu.Unlock()
	if hung {
		<-healed
	}
}

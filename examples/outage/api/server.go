// Package api is the API server of the example: a fixed pool of synchronous
// workers shared by all stores, as PHP-FPM, gunicorn, Unicorn and Puma are.
//
// It is written on net and not on net/http's server, because the point is what
// that server does not do:
//
//   - exactly Workers requests are worked on; further connections wait in the
//     kernel's backlog, unread
//   - a worker takes one connection, reads one request, asks the zone database
//     without any timeout, answers and closes
//   - while it waits for the database, a worker does not notice that its client
//     has hung up
package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Config describes the server.
type Config struct {
	// Listen is the address of the API, for example 127.0.0.1:9000.
	Listen string
	// Workers is the size of the pool.
	Workers int
	// Backlog is how many connections the kernel keeps waiting. 0 leaves the
	// system's own limit.
	Backlog int
	// ZoneOf maps a store to its zone, ZoneAddr a zone to its database.
	ZoneOf, ZoneAddr map[string]string
	// KillAfter is how long a worker may be stuck before its connections are
	// reset and it is replaced, like gunicorn --timeout. 0 means never.
	KillAfter time.Duration
}

// Server is a running API server.
type Server struct {
	config   Config
	listener *net.TCPListener
	pool     *Pool
	workers  sync.WaitGroup
}

// NewServer listens and starts the workers.
func NewServer(c Config) (*Server, error) {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("opening API server: %w", err)
	}
	s := &Server{config: c, listener: listener.(*net.TCPListener), pool: newPool(c.Workers)}
	if c.Backlog > 0 {
		if err := setBacklog(s.listener, c.Backlog); err != nil {
			listener.Close()
			return nil, fmt.Errorf("setting backlog: %w", err)
		}
	}
	for id := range c.Workers {
		s.workers.Go(func() { s.work(id) })
	}
	return s, nil
}

// Addr is where the API listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Pool is the truth about the workers.
func (s *Server) Pool() *Pool { return s.pool }

// Close stops accepting. Workers that are stuck stay stuck.
func (s *Server) Close() { s.listener.Close() }

// Wait returns when the server is closed and the last worker is done.
func (s *Server) Wait() { s.workers.Wait() }

// setBacklog calls listen(2) a second time: Go's net package always asks for
// the system's maximum.
func setBacklog(l *net.TCPListener, backlog int) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	err = raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), backlog) })
	return errors.Join(err, listenErr)
}

// work is the life of one worker. No connection is accepted while all workers are busy.
func (s *Server) work(id int) {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of file descriptors
			continue
		}
		s.pool.begin(id)
		s.serve(id, conn.(*net.TCPConn))
		s.pool.end(id)
	}
}

func (s *Server) serve(id int, conn *net.TCPConn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s.config.KillAfter > 0 {
		killer := time.AfterFunc(s.config.KillAfter, func() {
			s.pool.kill()
			conn.SetLinger(0)
			conn.Close() // first: the dead do not answer
			cancel()     // the worker's death also ends its database connection
		})
		defer killer.Stop()
	}
	s.answer(ctx, id, conn)
}

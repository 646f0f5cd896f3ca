package zonecheck

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

const (
	// AppName is how the connections call themselves.
	AppName = "firebreak"
	// parallelProbes is how many stores of one zone are tried at a time.
	parallelProbes = 6
	// unusedAfter is how long connections are kept that are not used.
	unusedAfter = 30 * time.Second
)

// lines are the connections to the database of one zone: one that is held to list
// what hangs, and those that try stores, of which one is held.
type lines struct {
	open   func(ctx context.Context) (Conn, error)
	broken error // the address cannot be read
	held   line
	probes [parallelProbes]line
	free   chan int // probes that no recovery uses
	unused *time.Timer
}

// line is one connection, opened when it is needed.
type line struct {
	mu   sync.Mutex // held while the connection is used
	conn Conn
}

var all = struct {
	sync.Mutex
	lines map[string]*lines
}{lines: make(map[string]*lines)}

// linesOf are the connections of a zone's check.
func linesOf(zone string, c *config.Check, open func(address string) (func(context.Context) (Conn, error), error)) *lines {
	key := zone + "\x00" + c.Protocol + "\x00" + c.Address
	all.Lock()
	defer all.Unlock()
	l := all.lines[key]
	if l == nil {
		l = &lines{free: make(chan int, parallelProbes)}
		for i := range parallelProbes {
			l.free <- i
		}
		l.open, l.broken = open(c.Address)
		all.lines[key] = l
		l.unused = time.AfterFunc(unusedAfter+2*time.Duration(c.Every), func() {
			all.Lock()
			if all.lines[key] == l {
				delete(all.lines, key)
			}
			all.Unlock()
			l.close()
		})
	}
	l.unused.Reset(unusedAfter + 2*time.Duration(c.Every))
	return l
}

func (l *lines) close() {
	l.held.close()
	for i := range l.probes {
		l.probes[i].close()
	}
}

func (n *line) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop()
}

func (n *line) drop() {
	if n.conn != nil {
		n.conn.Drop()
		n.conn = nil
	}
}

// run uses the connection, which is opened if it has to be, and given up after any
// error that is not a statement's own.
func (n *line) run(ctx context.Context, l *lines, use func(Conn) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if n.conn != nil && n.conn.Closed() {
		n.drop()
	}
	if n.conn == nil {
		conn, err := l.open(ctx)
		if err != nil {
			return err
		}
		n.conn = conn
	}
	err := use(n.conn)
	if err != nil && !errors.Is(err, ErrOver) && (!n.conn.Said(err) || ctx.Err() != nil) {
		n.drop()
	}
	return err
}

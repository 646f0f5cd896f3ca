// Package presence makes known on a machine what a process is in charge of, and
// finds others that are in charge of the same.
//
// What a process makes known is the name of an abstract unix socket. Such names
// belong to a network namespace, as the addresses of listeners and of servers on
// this machine do; they need no directory and no permission, and are gone with their
// process, however that ends. There are none outside of Linux: nothing is made known
// there, and nobody found.
package presence

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const (
	// prefix is what all names begin with. Behind it stand the hash of what it is
	// about, and the process.
	prefix = "@firebreak/"

	// most bounds how much one process makes known.
	most = 256
)

// Process is another process that is in charge of the same.
type Process struct {
	ID     string // different from that of any other
	PID    int
	Things []string // what both are in charge of, in order
}

// Register is what this process makes known. It is not safe for use by several
// goroutines.
type Register struct {
	id    string
	known map[string]net.PacketConn // by thing
}

// New makes a register with nothing in it.
func New() *Register {
	var random [8]byte
	_, _ = rand.Read(random[:])
	return &Register{id: hex.EncodeToString(random[:]) + "-" + strconv.Itoa(os.Getpid()), known: make(map[string]net.PacketConn)}
}

// Set makes known that this process is in charge of these things, and of no others.
func (r *Register) Set(things []string) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	things = things[:min(len(things), most)]
	for thing, conn := range r.known {
		if !slices.Contains(things, thing) {
			delete(r.known, thing)
			_ = conn.Close()
		}
	}
	var problems []error
	for _, thing := range things {
		if r.known[thing] != nil {
			continue
		}
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: prefix + hash(thing) + "/" + r.id})
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", thing, err))
			continue
		}
		r.known[thing] = conn
	}
	return errors.Join(problems...)
}

// Close takes back what was made known.
func (r *Register) Close() { _ = r.Set(nil) }

// Others finds the other processes that are in charge of some of the same things.
func (r *Register) Others() ([]Process, error) {
	if runtime.GOOS != "linux" || len(r.known) == 0 {
		return nil, nil
	}
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	return r.others(sockets), nil
}

func (r *Register) others(sockets []byte) []Process {
	things := make(map[string]string, len(r.known))
	for thing := range r.known {
		things[hash(thing)] = thing
	}
	found := make(map[string]*Process)
	for lines := bufio.NewScanner(bytes.NewReader(sockets)); lines.Scan(); {
		_, name, ok := strings.Cut(lines.Text(), " "+prefix)
		if !ok {
			continue
		}
		about, id, _ := strings.Cut(name, "/")
		_, pid, _ := strings.Cut(id, "-")
		thing, ours := things[about]
		number, err := strconv.Atoi(pid)
		if !ours || id == r.id || err != nil {
			continue
		}
		if found[id] == nil {
			found[id] = &Process{ID: id, PID: number}
		}
		if p := found[id]; !slices.Contains(p.Things, thing) {
			p.Things = append(p.Things, thing)
		}
	}
	list := make([]Process, 0, len(found))
	for _, p := range found {
		slices.Sort(p.Things)
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b Process) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func hash(thing string) string {
	sum := sha256.Sum256([]byte(thing))
	return hex.EncodeToString(sum[:8])
}

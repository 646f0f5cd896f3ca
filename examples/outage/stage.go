package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/stores"
	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

// size is how large the example is.
type size struct {
	zones, workers int
	killAfter      time.Duration
}

// addresses of what a person or a client talks to, each host:port.
type addresses struct {
	proxy, admin, api, pool string
}

// stage is the whole example: the zone databases, the API server and a proxy,
// each a process of its own.
type stage struct {
	size
	addresses
	dir    string
	self   string // this program, which is also the API server and the zones
	zones  map[string]*zoneProcess
	apiSrv *child
	proxyS *child
}

type zoneProcess struct {
	*child
	addr, control string
}

// openStage starts everything but the proxy. Close ends it.
func openStage(n size, at addresses) (*stage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "outage-")
	if err != nil {
		return nil, err
	}
	s := &stage{size: n, addresses: at, dir: dir, self: self, zones: map[string]*zoneProcess{}}
	if err := s.start(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *stage) start() error {
	if err := stores.WriteFile(s.storesFile(), s.size.zones); err != nil {
		return err
	}
	for i := range s.size.zones {
		if err := s.startZone(stores.Zone(i)); err != nil {
			return err
		}
	}
	return s.startAPI()
}

func (s *stage) storesFile() string { return filepath.Join(s.dir, "stores.csv") }

func (s *stage) startZone(name string) error {
	addr, err1 := loopback.Addr()
	control, err2 := loopback.Addr()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	c, err := startChild(name, s.dir, []string{addr, control}, nil, s.self,
		"zone", "-listen", addr, "-control", control)
	if err != nil {
		return err
	}
	s.zones[name] = &zoneProcess{child: c, addr: addr, control: control}
	return nil
}

// startAPI starts the API server, also once more after killAPI.
func (s *stage) startAPI() error {
	var databases []string
	for name, z := range s.zones {
		databases = append(databases, name+"="+z.addr)
	}
	c, err := startChild("api", s.dir, []string{s.api, s.pool}, nil, s.self,
		"api", "-listen", s.api, "-pool", s.pool,
		"-workers", fmt.Sprint(s.workers), "-kill-after", s.killAfter.String(),
		"-stores", s.storesFile(), "-zones", strings.Join(databases, ","))
	if err != nil {
		return err
	}
	s.apiSrv = c
	return nil
}

func (s *stage) killAPI() { s.apiSrv.kill() }

// Close ends every process, frozen ones too, and removes their files.
func (s *stage) Close() {
	s.proxyS.kill()
	s.apiSrv.kill()
	for _, z := range s.zones {
		z.kill()
	}
	os.RemoveAll(s.dir)
}

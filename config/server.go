package config

import (
	"cmp"
	"errors"
	"fmt"
)

// startWorkers is how many workers a server is taken to have until something is
// known, if they are found out.
const startWorkers = 8

// errNoWorkers is what is wrong with settings that say nothing of the pool's size.
var errNoWorkers = errors.New("the size of the pool is not known: set workers to the number of requests that all API servers together serve at once, workers per_server to that of each, or workers auto to have it found out")

// servers takes in what is said of workers and servers.
func (a *App) servers(p *Policy, parts Parts) error {
	if err := checkShare("max_servers_out", a.MaxServersOut); err != nil {
		return err
	}
	part, err := ParseShare(a.Share)
	if err != nil {
		return err
	}
	p.Parts.Others = part
	if a.Share == ShareAuto {
		p.Parts = parts
	}
	if p.ServerCheck, err = a.ServerCheck.policy(); err != nil {
		return fmt.Errorf("server_check: %w", err)
	}
	return a.serverSettings(p)
}

// serverSettings takes in how many workers servers have, and how that is found out.
func (a *App) serverSettings(p *Policy) error {
	if err := a.ServerStatus.Check(); err != nil {
		return fmt.Errorf("server_status: %w", err)
	}
	p.PerServer, p.WorkersAuto, p.Status = a.WorkersPerServer, a.WorkersAuto, a.ServerStatus
	if a.WorkersAuto {
		p.PerServer = startWorkers
		if p.Status == nil {
			p.Status = &ServerStatus{Source: StatusAuto}
		}
	}
	seen := make(map[string]bool)
	for _, s := range a.Servers {
		switch {
		case s.Address == "":
			return fmt.Errorf("server: the address is missing; write the upstream as reverse_proxy has it")
		case s.Workers < 0 || s.Workers == 0 && s.Status == nil:
			return fmt.Errorf("server %s: workers is %d: it must be at least 1", s.Address, s.Workers)
		case seen[s.Address]:
			return fmt.Errorf("server %s: specified twice", s.Address)
		}
		if err := s.Status.Check(); err != nil {
			return fmt.Errorf("server %s: status: %w", s.Address, err)
		}
		seen[s.Address] = true
		p.addServer(s)
	}
	return nil
}

func (a *App) checkWorkers() error {
	switch {
	case a.Workers < 0:
		return fmt.Errorf("workers is %d: it must be the number of requests the API server serves at once, at least 1", a.Workers)
	case a.WorkersPerServer < 0:
		return fmt.Errorf("workers per_server is %d: it must be the number of requests one API server serves at once, at least 1", a.WorkersPerServer)
	case a.Workers > 0 && a.WorkersPerServer > 0:
		return fmt.Errorf("workers is %d and workers per_server is %d: give one of them", a.Workers, a.WorkersPerServer)
	case a.WorkersAuto && a.Workers+a.WorkersPerServer > 0:
		return errors.New("workers is auto, and a number as well: give one of them")
	case a.WorkersAuto && a.ServerStatus != nil && a.ServerStatus.Source == StatusOff:
		return errors.New("workers is auto, and server_status is off: without a status no number of workers can be found out")
	case a.Workers == 0 && a.WorkersPerServer == 0 && !a.WorkersAuto:
		return errNoWorkers
	}
	return nil
}

func (p *Policy) addServer(s Server) {
	if s.Workers > 0 {
		if p.Servers == nil {
			p.Servers = make(map[string]int)
		}
		p.Servers[s.Address] = s.Workers
	}
	if s.Status != nil {
		if p.Statuses == nil {
			p.Statuses = make(map[string]ServerStatus)
		}
		p.Statuses[s.Address] = *s.Status
	}
}

// ServerWorkers is how many workers of the server at the address this sidecar may
// use by the settings, if there are n servers; 0: not known. A number that is found
// out instead begins with it.
func (p *Policy) ServerWorkers(address string, n int) int {
	return p.Part(address).Workers(p.AllWorkers(address, n), address)
}

// Pool is how many workers this sidecar may use while no server is known; 0: not
// known.
func (p *Policy) Pool() int { return p.Parts.Others.Workers(cmp.Or(p.Workers, p.PerServer), "") }

// AllWorkers is how many workers the server has, for all sidecars, likewise.
func (p *Policy) AllWorkers(address string, n int) int {
	switch {
	case p.Servers[address] > 0:
		return p.Servers[address]
	case p.PerServer > 0:
		return p.PerServer
	case p.Workers > 0:
		return (p.Workers + n - 1) / max(1, n)
	}
	return 0
}

// FindsWorkers reports whether the number of workers of the server at the address
// is found out and not set.
func (p *Policy) FindsWorkers(address string) bool { return p.WorkersAuto && p.Servers[address] == 0 }

// ServerStatus is where the status of the server at the address is found; false:
// it is not asked.
func (p *Policy) ServerStatus(address string) (ServerStatus, bool) {
	status, ok := p.Statuses[address]
	if !ok && p.Status != nil {
		status, ok = *p.Status, true
	}
	return status.At(address), ok && status.Source != StatusOff
}

// WorkersLine is what to write into the settings so that the server at the address,
// one of n, has so many workers.
func (p *Policy) WorkersLine(address string, workers, n int) string {
	own := fmt.Sprintf("server %s { workers %d }", address, workers)
	switch {
	case p.Servers[address] > 0:
		return own
	case p.PerServer > 0 && n > 1:
		return fmt.Sprintf("workers %d per_server, or if only this server differs: %s", workers, own)
	case p.PerServer > 0:
		return fmt.Sprintf("workers %d per_server", workers)
	case n > 1:
		return fmt.Sprintf("workers %d (%d on each of %d servers), or if only this server differs: %s", workers*n, workers, n, own)
	}
	return fmt.Sprintf("workers %d", workers)
}

package config

import (
	"cmp"
	"fmt"
)

// servers takes in what is said of workers and servers.
func (a *App) servers(p *Policy, parts Parts) error {
	if a.WorkersPerServer < 0 {
		return fmt.Errorf("workers per_server is %d: it must be the number of requests one API server serves at once, at least 1", a.WorkersPerServer)
	}
	if a.Workers > 0 && a.WorkersPerServer > 0 {
		return fmt.Errorf("workers is %d and workers per_server is %d: give one of them", a.Workers, a.WorkersPerServer)
	}
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
	p.PerServer = a.WorkersPerServer
	for _, s := range a.Servers {
		switch {
		case s.Address == "":
			return fmt.Errorf("server: the address is missing; write the upstream as reverse_proxy has it")
		case s.Workers < 1:
			return fmt.Errorf("server %s: workers is %d: it must be at least 1", s.Address, s.Workers)
		case p.Servers[s.Address] != 0:
			return fmt.Errorf("server %s: specified twice", s.Address)
		}
		if p.Servers == nil {
			p.Servers = make(map[string]int)
		}
		p.Servers[s.Address] = s.Workers
	}
	return nil
}

// ServerWorkers is how many workers of the server at the address this sidecar may
// use, if there are n servers; 0: not known.
func (p *Policy) ServerWorkers(address string, n int) int {
	return p.Part(address).Workers(p.allWorkers(address, n), address)
}

// Pool is how many workers this sidecar may use while no server is known; 0: not
// known.
func (p *Policy) Pool() int { return p.Parts.Others.Workers(cmp.Or(p.Workers, p.PerServer), "") }

// allWorkers is how many workers the server has, for all sidecars.
func (p *Policy) allWorkers(address string, n int) int {
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

package config

import "fmt"

// servers takes in what is said of workers and servers.
func (a *App) servers(p *Policy) error {
	if a.WorkersPerServer < 0 {
		return fmt.Errorf("workers per_server is %d: it must be the number of requests one API server serves at once, at least 1", a.WorkersPerServer)
	}
	if a.Workers > 0 && a.WorkersPerServer > 0 {
		return fmt.Errorf("workers is %d and workers per_server is %d: give one of them", a.Workers, a.WorkersPerServer)
	}
	if err := checkShare("max_servers_out", a.MaxServersOut); err != nil {
		return err
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

// ServerWorkers is how many workers the server at the address has, if there are n
// servers; 0: not known.
func (p *Policy) ServerWorkers(address string, n int) int {
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

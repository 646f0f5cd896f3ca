package sizing

import (
	"errors"
	"fmt"
	"math"
)

// FrozenServer is what one frozen API server of several costs, with lb_policy
// firebreak.
type FrozenServer struct {
	// Lost is how many requests are about to be lost: those that are under way on
	// it, and one more, since a server that answers nothing soon has fewer free
	// workers than the others and is avoided.
	Lost int

	Left        int     // workers of the servers that are left
	Utilisation float64 // their share that is busy on average
}

// leastLost is how many requests must have no answer for a server to be out of
// service.
const leastLost = 2

func (p *Plan) checkServers() error {
	switch {
	case p.Servers < 0:
		return errors.New("say how many API servers there are: --servers 4")
	case p.Servers > p.Workers:
		return fmt.Errorf("%d servers cannot have %d workers in all: --workers is that of all servers together; give that of each with --workers-per-server", p.Servers, p.Workers)
	}
	return nil
}

// foreseeServers says what a frozen server does.
func (p *Plan) foreseeServers() {
	if p.Servers < 2 {
		return
	}
	each := p.Workers / p.Servers
	f := &FrozenServer{Left: p.Workers - each}
	f.Lost = min(each, max(leastLost, int(math.Ceil(p.Occupied/float64(p.Servers)))+1))
	f.Utilisation = p.Occupied / float64(f.Left)
	p.FrozenServer = f
}

func (p *Plan) warnServers() {
	if f := p.FrozenServer; f != nil && f.Utilisation > busyAtMost {
		p.warning("with one server frozen, or restarted, the %d workers of the others would be busy for %.0f %% of the time, and requests would wait. Take another server, or more workers on each", f.Left, 100*f.Utilisation)
	}
}

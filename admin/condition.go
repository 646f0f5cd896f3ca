package admin

import (
	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// condition is how a zone is for its clients, in the words of the dashboard.
type condition string

// The conditions, the worst first.
const (
	cutOff     condition = "cut_off" // by its breaker; also while one request tries it
	isolated   condition = "isolated"
	comingBack condition = "coming_back"
	troubled   condition = "troubled"
	observed   condition = "observed" // it would be cut off, but for mode observe
	admitted   condition = "admitted"
	maintained condition = "maintenance"
	calm       condition = "calm"
)

// rank orders conditions, the worst highest.
func (c condition) rank() int {
	switch c {
	case cutOff:
		return 7
	case isolated:
		return 6
	case comingBack:
		return 5
	case troubled:
		return 4
	case observed:
		return 3
	case admitted:
		return 2
	case maintained:
		return 1
	case calm:
	}
	return 0
}

// conditionOf is how a zone is that is so, with the switch that holds for it.
func conditionOf(z *breaker.ZoneStatus, sw *maintenance.Switch) condition {
	refusing := z.State == breaker.Open || z.State == breaker.HalfOpen
	switch {
	case z.Hold != nil && z.Hold.As == breaker.Open:
		return isolated
	case refusing && z.Observe:
		return observed
	case refusing && (z.State == breaker.Open || z.Window <= 1):
		return cutOff
	case refusing:
		return comingBack
	case z.State == breaker.Troubled:
		return troubled
	case z.Hold != nil:
		return admitted
	case sw != nil:
		return maintained
	}
	return calm
}

package incidents

import (
	"fmt"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// What an entry of the timeline is about, beside the kinds of events.
const (
	whatFirst     = "first_wrong"      // the first request that went wrong was admitted
	whatFound     = "found"            // the episode was on already
	whatTried     = "tried_again"      // the zone was tried and is still sick
	whatRestarted = "restarted"        // firebreak was
	whatSwitchOn  = "switch_set"       // as maintenance.EventSwitchSet
	whatSwitchOff = "switch_cleared"   // as maintenance.EventSwitchCleared
	whatLetOut    = "stores_let_out"   // exceptions were added to a switch
	whatOver      = "incident_over"    // nothing is left of it
	whatCutOff    = "record_broke_off" // see Incident.Interrupted
)

// tell adds what the event has to say to the timeline.
func (i *Incident) tell(e *breaker.Event) {
	store := "store " + e.Store
	switch e.Kind {
	case breaker.EventZoneTroubled:
		i.note(e.At, e.Kind, "", "something is wrong: "+e.Evidence)
	case breaker.EventZoneOpened:
		i.tellOpened(e)
	case breaker.EventZoneHalfOpen:
		i.note(e.At, e.Kind, "", "zone is tried again, request by request: "+e.Evidence)
	case breaker.EventZoneClosed:
		i.note(e.At, e.Kind, "", "zone closed, its requests are let in again: "+e.Evidence)
	case breaker.EventZoneCalm:
		i.note(e.At, e.Kind, "", "zone is calm again: "+e.Evidence)
	case breaker.EventStoreQuarantined:
		if e.From == breaker.Calm { // else it never left
			i.note(e.At, e.Kind, e.Store, store+" is in quarantine: "+e.Evidence)
		}
	case breaker.EventStoreHalfOpen:
	case breaker.EventStoreReleased:
		i.note(e.At, e.Kind, e.Store, store+" is released from quarantine: "+e.Evidence)
	case breaker.EventZoneIsolated, breaker.EventZoneAdmitted:
		i.note(e.At, e.Kind, "", "zone "+heldFor(e))
	case breaker.EventStoreIsolated, breaker.EventStoreAdmitted:
		i.note(e.At, e.Kind, e.Store, store+" "+heldFor(e))
	case breaker.EventZoneAuto:
		i.note(e.At, e.Kind, "", "zone is handed back to its breaker")
	case breaker.EventStoreAuto:
		i.note(e.At, e.Kind, e.Store, store+" is handed back to its breaker")
	default:
		i.note(e.At, e.Kind, e.Store, e.Evidence)
	}
}

// tellOpened tells the turns of a zone that stays sick in one line.
func (i *Incident) tellOpened(e *breaker.Event) {
	if e.From == breaker.Calm || e.From == breaker.Troubled {
		refused := "its requests are refused"
		if e.Observe {
			refused = "its requests would be refused"
		}
		i.note(e.At, e.Kind, "", fmt.Sprintf("zone cut off for %s, %s: %s", lasted(e.For), refused, e.Evidence))
		return
	}
	i.dropTry()
	i.again(e.At, whatTried, fmt.Sprintf("zone is still sick, cut off for another %s: %s", lasted(e.For), e.Evidence))
}

func heldFor(e *breaker.Event) string {
	if e.For > 0 {
		return e.Evidence + ", for " + lasted(e.For)
	}
	return e.Evidence
}

// lasted is a duration for people.
func lasted(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

func stores(n int) string {
	if n == 1 {
		return "1 store"
	}
	return fmt.Sprintf("%d stores", n)
}

package breaker_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// step is one thing that happens to the guard.
type step struct {
	verb    string
	zone    int
	store   int
	slot    int
	outcome breaker.Outcome
	wait    time.Duration
}

var verbs = []string{
	"admit", "admit", "admit", "admit", "check", "check", "track", "answer", "answer", "hang", "leave", "stream", "end", "end", "end", "wait", "apply", "restart",
}

// jointVerbs are verbs of a fleet.
var jointVerbs = append([]string{"agree", "agree", "agree on store", "heard", "store heard", "leased", "not leased", "observe"}, verbs...)

func drawSteps(t *rapid.T, verbs []string) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			verb:    rapid.SampledFrom(verbs).Draw(t, "verb"),
			zone:    rapid.IntRange(0, 2).Draw(t, "zone"),
			store:   rapid.IntRange(0, 5).Draw(t, "store"),
			slot:    rapid.IntRange(0, 1000).Draw(t, "slot"),
			outcome: rapid.SampledFrom(breaker.Outcomes()[:breaker.Abandoned]).Draw(t, "outcome"), // which keeps its worker
			wait:    time.Duration(rapid.SampledFrom([]int{1, 50, 300, 1200, 2500, 7000, 70000}).Draw(t, "wait")) * time.Millisecond,
		}
	}), 1, 200).Draw(t, "steps")
}

// TestInvariants drives the guard with anything, in any order, any number of
// times, and checks the books after each step.
func TestInvariants(t *testing.T) {
	for name, verbs := range map[string][]string{"alone": verbs, "in a fleet": jointVerbs} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				workers := rapid.IntRange(1, 24).Draw(rt, "workers")
				steps := drawSteps(rt, verbs)
				var problem string
				synctest.Test(t, func(t *testing.T) {
					problem = play(t, workers, steps)
				})
				if problem != "" {
					rt.Fatal(problem)
				}
			})
		})
	}
}

// moody is a fleet that gives the right to try something, refuses it, does not answer,
// and is not there, in turn.
type moody struct {
	g *breaker.Guard
	n int
}

func (m *moody) Lease(zone, store string, _ time.Duration) bool {
	m.n++
	switch m.n % 4 {
	case 0:
		m.g.Leased(zone, store, true, 0)
	case 1:
		m.g.Leased(zone, store, false, 2*time.Second)
	case 2:
		return false
	}
	return true
}

func (m *moody) LeaseServer(address string, _ time.Duration) bool {
	m.n++
	switch m.n % 4 {
	case 0:
		m.g.ServerLeased(address, true, 0)
	case 1:
		m.g.ServerLeased(address, false, 2*time.Second)
	case 2:
		return false
	}
	return true
}

// joint does what a fleet does. It reports false for what it does not.
func joint(g *breaker.Guard, s step) bool {
	zone, store, ago := fmt.Sprint("z", s.zone), fmt.Sprint("s", s.store), s.wait
	switch s.verb {
	case "agree":
		g.SetFleet(&moody{g: g})
		g.Agree(silentZone(zone, ago))
	case "agree on store":
		g.SetFleet(&moody{g: g})
		g.Agree(silentStore(zone, store, ago))
	case "heard":
		g.PeerAnswered(answered(zone, "", ago))
	case "store heard":
		g.PeerAnswered(answered(zone, store, ago))
	case "leased":
		g.Leased(zone, []string{"", store}[s.slot%2], true, 0)
	case "not leased":
		g.Leased(zone, []string{"", store}[s.slot%2], false, ago)
	case "observe":
		g.Answers(g.Observe(nil), nil)
	default:
		return false
	}
	return true
}

func play(t *testing.T, workers int, steps []step) string {
	app := config.App{Workers: workers, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}
	g := newGuard(t, app, breaker.Options{})
	defer func() { g.Close() }()
	var slots []*breaker.Slot
	checks, restarted := 0, false
	for i, s := range steps {
		var slot *breaker.Slot
		if len(slots) > 0 {
			slot = slots[s.slot%len(slots)]
		}
		switch {
		case s.verb == "admit":
			if got, _ := g.Admit(context.Background(), breaker.Request{Zone: fmt.Sprint("z", s.zone), Store: fmt.Sprint("s", s.store)}); got != nil {
				slots = append(slots, got)
			}
		case s.verb == "check":
			c := breaker.CheckRequest{Zone: fmt.Sprint("z", s.zone), Store: fmt.Sprint("s", s.store), Probe: s.slot%4 == 0, EndsOpen: s.slot%2 == 0}
			before, _ := g.Zone(c.Zone)
			if got, _ := g.AdmitCheck(c); got != nil {
				slots, checks = append(slots, got), checks+1
				if most := max(1, workers/4) + 2; before.Live+before.Hung-before.Remembered >= most {
					return fmt.Sprintf("step %d: a check in a zone that occupies %d workers of %d", i, before.Live+before.Hung, workers)
				}
			}
		case s.verb == "wait":
			time.Sleep(s.wait)
		case s.verb == "apply":
			p, _ := app.Policy()
			g.Apply(p, []string{"z0", "z1", "z2"})
		case s.verb == "restart":
			snapshot, old := g.Snapshot(), g.Status()
			g.Close()
			g = newGuard(t, app, breaker.Options{})
			g.Restore(snapshot)
			slots, checks, restarted = nil, 0, true
			if now := g.Status(); now.Occupied < min(old.Hung, workers-max(1, workers/8)) || now.Occupied > old.Occupied {
				return fmt.Sprintf("step %d: a restart made %d workers occupied of %d, %d hung", i, now.Occupied, old.Occupied, old.Hung)
			}
		case joint(g, s):
		case slot != nil:
			act(slot, s)
		}
		if problem := checkBooks(g, workers, len(slots)-checks); problem != "" {
			return fmt.Sprintf("after step %d (%+v): %s", i, s, problem)
		}
	}
	for _, slot := range slots {
		slot.Track()
		slot.End(breaker.Broken)
	}
	if restarted {
		time.Sleep(time.Minute + time.Second) // hung_hold: remembered slots have no owner that ends them
	}
	return checkEnd(g, len(slots)-checks)
}

func act(slot *breaker.Slot, s step) {
	switch s.verb {
	case "track":
		slot.Track()
	case "answer":
		slot.Answer(s.outcome)
	case "hang":
		slot.Hang()
	case "leave":
		slot.Leave()
	case "stream":
		slot.Stream()
	case "end":
		slot.End(s.outcome)
	}
}

// checkBooks: what the zones have adds up to what the pool has, none has more
// than there is, and no admission has more than one verdict.
func checkBooks(g *breaker.Guard, workers, admitted int) string {
	synctest.Wait() // the sweeper may be at it
	if problem := g.Audit(); problem != "" {
		return problem
	}
	s := g.Status()
	live, hung, verdicts := 0, 0, uint64(0)
	for _, z := range s.Zones {
		live, hung = live+z.Live, hung+z.Hung
		for _, n := range z.Outcomes {
			verdicts += n
		}
		if z.Live < 0 || z.Hung < 0 || z.Streams < 0 {
			return fmt.Sprintf("zone %s: live %d, hung %d, streams %d", z.Zone, z.Live, z.Hung, z.Streams)
		}
	}
	switch {
	case live != s.Live || hung != s.Hung || live+hung != s.Occupied:
		return fmt.Sprintf("zones have %d live and %d hung, the pool has %d and %d, %d occupied", live, hung, s.Live, s.Hung, s.Occupied)
	case s.Occupied > workers:
		return fmt.Sprintf("%d of %d workers occupied", s.Occupied, workers)
	case verdicts > uint64(admitted):
		return fmt.Sprintf("%d verdicts on %d requests", verdicts, admitted)
	case s.Waiting != 0:
		return fmt.Sprintf("%d wait although there are no requests", s.Waiting)
	}
	return ""
}

// checkEnd: with everything ended the books are empty, each request had exactly
// one verdict, and after a while everybody is admitted again.
func checkEnd(g *breaker.Guard, admitted int) string {
	s := g.Status()
	verdicts := uint64(0)
	for _, z := range s.Zones {
		verdicts += z.Outcomes["ok"] // streams and answers
		for name, n := range z.Outcomes {
			if name != "ok" {
				verdicts += n
			}
		}
		if z.Streams != 0 {
			return fmt.Sprintf("zone %s has %d streams", z.Zone, z.Streams)
		}
	}
	if s.Occupied != 0 || s.Hung != 0 || verdicts != uint64(admitted) {
		return fmt.Sprintf("%d occupied, %d hung, %d verdicts on %d requests", s.Occupied, s.Hung, verdicts, admitted)
	}
	time.Sleep(3 * time.Minute)
	for zone := range 3 {
		for store := range 6 {
			z, st := fmt.Sprint("z", zone), fmt.Sprint("s", store)
			if reason := refused(g, z, st); reason != "" {
				return fmt.Sprintf("%s/%s refused (%s) 3 minutes after everything ended", z, st, reason)
			}
		}
	}
	return ""
}

// TestProbesAreBounded: a half-open zone gets one request at a time, whatever
// they come to.
func TestProbesAreBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		outcomes := rapid.SliceOfN(rapid.SampledFrom(breaker.Outcomes()), 1, 60).Draw(rt, "outcomes")
		ends := rapid.SliceOfN(rapid.IntRange(0, 3), len(outcomes), len(outcomes)).Draw(rt, "ends")
		var problem string
		synctest.Test(t, func(t *testing.T) {
			app := twoSeconds()
			app.Zones[0].MaxWait = new(config.Duration) // no time passes: none of them ages
			g := newGuard(t, app, breaker.Options{})
			defer g.Close()
			openZone(t, g)
			var open []*breaker.Slot
			for i, o := range outcomes {
				z, _ := g.Zone("z1")
				if z.State != breaker.HalfOpen {
					break
				}
				if s, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: fmt.Sprint("s", i)}); s != nil {
					open = append(open, s)
				}
				if len(open) > 1 {
					problem = fmt.Sprintf("%d requests try the zone at once", len(open))
				}
				if ends[i] == 0 && len(open) > 0 {
					open[0].Track()
					open[0].End(o)
					open = open[1:]
				}
			}
		})
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

package cli

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/breaker"
)

var zoneCommand = &command{
	use: "zone NAME", short: "Shows one zone: its state and why, its workers, its stores in quarantine", args: cobra.ExactArgs(1),
	examples: []string{"zone z7"},
	complete: func(s *session, args []string) []string {
		if len(args) > 0 {
			return nil
		}
		return s.zoneNames()
	},
	run: func(s *session) error {
		var zone zoneView
		if goOn, err := s.get("/firebreak/zones/"+url.PathEscape(s.args[0]), &zone); !goOn {
			return err
		}
		s.showZone(&zone)
		return nil
	},
}

func (s *session) showZone(z *zoneView) {
	since, why := z.cause()
	is := "is "
	if z.condition() == isObserved {
		is = "" // it would be
	}
	s.printf("zone %s %s%s", clean(z.Zone), is, s.paint(conditionColors[z.condition()], z.word()))
	if !since.IsZero() {
		s.printf(" since %s", s.since(since))
	}
	s.printf("\n")
	if why != "" && z.Hold == nil && z.State != breaker.Calm {
		s.printf("why:          %s\n", clean(why))
	}
	s.showProgress(z, why)
	if z.Window > 0 {
		s.printf("coming back:  %s at once, one more with each answer\n", plural(z.Window, "request"))
	}
	if z.Doubt {
		s.printf("in doubt:     no answer for longer than %s, which is unusual; it gets no more workers than it takes to judge it\n", brief(time.Duration(z.PatienceMS)*time.Millisecond))
	}
	for i := range z.Blockers[:min(len(z.Blockers), 3)] {
		b := &z.Blockers[i]
		s.printf("held up by:   process %d of its database (%s, for %s), waiting queries: %d: %s\n", b.PID, clean(b.State), brief(time.Duration(b.Age*float64(time.Second))), b.Blocks, clean(b.Query))
	}
	if z.DatabaseTrouble != "" {
		s.printf("its database: cannot be asked about stores: %s\n", clean(z.DatabaseTrouble))
	}
	s.showHold(z.Hold, "zone "+z.Zone)
	s.showMaintenance(z.Maintenance)
	s.showWorkers(z)
	s.showStores(z)
	s.printf("outcomes:     %s\n", counts(z.Outcomes))
	s.printf("refused:      %s\n", counts(z.Refusals))
	if z.Observe {
		s.printf("observed:     would have refused %s\n", counts(z.WouldRefuse))
	}
	if z.condition() == isCutOff {
		s.printf("\nnothing to do for other zones. To tell clients of this one why: %s maintenance on zone %s --message ...\n", programName(), clean(z.Zone))
	}
}

// showProgress tells what has come of a zone since it was cut off.
func (s *session) showProgress(z *zoneView, why string) {
	if z.Hold != nil || z.State != breaker.Open && z.State != breaker.HalfOpen {
		return
	}
	if z.Evidence != "" && z.Evidence != why {
		s.printf("latest:       %s\n", clean(z.Evidence))
	}
	if z.State == breaker.Open {
		s.printf("next try:     in %s, by itself", brief(time.Duration(z.RetryAfterMS)*time.Millisecond))
		if z.Turn > 1 {
			s.printf("; cut off %d times in this episode", z.Turn)
		}
		s.printf("\n")
		return
	}
	s.printf("being tried:  %s at once\n", plural(z.Window, "request"))
}

func (s *session) showWorkers(z *zoneView) {
	limit := fmt.Sprintf("at most %d", z.MaxInflight)
	if z.Observe {
		limit = "no limit in mode observe"
	}
	worst := ""
	if z.WorstOccupied > 0 && z.State != breaker.Calm {
		worst = fmt.Sprintf("; %d at worst in this episode", z.WorstOccupied)
	}
	s.printf("workers:      %d live, %d hung; %s%s\n", z.Live, z.Hung, limit, worst)
	if z.Remembered > 0 {
		s.printf("              %d of the hung since before firebreak was restarted: counted until the zone answers, for hung_hold at most\n", z.Remembered)
	}
	s.printf("waiting:      %s; %s open\n", plural(z.Waiting, "request"), plural(z.Streams, "stream"))
	if z.FromMemory > 0 {
		s.printf("from memory:  %s answered\n", plural(int(z.FromMemory), "request"))
	}
}

// showStores names the stores that are, and those that were, the cause. Counts of
// the window are left out when it holds none: requests that hang on have left it.
func (s *session) showStores(z *zoneView) {
	if z.StoresSeen > 0 {
		bad := ""
		if z.StoresBad > 0 {
			bad = fmt.Sprintf(", %d of them bad", z.StoresBad)
		}
		s.printf("stores:       %d seen lately%s\n", z.StoresSeen, bad)
	}
	if z.QuarantinedCount > 0 {
		s.printf("quarantined:  %s\n", clean(someOf(z.Quarantined, z.QuarantinedCount, 20)))
	}
	if z.HeldStores > 0 {
		s.printf("by hand:      %s isolated or admitted\n", plural(z.HeldStores, "store"))
	}
	now, before := z.culprits()
	if len(now) > 0 {
		s.printf("culprits:     %s\n", clean(someOf(now, len(now), 10)))
	}
	if len(before) > 0 {
		s.printf("before:       %s; now well (%s culprits --zone %s)\n", clean(someOf(before, len(before), 5)), programName(), clean(z.Zone))
	}
}

// culprits are the stores that are named as a cause now, and those that were in an
// earlier episode.
func (z *zoneView) culprits() (now, before []string) {
	for i := range z.Culprits {
		c := &z.Culprits[i]
		if c.State != breaker.Calm || c.Hung > 0 || z.State != breaker.Calm && !c.LastSeen.Before(z.EpisodeSince) {
			now = append(now, c.Store)
		} else {
			before = append(before, c.Store)
		}
	}
	return now, before
}

// counts writes what is not zero, in the order of the outcomes.
func counts(of map[string]uint64) string {
	var parts []string
	names := []string{"zone_open", "quarantine", "busy"}
	for _, o := range breaker.Outcomes() {
		names = append(names, o.String())
	}
	for _, name := range names {
		if of[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, of[name]))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (s *session) showHold(h *breaker.Hold, what string) {
	if h == nil {
		return
	}
	as := "isolated: all of its requests are refused"
	if h.As != breaker.Open {
		as = "admitted: its breaker does not open"
	}
	end := "until it is handed back (" + programName() + " auto " + what + ")"
	if !h.Until.IsZero() {
		end = "until " + s.clock(h.Until)
	}
	s.printf("by hand:      %s, since %s%s%s, %s\n", as, s.clock(h.Since), by(h.By), because(h.Reason), clean(end))
}

func by(person string) string {
	if person == "" {
		return ""
	}
	return " by " + clean(person)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + clean(reason)
}

func (s *session) showMaintenance(sw *switchView) {
	if sw == nil {
		return
	}
	until := ""
	if !sw.Until.IsZero() {
		until = ", until " + s.clock(sw.Until)
	}
	s.printf("maintenance:  %s of %s since %s%s%s%s\n", sw.Mode, clean(sw.Target.String()), s.clock(sw.Since), until, by(sw.By), because(sw.Reason))
}

// storeView is a store as the API shows it.
type storeView struct {
	breaker.StoreStatus
	Found       string        `json:"found"`
	ZoneState   breaker.State `json:"zone_state"`
	Maintenance *switchView   `json:"maintenance"`
	verdictView
}

type verdictView struct {
	Verdict      string `json:"verdict"`
	Reason       string `json:"reason"`
	RefusedForMS int64  `json:"refused_for_ms"`
	Why          string `json:"why"`
}

func (s *session) showVerdict(v *verdictView) {
	color := map[string]string{"admitted": green, "refused": red}[v.Verdict]
	s.printf("%s", s.paint(color, v.Verdict))
	if v.Reason != "" {
		s.printf(" (%s)", clean(v.Reason))
	}
	s.printf(": %s", clean(v.Why))
	if v.RefusedForMS > 0 {
		s.printf("; next try in %s", brief(time.Duration(v.RefusedForMS)*time.Millisecond))
	}
	s.printf("\n")
}

var storeCommand = &command{
	use: "store ID", short: "Shows one store, by its id or a key: where it lives, whether it is let in, and why not", args: cobra.ExactArgs(1),
	examples: []string{"store s123", "store key-of-s123"},
	run: func(s *session) error {
		var v storeView
		if goOn, err := s.get("/firebreak/stores/"+url.PathEscape(s.args[0]), &v); !goOn {
			return err
		}
		s.printf("store %s lives in zone %s; its requests are ", clean(v.StoreStatus.Store), clean(v.Zone))
		s.showVerdict(&v.verdictView)
		s.printf("breaker:      %s", storeWord(v.State))
		if v.State != breaker.Calm {
			s.printf(" since %s: %s", s.since(v.Since), clean(v.Evidence))
		}
		s.printf("\nzone:         %s\n", stateWord(v.ZoneState))
		s.showHold(v.Hold, "store "+v.StoreStatus.Store)
		s.showMaintenance(v.Maintenance)
		s.printf("workers:      %d live, %d hung; %s lost in hung requests\n", v.Live, v.Hung, brief(time.Duration(v.WorkerSeconds*float64(time.Second))))
		if len(v.Recent) > 0 {
			s.printf("recently:     %s (latest first)\n", strings.Join(v.Recent, ", "))
		}
		return nil
	},
}

// explainView is what would happen to a request.
type explainView struct {
	Method, URL string
	Handlers    []struct {
		Keys    []string `json:"keys"`
		Key     string   `json:"key"`
		FoundBy string   `json:"found_by"`
		Store   string   `json:"store"`
		Zone    string   `json:"zone"`
		Timeout string   `json:"timeout"`
		verdictView
	} `json:"handlers"`
}

var explainCommand = &command{
	use: "explain URL", short: "Says what would happen to a request now, and why", args: cobra.ExactArgs(1),
	examples: []string{"explain '/search?key=abc'", "explain /search --header X-API-Key:abc", `explain /search --method POST --body '{"key":"abc"}' --header Content-Type:application/json`},
	flags: func(f *pflag.FlagSet) {
		f.String("method", "", "The request's method (default GET)")
		f.StringArray("header", nil, "A header of the request, as Name:value; may be repeated")
		f.String("body", "", "The request's body")
	},
	run: func(s *session) error {
		query := url.Values{"url": {s.args[0]}}
		query["header"], _ = s.flags.GetStringArray("header")
		for _, name := range []string{"method", "body"} {
			if value := s.text(name); value != "" {
				query.Set(name, value)
			}
		}
		var v explainView
		if goOn, err := s.get("/firebreak/explain?"+query.Encode(), &v); !goOn {
			return err
		}
		for i := range v.Handlers {
			h := &v.Handlers[i]
			if len(v.Handlers) > 1 {
				s.printf("by firebreak directive %d of %d (keys: %s):\n", i+1, len(v.Handlers), clean(strings.Join(h.Keys, ", ")))
			}
			s.printf("%s %s would be ", clean(v.Method), clean(v.URL))
			s.showVerdict(&h.verdictView)
			if h.Key != "" {
				s.printf("key:     %s, found by %s\n", clean(h.Key), clean(h.FoundBy))
			}
			if h.Store != "" {
				s.printf("store:   %s in zone %s, %s until the first byte\n", clean(h.Store), clean(h.Zone), h.Timeout)
			}
		}
		return nil
	},
}

// zoneNames asks for the zones, for completion; what goes wrong is nobody's
// business there.
func (s *session) zoneNames() (names []string) {
	s.json = false
	var zones []struct{ Zone string }
	if goOn, err := s.get("/firebreak/zones?limit=0", &zones); !goOn || err != nil {
		return nil
	}
	for _, zone := range zones {
		names = append(names, zone.Zone)
	}
	return names
}

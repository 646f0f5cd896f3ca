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
	color := map[breaker.State]string{breaker.Calm: green, breaker.Troubled: yellow, breaker.Open: red, breaker.HalfOpen: red}[z.State]
	s.printf("zone %s is %s", clean(z.Zone), s.paint(color, zoneWord(&z.ZoneStatus)))
	if z.State != breaker.Calm {
		s.printf(" since %s", s.since(z.Since))
	}
	s.printf("\n")
	if z.Evidence != "" {
		s.printf("why:          %s\n", clean(z.Evidence))
	}
	if z.State == breaker.Open && z.Hold == nil {
		s.printf("next try:     in %s, by itself\n", brief(time.Duration(z.RetryAfterMS)*time.Millisecond))
	}
	if z.State == breaker.HalfOpen {
		s.printf("triage:       %s let in at once\n", plural(z.Window, "request"))
	}
	s.showHold(z.Hold, "zone "+z.Zone)
	s.showMaintenance(z.Maintenance)
	s.printf("workers:      %d live, %d hung (%d explained), limit %d and %d to probe; worst of this episode %d\n", z.Live, z.Hung, z.Explained, z.MaxInflight, z.ProbeSlots, z.WorstOccupied)
	if z.Remembered > 0 {
		s.printf("              %d of the hung since before firebreak was restarted: counted until the zone answers, for hung_hold at most\n", z.Remembered)
	}
	s.printf("waiting:      %s; %s open\n", plural(z.Waiting, "request"), plural(z.Streams, "stream"))
	s.printf("stores:       %d seen in the window, %d bad, %d in quarantine, %d isolated or admitted by hand\n", z.StoresSeen, z.StoresBad, z.QuarantinedCount, z.HeldStores)
	if len(z.Quarantined) > 0 {
		s.printf("quarantined:  %s\n", clean(cut(strings.Join(z.Quarantined, ", "), 400)))
	}
	s.printf("outcomes:     %s\n", counts(z.Outcomes))
	s.printf("refused:      %s\n", counts(z.Refusals))
	if z.State == breaker.Open && z.Hold == nil {
		s.printf("\nnothing to do for other zones. To tell clients of this one why: %s maintenance on zone %s --message ...\n", programName(), clean(z.Zone))
	}
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
	if goOn, err := s.get("/firebreak/zones", &zones); !goOn || err != nil {
		return nil
	}
	for _, zone := range zones {
		names = append(names, zone.Zone)
	}
	return names
}

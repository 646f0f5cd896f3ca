package cli

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// holdCommand is open, close or reset: a breaker held by hand, on this sidecar
// alone.
func holdCommand(action string) *command {
	c := &command{
		use: action + " zone NAME | store ID", args: cobra.ExactArgs(2),
		long:     "This is for one sidecar, and ends with its process. For a decision that holds\neverywhere and stays, use maintenance.",
		complete: completeTarget,
		flags: func(f *pflag.FlagSet) {
			f.String("reason", "", "Why")
			f.String("by", person(), "Who")
			if action != "reset" {
				f.Duration("for", 0, "End after this time (default: when it is reset)")
			}
		},
		run: func(s *session) error { return runHold(s, action) },
	}
	switch action {
	case "open":
		c.short = "Holds a breaker open by hand: its requests are refused"
		c.examples = []string{"open zone z7 --for 10m --reason 'restarting its database'", "open store s123"}
	case "close":
		c.short = "Holds a breaker closed by hand: it never opens, limits hold all the same"
		c.examples = []string{"close zone z7 --for 1h --reason 'slow by design tonight'"}
	default:
		c.short = "Ends a hold, an open state or a quarantine: who is ill has to show it again"
		c.examples = []string{"reset zone z7", "reset store s123"}
	}
	return c
}

func runHold(s *session, action string) error {
	kind, name := s.args[0], s.args[1]
	if kind != "zone" && kind != "store" {
		return fmt.Errorf("%q is neither zone nor store; write for example: %s %s zone z7", kind, programName(), action)
	}
	body := map[string]string{"reason": s.text("reason"), "by": s.text("by")}
	if length, err := s.flags.GetDuration("for"); err == nil && length != 0 {
		if length < 0 {
			return fmt.Errorf("--for must not be negative")
		}
		body["for"] = length.String()
	}
	var v struct {
		Zone, Store string
		Hold        *breaker.Hold
	}
	ctx, cancel := s.context()
	defer cancel()
	if goOn, err := s.ask(ctx, http.MethodPost, "/firebreak/"+kind+"s/"+url.PathEscape(name)+"/"+action, body, &v); !goOn {
		return err
	}
	what := "zone " + v.Zone
	if v.Store != "" {
		what = "store " + v.Store + " (zone " + v.Zone + ")"
	}
	if v.Hold == nil {
		s.printf("%s: reset; it is judged again from now on\n", clean(what))
		return nil
	}
	s.printf("%s\n", clean(what))
	s.showHold(v.Hold, kind+" "+name)
	return nil
}

// completeTarget offers what may come next in "zone NAME" or "store ID". Stores
// are too many to offer.
func completeTarget(s *session, args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"store", "zone"}
	case len(args) == 1 && args[0] == "zone":
		return s.zoneNames()
	}
	return nil
}

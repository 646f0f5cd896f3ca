package cli

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/breaker"
)

const longByHand = `This is for one sidecar, and a restart keeps it. For a decision that holds on
every sidecar, use maintenance.

It asks before it changes anything. Without a terminal it needs --yes.`

// byHand is isolate, admit or auto: what people do to a zone's or store's
// breaker, on one sidecar.
type byHand struct {
	action string
	does   string // what the question says it does
	reason bool   // it needs one
}

var (
	isolateCommand = byHandCommand(byHand{"isolate", "all of its requests are refused", true},
		"Isolates a zone or store by hand: all of its requests are refused",
		"isolate zone z7 --for 10m --reason 'restarting its database'", "isolate store s123 --reason 'damaged index' --yes")
	admitCommand = byHandCommand(byHand{"admit", "its breaker does not open, whatever happens; limits still hold", true},
		"Admits a zone or store by hand: its breaker does not open, limits still hold",
		"admit zone z7 --for 1h --reason 'slow by design tonight'")
	autoCommand = byHandCommand(byHand{"auto", "", false},
		"Hands a zone or store back to its breaker, which forgets what it has found out",
		"auto zone z7", "auto store s123 --yes")
)

func byHandCommand(b byHand, short string, examples ...string) *command {
	return &command{
		use: b.action + " zone NAME | store ID", short: short, long: longByHand, examples: examples,
		args: cobra.ExactArgs(2), complete: completeTarget, run: b.run,
		flags: func(f *pflag.FlagSet) {
			reason := "Why, for the log and other operators"
			if b.reason {
				reason += " (required; asked for on a terminal)"
				f.Duration("for", 0, "End after this time (default: when it is handed back)")
			}
			f.String("reason", "", reason)
			f.String("by", person(), "Who")
			f.BoolP("yes", "y", false, "Do not ask; required without a terminal")
		},
	}
}

func (b *byHand) run(s *session) error {
	kind, name := s.args[0], s.args[1]
	if kind != "zone" && kind != "store" {
		return fmt.Errorf("%q is neither zone nor store; write for example: %s %s zone z7", kind, programName(), b.action)
	}
	length, _ := s.flags.GetDuration("for")
	if length < 0 {
		return errors.New("--for must not be negative")
	}
	reason, err := b.why(s)
	if err != nil {
		return err
	}
	if err := s.sure(b.question(kind+" "+name, length)); err != nil {
		return err
	}
	body := map[string]string{"reason": reason, "by": s.text("by")}
	if length > 0 {
		body["for"] = length.String()
	}
	var v struct {
		Zone, Store string
		Hold        *breaker.Hold
		Observe     bool
	}
	ctx, cancel := s.context()
	defer cancel()
	if goOn, err := s.ask(ctx, http.MethodPost, "/firebreak/"+kind+"s/"+url.PathEscape(name)+"/"+b.action, body, &v); !goOn {
		return err
	}
	what := "zone " + v.Zone
	if v.Store != "" {
		what = "store " + v.Store + " (zone " + v.Zone + ")"
	}
	if v.Hold == nil {
		s.printf("%s: handed back to its breaker, which judges anew\n", clean(what))
		return nil
	}
	s.printf("%s\n", clean(what))
	s.showHold(v.Hold, kind+" "+name)
	if v.Observe {
		s.printf("%s\n", s.paint(yellow, "zone "+clean(v.Zone)+" is in mode observe: nothing is refused, by hand or otherwise"))
	}
	return nil
}

// why is the reason, asked for if need be.
func (b *byHand) why(s *session) (string, error) {
	reason := strings.TrimSpace(s.text("reason"))
	if reason != "" || !b.reason {
		return reason, nil
	}
	if isTerminal(s.in) {
		fmt.Fprint(s.err, "Reason, for the log and other operators: ")
		reason = s.line()
	}
	if reason == "" {
		return "", fmt.Errorf("%s needs a reason, nothing was changed; add for example: --reason 'restarting its database'", b.action)
	}
	return reason, nil
}

func (b *byHand) question(what string, length time.Duration) string {
	what = clean(what)
	if b.action == "auto" {
		return fmt.Sprintf("Hand %s back to its breaker, on this sidecar: quarantines end and what it has found out is forgotten.", what)
	}
	end := fmt.Sprintf("until somebody hands it back (%s auto %s)", programName(), what)
	if length > 0 {
		end = "for " + brief(length)
	}
	return fmt.Sprintf("%s %s %s, on this sidecar: %s.", strings.ToUpper(b.action), what, end, b.does)
}

// sure asks whether to go on, unless --yes says so.
func (s *session) sure(question string) error {
	if s.is("yes") {
		return nil
	}
	if !isTerminal(s.in) {
		return fmt.Errorf("%s Nothing was changed; say --yes if that is meant", question)
	}
	fmt.Fprintf(s.err, "%s Go on? [y/N] ", question)
	if answer := strings.ToLower(s.line()); answer != "y" && answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// line is what a person types next.
func (s *session) line() string {
	if s.lines == nil {
		s.lines = bufio.NewReader(s.in)
	}
	text, _ := s.lines.ReadString('\n')
	return strings.TrimSpace(text)
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

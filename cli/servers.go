package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// serverView is an API server as the API shows it.
type serverView struct {
	breaker.ServerStatus
	Drain *switchView `json:"drain"`
}

var serversCommand = &command{
	use: "servers", short: "Lists the API servers", args: cobra.NoArgs,
	examples: []string{"servers", "servers --json"},
	run: func(s *session) error {
		var views []serverView
		if goOn, err := s.get("/firebreak/servers", &views); !goOn {
			return err
		}
		s.showServers(views)
		return nil
	},
}

func (s *session) showServers(views []serverView) {
	if len(views) == 0 {
		s.printf("no API servers are known: they are the upstreams of a reverse_proxy with transport firebreak or lb_policy firebreak\n")
		return
	}
	rows := [][]string{{"SERVER", "STATE", "SINCE", "LIVE", "HUNG", "WORKERS", "LOST", "WHY"}}
	for i := range views {
		rows = append(rows, s.serverRow(&views[i]))
	}
	s.table(rows)
	for i := range views {
		views[i].showMeasured(s)
	}
}

// showMeasured tells how many workers the server was found to have, if that is not
// what is set.
func (v *serverView) showMeasured(s *session) {
	switch m := v.Measured; {
	case m == nil:
	case m.Wrong != "":
		s.printf("%s server %s: %s; write into the firebreak settings: %s\n", s.paint(yellow, "warning:"), v.Address, clean(m.Wrong), clean(m.Write))
	case m.Problem != "":
		s.printf("%s server %s: how busy it is cannot be read: %s\n", s.paint(yellow, "warning:"), v.Address, clean(m.Problem))
	}
}

func (s *session) serverRow(v *serverView) []string {
	workers := ""
	if v.Workers > 0 {
		workers = strconv.Itoa(v.Workers)
	}
	return []string{v.Address, v.stateWord(), s.clock(v.stateSince()), strconv.Itoa(v.Live), strconv.Itoa(v.Hung), workers, number(v.Lost), cut(v.why(s), 100)}
}

// stateWord is the server's state for people. What an operator wants comes first.
func (v *serverView) stateWord() string {
	if v.Draining {
		if v.Live == 0 {
			return "drained"
		}
		return "draining"
	}
	return strings.ReplaceAll(v.State.String(), "_", " ")
}

func (v *serverView) stateSince() time.Time {
	if v.Draining && v.Drain != nil {
		return v.Drain.Since
	}
	return v.Since
}

func (v *serverView) why(s *session) string {
	if !v.Draining || v.Drain == nil {
		if v.Check != "" {
			return v.Evidence + "; its check fails: " + v.Check
		}
		return v.Evidence
	}
	text := v.Drain.Reason
	if v.Drain.By != "" {
		text += " (" + v.Drain.By + ")"
	}
	if !v.Drain.Until.IsZero() {
		text += " until " + s.clock(v.Drain.Until)
	}
	if v.State != breaker.InService {
		text += "; " + strings.ReplaceAll(v.State.String(), "_", " ") + ": " + v.Evidence
	}
	return strings.TrimSpace(text)
}

var serverCommand = &command{
	use: "server <command>", short: "Drains an API server, and takes it back into service",
	long: "A server that is drained gets no new requests from any sidecar that shares the\nstate; what is under way there goes on. See maintenance.",
	examples: []string{
		"server drain 10.0.0.7:9000 --reason deploy --wait", "server undrain 10.0.0.7:9000",
	},
	sub: []*command{drainCommand, undrainCommand},
}

// waitLimit is how long drain --wait waits unless --timeout says otherwise.
const waitLimit = 10 * time.Minute

var drainCommand = &command{
	use: "drain ADDRESS", short: "Sends an API server no new requests",
	long: `ADDRESS is the server's as "servers" shows it: 10.0.0.7:9000, unix//run/api.sock.

With --wait it waits until no request is under way there on this sidecar, 10 minutes
unless --timeout says otherwise, and tells how many hang: their clients were
answered, and their workers are busy until the server is restarted. If the time is
over first, the exit code is 4 and the server stays drained.

If all servers are drained, requests are sent to them all the same.`,
	examples: []string{"drain 10.0.0.7:9000 --reason deploy --wait && ssh 10.0.0.7 systemctl restart api", "drain unix//run/api/1.sock --for 10m"},
	args:     cobra.ExactArgs(1), complete: completeServer,
	flags: func(f *pflag.FlagSet) {
		f.String("reason", "", "Why, for the audit log and other operators")
		f.String("by", person(), "Who")
		f.String("ticket", "", "Where the work is tracked")
		f.Duration("for", 0, "End after this time (default: when it is undrained)")
		f.Bool("wait", false, "Wait until no request is under way there")
	},
	run: runDrain,
}

var undrainCommand = &command{
	use: "undrain ADDRESS", short: "Takes a drained API server back into service",
	examples: []string{"undrain 10.0.0.7:9000"},
	args:     cobra.ExactArgs(1), complete: completeServer,
	flags: func(f *pflag.FlagSet) {
		f.String("reason", "", "Why, for the audit log")
		f.String("by", person(), "Who")
	},
	run: runUndrain,
}

func completeServer(s *session, args []string) []string {
	var views []serverView
	s.json = false
	if goOn, _ := s.get("/firebreak/servers", &views); !goOn || len(args) > 0 {
		return nil
	}
	names := make([]string, len(views))
	for i := range views {
		names[i] = views[i].Address
	}
	return names
}

func serverPath(address string) string { return "/firebreak/servers/" + url.PathEscape(address) }

// drainChange is what a change of a drain did.
type drainChange struct {
	Changed  bool   `json:"changed"`
	Revision uint64 `json:"revision"`
}

func runDrain(s *session) error {
	length, _ := s.flags.GetDuration("for")
	if length < 0 {
		return errors.New("--for must not be negative")
	}
	wait := s.is("wait")
	if wait && !s.flags.Changed("timeout") {
		s.limit = waitLimit
	}
	body := map[string]string{"reason": s.text("reason"), "by": s.text("by"), "ticket": s.text("ticket")}
	if length > 0 {
		body["for"] = length.String()
	}
	ctx, cancel := s.context()
	defer cancel()
	began := s.now()
	var v drainChange
	if wait {
		// What is printed is how the server is in the end.
		defer func(json bool) { s.json = json }(s.json)
	}
	asked := *s
	asked.json = s.json && !wait
	if goOn, err := asked.ask(ctx, http.MethodPut, serverPath(s.args[0])+"/drain", body, &v); !goOn {
		return err
	}
	if !s.json {
		s.showDrained(&v)
	}
	if !wait {
		return nil
	}
	return s.awaitDrained(ctx, began)
}

func (s *session) showDrained(v *drainChange) {
	if v.Changed {
		s.printf("%s gets no new requests; revision %d\n", clean(s.args[0]), v.Revision)
	} else {
		s.printf("%s is drained already; revision %d\n", clean(s.args[0]), v.Revision)
	}
}

// awaitDrained waits until no request is live on the server.
func (s *session) awaitDrained(ctx context.Context, began time.Time) error {
	const every = 250 * time.Millisecond
	told := -1
	for {
		quiet := *s
		quiet.json = false
		var v serverView
		if _, err := quiet.ask(ctx, http.MethodGet, serverPath(s.args[0]), nil, &v); err != nil && ctx.Err() == nil {
			return err
		}
		switch {
		case ctx.Err() != nil:
			if !s.json {
				s.printf("still under way there after %s: %s; it stays drained\n", brief(s.now().Sub(began)), plural(max(told, 0), "request"))
			}
			return errTrouble
		case v.Live == 0:
			return s.showEmpty(&v, began)
		case v.Live != told && !s.json && isTerminal(s.out):
			s.printf("%s under way\n", plural(v.Live, "request"))
		}
		told = v.Live
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

// showEmpty tells that nothing is live on the server, and what hangs.
func (s *session) showEmpty(v *serverView, began time.Time) error {
	if s.json {
		_, err := s.get(serverPath(s.args[0]), v)
		return err
	}
	hangs := "and none hangs"
	if v.Hung > 0 {
		hangs = s.paint(yellow, fmt.Sprintf("but %s: their clients were answered, and their workers are busy until the server is restarted", plural(v.Hung, "hung request")))
	}
	s.printf("no request is under way there after %s, %s\n", brief(s.now().Sub(began)), hangs)
	return nil
}

func runUndrain(s *session) error {
	query := url.Values{}
	for _, name := range []string{"reason", "by"} {
		if value := s.text(name); value != "" {
			query.Set(name, value)
		}
	}
	ctx, cancel := s.context()
	defer cancel()
	var v drainChange
	if goOn, err := s.ask(ctx, http.MethodDelete, serverPath(s.args[0])+"/drain?"+query.Encode(), nil, &v); !goOn {
		return err
	}
	if v.Changed {
		s.printf("%s gets requests again; revision %d\n", clean(s.args[0]), v.Revision)
	} else {
		s.printf("%s was not drained; revision %d\n", clean(s.args[0]), v.Revision)
	}
	return nil
}

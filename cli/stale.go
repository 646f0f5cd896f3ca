package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/stale"
)

var staleCommand = &command{
	use: "stale <command>", short: "Shows, purges and switches answers from memory",
	long: `A handler with the option stale keeps the last good answers, and gives them where
it would refuse a request. "off" and "on" hold on every sidecar that shares the
state; each sidecar has a memory of its own, and "purge" is for this one.`,
	examples: []string{"stale show", "stale purge store s123", "stale off --reason 'z7 has wrong prices'", "stale on"},
	sub:      []*command{staleShowCommand, stalePurgeCommand, staleOffCommand, staleOnCommand},
}

// staleView is what is known of answers from memory.
type staleView struct {
	stale.Figures
	Given uint64      `json:"given"`
	Off   *switchView `json:"off"`
}

var staleShowCommand = &command{
	use: "show", short: "Shows what is kept, and how much of it was given", args: cobra.NoArgs,
	examples: []string{"show", "show --json"},
	run: func(s *session) error {
		var v staleView
		if goOn, err := s.get("/firebreak/stale", &v); !goOn {
			return err
		}
		switch {
		case v.Off != nil:
			s.printf("%s\n", s.paint(yellow, "no answers are given from memory: "+clean(v.Off.Reason)+" ("+clean(v.Off.By)+")"))
		case v.MaxBytes == 0:
			s.printf("no answers are kept: no firebreak handler has the option stale\n")
		}
		s.printf("kept:     %s of %s, %s of at most %s\n", plural(int(v.Answers), "answer"), plural(int(v.Stores), "store"),
			humanize.IBytes(uint64(v.Bytes)), humanize.IBytes(uint64(v.MaxBytes)))
		s.printf("given:    %s\n", number(v.Given))
		s.printf("copied:   %s, %s evicted, %s purged\n", number(uint64(v.Copied)), number(uint64(v.Evicted)), number(uint64(v.Purged)))
		return nil
	},
}

var stalePurgeCommand = &command{
	use: "purge zone NAME | store ID | all", short: "Forgets answers of a zone, a store or all, on this sidecar",
	examples: []string{"purge zone z7", "purge store s123", "purge all"},
	args:     cobra.RangeArgs(1, 2), complete: completePurge,
	run: func(s *session) error {
		body := map[string]any{}
		switch {
		case len(s.args) == 1 && s.args[0] == "all":
			body["all"] = true
		case len(s.args) == 2 && (s.args[0] == "zone" || s.args[0] == "store"):
			body[s.args[0]] = s.args[1]
		default:
			return fmt.Errorf("it names nothing that can be purged; write for example: %s stale purge zone z7", programName())
		}
		var v struct {
			Target string `json:"target"`
			Purged int    `json:"purged"`
		}
		ctx, cancel := s.context()
		defer cancel()
		if goOn, err := s.ask(ctx, http.MethodPost, "/firebreak/stale/purge", body, &v); !goOn {
			return err
		}
		s.printf("%s: %s purged\n", clean(v.Target), plural(v.Purged, "answer"))
		return nil
	},
}

func completePurge(s *session, args []string) []string {
	if len(args) == 0 {
		return []string{"all", "store", "zone"}
	}
	return completeTarget(s, args)
}

var staleOffCommand = &command{
	use: "off", short: "Gives no answers from memory, on every sidecar", args: cobra.NoArgs,
	long:     "Requests are refused then where they would have been answered from memory. What is\nkept stays.",
	examples: []string{"off --reason 'z7 has wrong prices'", "off --for 2h"},
	flags: func(f *pflag.FlagSet) {
		f.String("reason", "", "Why, for the audit log and other operators")
		f.String("by", person(), "Who")
		f.String("ticket", "", "Where the work is tracked")
		f.Duration("for", 0, "End after this time (default: when it is switched on)")
	},
	run: func(s *session) error {
		length, _ := s.flags.GetDuration("for")
		if length < 0 {
			return errors.New("--for must not be negative")
		}
		body := map[string]string{"reason": s.text("reason"), "by": s.text("by"), "ticket": s.text("ticket")}
		if length > 0 {
			body["for"] = length.String()
		}
		return s.switchStale(http.MethodPut, "/firebreak/stale/off", body, "no answers are given from memory")
	},
}

var staleOnCommand = &command{
	use: "on", short: "Gives answers from memory again, on every sidecar", args: cobra.NoArgs,
	examples: []string{"on"},
	flags: func(f *pflag.FlagSet) {
		f.String("reason", "", "Why, for the audit log")
		f.String("by", person(), "Who")
	},
	run: func(s *session) error {
		query := url.Values{"reason": {s.text("reason")}, "by": {s.text("by")}}
		return s.switchStale(http.MethodDelete, "/firebreak/stale/off?"+query.Encode(), nil, "answers are given from memory")
	},
}

func (s *session) switchStale(method, path string, body any, now string) error {
	ctx, cancel := s.context()
	defer cancel()
	var v drainChange
	if goOn, err := s.ask(ctx, method, path, body, &v); !goOn {
		return err
	}
	already := ""
	if !v.Changed {
		already = ", as before"
	}
	s.printf("%s%s; revision %d\n", now, already, v.Revision)
	return nil
}

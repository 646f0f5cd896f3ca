package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/recovery"
)

var recoverCommand = &command{
	use: "recover [zone NAME | store ID...]", short: "Checks stores in maintenance, and releases each as soon as it has passed",
	long: `The server sends each store's check to the API server and releases the stores
that pass it several times in a row. Those that fail stay in maintenance, with
the reason. It goes on in the server: look at it with "recover show", or --watch
it; what is watched can be left with Ctrl-C and goes on.

With --watch the exit code is 4 if stores fail, or if it pauses or is cancelled.`,
	examples: []string{
		"recover zone z7 --watch", "recover store s1 s2 s3", "recover --stores-file repaired.txt --batch 50 --batch-watch 30s",
		"recover zone z7 --dry-run --watch", "recover list", "recover pause 20200702-125900-ab2c --reason 'looks bad'",
	},
	args:     cobra.ArbitraryArgs,
	complete: completeTarget,
	flags: func(f *pflag.FlagSet) {
		f.String("reason", "", "Why, for the audit log and other operators")
		f.String("by", person(), "Who")
		f.String("stores-file", "", "A file with a store's id on each line; - is standard input")
		f.Bool("dry-run", false, "Only check and report; no store is released")
		f.Bool("watch", false, "Show how it goes until it ends")
		f.Int("parallel", 0, "How many stores are checked at a time (default: as configured)")
		f.Int("times", 0, "How many checks in a row a store must pass (default: as configured)")
		f.Int("retries", -1, "How often a failing store is tried again (default: as configured)")
		f.Duration("every", -1, "The time between two checks of a store (default: as configured)")
		f.Int("batch", 0, "Release so many stores at a time (default: as configured)")
		f.Duration("batch-watch", 0, "How long a batch is watched before the next (default: as configured)")
	},
	run: runRecover,
	sub: []*command{recoverListCommand, recoverShowCommand, steerCommand("pause"), steerCommand("resume"), steerCommand("cancel"), recoverWorkCommand},
}

// recoverRequest is the body of a call that begins a recovery.
type recoverRequest struct {
	Zone     string   `json:"zone,omitempty"`
	Stores   []string `json:"stores,omitempty"`
	By       string   `json:"by,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	DryRun   bool     `json:"dry_run,omitempty"`
	Parallel int      `json:"parallel,omitempty"`
	Times    int      `json:"times,omitempty"`
	Every    string   `json:"every,omitempty"`
	Retries  *int     `json:"retries,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	Watch    string   `json:"watch,omitempty"`
}

func runRecover(s *session) error {
	q := recoverRequest{By: s.text("by"), Reason: s.text("reason"), DryRun: s.is("dry-run")}
	if err := q.target(s); err != nil {
		return err
	}
	if err := q.settings(s); err != nil {
		return err
	}
	ctx, cancel := s.context()
	defer cancel()
	var v recovery.View
	answer, err := s.call(ctx, http.MethodPost, "/firebreak/recoveries", q)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, &v); err != nil {
		return fmt.Errorf("the answer of %s is not understood; is the server of another version? %w", s.address, err)
	}
	if s.is("watch") {
		return s.watchRecovery(v.ID)
	}
	if s.json {
		_, err = s.out.Write(answer)
		return err
	}
	s.printf("recovery %s has begun: %s, each must pass %d checks in a row, %s apart, %d at a time\n",
		v.ID, plural(v.Total, "store"), v.Times, v.Every, v.Parallel)
	s.printf("watch it: %s recover show %s --watch\n", programName(), v.ID)
	return nil
}

// target reads what is to be recovered.
func (q *recoverRequest) target(s *session) error {
	if name := s.text("stores-file"); name != "" {
		stores, err := s.readStores(name)
		if err != nil {
			return err
		}
		q.Stores = stores
	}
	args := s.args
	switch {
	case len(args) == 0:
	case args[0] == "zone" && len(args) == 2:
		q.Zone = args[1]
	case args[0] == "zone":
		return fmt.Errorf("one zone at a time; write for example: %s recover zone z7", programName())
	case args[0] == "store" || args[0] == "stores":
		q.Stores = append(q.Stores, args[1:]...)
	default:
		return fmt.Errorf("%q is neither zone nor store; write for example: %s recover zone z7", args[0], programName())
	}
	switch {
	case q.Zone != "" && len(q.Stores) > 0:
		return errors.New("give either a zone or stores")
	case q.Zone == "" && len(q.Stores) == 0:
		return fmt.Errorf("it names nothing; write for example: %s recover zone z7", programName())
	}
	return nil
}

// settings reads the flags that replace what is configured.
func (q *recoverRequest) settings(s *session) error {
	for name, to := range map[string]*int{"parallel": &q.Parallel, "times": &q.Times, "batch": &q.Batch} {
		if *to, _ = s.flags.GetInt(name); *to < 0 || *to == 0 && s.flags.Changed(name) && name != "batch" {
			return fmt.Errorf("--%s must be at least 1", name)
		}
	}
	for name, to := range map[string]*string{"every": &q.Every, "batch-watch": &q.Watch} {
		if d, _ := s.flags.GetDuration(name); s.flags.Changed(name) {
			if d < 0 {
				return fmt.Errorf("--%s must not be negative", name)
			}
			*to = d.String()
		}
	}
	if n, _ := s.flags.GetInt("retries"); s.flags.Changed("retries") {
		if n < 0 {
			return errors.New("--retries must not be negative")
		}
		q.Retries = &n
	}
	return nil
}

var recoverListCommand = &command{
	use: "list", short: "Lists the recoveries, newest first", args: cobra.NoArgs, examples: []string{"list"},
	run: func(s *session) error {
		var v struct{ Recoveries []recovery.View }
		if goOn, err := s.get("/firebreak/recoveries", &v); !goOn {
			return err
		}
		if len(v.Recoveries) == 0 {
			s.printf("no recoveries\n")
			return nil
		}
		rows := [][]string{{"ID", "OF", "STATE", "BEGAN", "BY", "RELEASED", "FAILING", "REMAINING", "TOTAL", "REASON"}}
		for i := range v.Recoveries {
			r := &v.Recoveries[i]
			rows = append(rows, []string{
				r.ID, ofWhat(r), string(r.State), s.clock(r.Began), r.By,
				strconv.Itoa(r.Released), strconv.Itoa(r.Failing), strconv.Itoa(r.Remaining), strconv.Itoa(r.Total), cut(r.Reason, 40),
			})
		}
		s.table(rows)
		return nil
	},
}

// ofWhat is what a recovery is about.
func ofWhat(r *recovery.View) string {
	what := "stores"
	if r.Zone != "" {
		what = "zone " + r.Zone
	}
	if r.DryRun {
		what += " (dry run)"
	}
	return what
}

var recoverShowCommand = &command{
	use: "show ID", short: "Shows a recovery and the stores that fail", args: cobra.ExactArgs(1),
	examples: []string{"show 20200702-125900-ab2c", "show 20200702-125900-ab2c --watch"},
	complete: completeRecoveries,
	flags: func(f *pflag.FlagSet) {
		f.Bool("watch", false, "Show how it goes until it ends")
		f.Bool("exit-code", false, "Exit with 4 if stores fail, or if it is paused or cancelled")
	},
	run: func(s *session) error {
		if s.is("watch") {
			return s.watchRecovery(s.args[0])
		}
		view, answer, err := s.recovery(s.args[0])
		if err != nil {
			return err
		}
		if s.json {
			_, err = s.out.Write(answer)
		} else {
			s.showRecovery(view)
		}
		if err == nil && s.is("exit-code") {
			err = troubleOf(view)
		}
		return err
	},
}

// recovery asks for a recovery.
func (s *session) recovery(id string) (*recovery.View, []byte, error) {
	ctx, cancel := s.context()
	defer cancel()
	answer, err := s.call(ctx, http.MethodGet, "/firebreak/recoveries/"+url.PathEscape(id)+"?limit=10000&state=failing", nil)
	if err != nil {
		return nil, nil, err
	}
	v := new(recovery.View)
	if err := json.Unmarshal(answer, v); err != nil {
		return nil, nil, fmt.Errorf("the answer of %s is not understood; is the server of another version? %w", s.address, err)
	}
	return v, answer, nil
}

// troubleOf makes the exit code 4 if a recovery did not end well.
func troubleOf(v *recovery.View) error {
	if v.Failing > 0 || v.State == recovery.Paused || v.State == recovery.Cancelled {
		return errTrouble
	}
	return nil
}

func (s *session) showRecovery(v *recovery.View) {
	color := map[recovery.State]string{recovery.Running: yellow, recovery.Paused: red, recovery.Cancelled: red, recovery.Done: green}[v.State]
	s.printf("recovery %s of %s: %s\n", clean(v.ID), clean(ofWhat(v)), s.paint(color, string(v.State)))
	for _, line := range []struct{ name, text string }{
		{"paused because", v.PausedWhy},
		{"waiting", v.Waiting},
		{"no probes", v.ProbeTrouble},
		{"by", v.By},
		{"reason", v.Reason},
		{"began", s.since(v.Began)},
		{"ended", s.since(v.Ended)},
	} {
		if line.text != "" {
			s.printf("  %-15s %s\n", line.name, clean(line.text))
		}
	}
	s.printf("  %-15s %s\n", "stores", recoverySums(v))
	if v.ProbeFailed > 0 {
		s.printf("  %-15s %s failed store_probe, at no worker's cost\n", "probes", plural(v.ProbeFailed, "store"))
	}
	if v.Repairing+v.Repaired+v.Manual+v.Work > 0 {
		s.printf("  %-15s %d being repaired, %d released after a repair, %d after work by hand\n", "repairs", v.Repairing, v.Repaired, v.Manual)
	}
	if v.Work > 0 {
		s.printf("  %-15s %s: %s recover work\n", "work list", plural(v.Work, "store"), programName())
	}
	if v.State == recovery.Running {
		s.printf("  %-15s %s\n", "pace", recoveryPace(v))
	}
	s.showFailures(v)
}

// recoverySums is a recovery in numbers.
func recoverySums(v *recovery.View) string {
	well := fmt.Sprintf("%d released", v.Released)
	if v.DryRun {
		well = fmt.Sprintf("%d passed", v.Passed)
	}
	return fmt.Sprintf("%s, %d failing, %d remaining, of %d", well, v.Failing, v.Remaining, v.Total)
}

func (s *session) showFailures(v *recovery.View) {
	if len(v.Failures) == 0 {
		return
	}
	rows := [][]string{{"FAILING", "ZONE", "TRIED", "NEXT", "REASON"}}
	for _, f := range v.Failures {
		rows = append(rows, []string{f.Store, f.Zone, plural(f.Attempts, "time"), s.clock(f.NextAt), cut(f.Reason, 100)})
	}
	s.table(rows)
	if more := v.Failing - len(v.Failures); more > 0 {
		s.printf("and %d more: %s recover show %s --json\n", more, programName(), clean(v.ID))
	}
}

// steerCommand is pause, resume or cancel.
func steerCommand(action string) *command {
	short := map[string]string{
		"pause":  "Pauses a recovery: no store is checked or released",
		"resume": "Lets a paused recovery go on; every store that is left must pass all its checks again",
		"cancel": "Ends a recovery; what it has released stays released",
	}[action]
	return &command{
		use: action + " ID", short: short, args: cobra.ExactArgs(1), complete: completeRecoveries,
		examples: []string{action + " 20200702-125900-ab2c"},
		flags: func(f *pflag.FlagSet) {
			f.String("reason", "", "Why")
			f.String("by", person(), "Who")
		},
		run: func(s *session) error {
			ctx, cancel := s.context()
			defer cancel()
			var v recovery.View
			body := map[string]string{"by": s.text("by"), "reason": s.text("reason")}
			goOn, err := s.ask(ctx, http.MethodPost, "/firebreak/recoveries/"+url.PathEscape(s.args[0])+"/"+action, body, &v)
			if goOn {
				s.printf("recovery %s is %s: %s\n", clean(v.ID), v.State, recoverySums(&v))
			}
			return err
		},
	}
}

func completeRecoveries(s *session, args []string) (ids []string) {
	if len(args) > 0 {
		return nil
	}
	var v struct{ Recoveries []recovery.View }
	if _, err := s.get("/firebreak/recoveries", &v); err == nil {
		for i := range v.Recoveries {
			ids = append(ids, v.Recoveries[i].ID)
		}
	}
	return ids
}

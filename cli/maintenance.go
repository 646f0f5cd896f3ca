package cli

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

var maintenanceCommand = &command{
	use: "maintenance <command>", short: "Puts stores, zones or everything into maintenance, and out of it",
	long: "A switch holds on every sidecar that shares the state, until it is removed,\nits time is over, or a store is released from it.",
	examples: []string{
		"maintenance on zone z7 --reason 'disk full' --message 'Back at 15:00.'",
		"maintenance off store s123", "maintenance list",
	},
	sub: []*command{switchCommand("on"), switchCommand("off"), listCommand, historyCommand},
}

const longTargets = `TARGET is: zone NAME [zone NAME ...], store ID [ID ...], or all. The words zone
and store may be left out after the first name of their kind.`

// switchCommand is "maintenance on" or "off".
func switchCommand(action string) *command {
	c := &command{
		use: action + " TARGET", args: cobra.ArbitraryArgs,
		complete: completeTargets,
		run:      func(s *session) error { return runSwitch(s, action) },
	}
	if action == "off" {
		c.short = "Takes zones, stores or everything out of maintenance"
		c.long = longTargets + "\n\nA store is let out of its zone's maintenance too: the zone's switch excepts it\nfrom then on."
		c.examples = []string{"off zone z7", "off store s1 s2 s3", "off all --yes", "off store --stores-file repaired.txt"}
		c.flags = commonSwitchFlags
		return c
	}
	c.short = "Puts zones, stores or everything into maintenance"
	c.long = longTargets
	c.examples = []string{
		"on zone z7 --reason 'disk full'", "on zone z7 --for 30m --message 'Back at 15:00.'", "on store s1 s2 --read-only",
		"on zone z7 --from 02:00 --until 04:00 --reason 'planned move' --ticket OPS-7", "on store --stores-file damaged.txt", "on all --yes",
	}
	c.flags = func(f *pflag.FlagSet) {
		commonSwitchFlags(f)
		f.Bool("read-only", false, "Let GET, HEAD and OPTIONS pass")
		f.Bool("stale", false, "Answer what it refuses from memory, where there is an answer")
		f.Duration("for", 0, "End after this time")
		f.String("from", "", "Begin then: 2026-07-02T12:58:00Z, or 15:04 for the next such time")
		f.String("until", "", "End then")
		f.Duration("retry-after", 0, "When clients are told to come again")
		f.String("message", "", "What clients are told")
		f.String("ticket", "", "Where the work is tracked")
		f.StringSlice("except", nil, "Stores that a zone's or everything's maintenance is not for")
	}
	return c
}

func commonSwitchFlags(f *pflag.FlagSet) {
	f.String("reason", "", "Why, for the audit log and other operators")
	f.String("by", person(), "Who")
	f.String("stores-file", "", "A file with a store's id on each line; - is standard input")
	f.Bool("dry-run", false, "Only say what would be changed")
	f.BoolP("yes", "y", false, "Do not ask before touching more than one zone, 100 stores, or everything")
}

func person() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func completeTargets(s *session, args []string) []string {
	if len(args) == 0 {
		return []string{"all", "store", "zone"}
	}
	for i := len(args) - 1; i >= 0; i-- {
		switch args[i] {
		case "zone":
			return append(s.zoneNames(), "zone", "store")
		case "store":
			return []string{"zone"}
		}
	}
	return nil
}

// batch is the body of a call that switches many at once.
type batch struct {
	Action     string   `json:"action"`
	All        bool     `json:"all,omitempty"`
	Zones      []string `json:"zones,omitempty"`
	Stores     []string `json:"stores,omitempty"`
	DryRun     bool     `json:"dry_run,omitempty"`
	Mode       string   `json:"mode,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	By         string   `json:"by,omitempty"`
	Ticket     string   `json:"ticket,omitempty"`
	From       string   `json:"from,omitempty"`
	Until      string   `json:"until,omitempty"`
	For        string   `json:"for,omitempty"`
	RetryAfter string   `json:"retry_after,omitempty"`
	Message    string   `json:"message,omitempty"`
	Except     []string `json:"except,omitempty"`
	Stale      bool     `json:"stale,omitempty"`
}

func runSwitch(s *session, action string) error {
	b := &batch{Action: action, DryRun: s.is("dry-run"), Reason: s.text("reason"), By: s.text("by")}
	if err := b.targets(s); err != nil {
		return err
	}
	if action == "on" {
		if err := b.settings(s); err != nil {
			return err
		}
	}
	if err := s.confirm(b); err != nil {
		return err
	}
	return s.sendBatch(b)
}

// targets reads the arguments and the file of stores.
func (b *batch) targets(s *session) error {
	kind := ""
	for _, arg := range s.args {
		switch {
		case arg == "all" && kind == "":
			b.All = true
		case arg == "zone" || arg == "zones":
			kind = "zone"
		case arg == "store" || arg == "stores":
			kind = "store"
		case kind == "zone":
			b.Zones = append(b.Zones, arg)
		case kind == "store":
			b.Stores = append(b.Stores, arg)
		default:
			return fmt.Errorf("%q is neither zone, store nor all; write for example: %s maintenance %s zone z7", arg, programName(), b.Action)
		}
	}
	if name := s.text("stores-file"); name != "" {
		stores, err := s.readStores(name)
		if err != nil {
			return err
		}
		b.Stores = append(b.Stores, stores...)
	}
	if !b.All && len(b.Zones)+len(b.Stores) == 0 {
		return fmt.Errorf("it names nothing; write for example: %s maintenance %s zone z7", programName(), b.Action)
	}
	return nil
}

func (s *session) readStores(name string) (stores []string, err error) {
	in := s.in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			stores = append(stores, line)
		}
	}
	return stores, lines.Err()
}

// settings reads the flags of "on".
func (b *batch) settings(s *session) error {
	b.Message, b.Ticket = s.text("message"), s.text("ticket")
	b.Except, _ = s.flags.GetStringSlice("except")
	b.Stale = s.is("stale")
	if s.is("read-only") {
		b.Mode = string(maintenance.ReadOnly)
	}
	for name, to := range map[string]*string{"for": &b.For, "retry-after": &b.RetryAfter} {
		if d, _ := s.flags.GetDuration(name); d < 0 {
			return fmt.Errorf("--%s must not be negative", name)
		} else if d > 0 {
			*to = d.String()
		}
	}
	if b.For != "" && s.text("until") != "" {
		return errors.New("give either --for or --until")
	}
	var err error
	if b.From, err = s.moment("from", s.now()); err != nil {
		return err
	}
	after := s.now()
	if from, err := time.Parse(time.RFC3339, b.From); err == nil {
		after = from
	}
	b.Until, err = s.moment("until", after)
	return err
}

// moment reads a time: a full one, or the next hour and minute after another.
func (s *session) moment(flag string, after time.Time) (string, error) {
	text := s.text(flag)
	if text == "" {
		return "", nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.Format(time.RFC3339), nil
	}
	t, err := time.ParseInLocation("15:04", text, time.Local)
	if err != nil {
		return "", fmt.Errorf("--%s %q: write a time like 2026-07-02T12:58:00Z, or 15:04 for the next such time", flag, text)
	}
	after = after.Local()
	t = time.Date(after.Year(), after.Month(), after.Day(), t.Hour(), t.Minute(), 0, 0, time.Local)
	if !t.After(after) {
		t = t.AddDate(0, 0, 1)
	}
	return t.Format(time.RFC3339), nil
}

// manyStores is from how many stores on people are asked.
const manyStores = 100

// confirm asks before something large is done.
func (s *session) confirm(b *batch) error {
	if s.is("yes") || b.DryRun || !b.All && len(b.Zones) <= 1 && len(b.Stores) <= manyStores {
		return nil
	}
	what := []string{}
	if b.All {
		what = append(what, "EVERYTHING")
	}
	if n := len(b.Zones); n > 0 {
		what = append(what, plural(n, "zone")+" ("+clean(cut(strings.Join(b.Zones, ", "), 200))+")")
	}
	if n := len(b.Stores); n > 0 {
		what = append(what, plural(n, "store"))
	}
	question := fmt.Sprintf("Maintenance %s for %s, on every sidecar.", strings.ToUpper(b.Action), strings.Join(what, " and "))
	return s.sure(question)
}

// changed is what a call did.
type changed struct {
	Changed   bool   `json:"changed"`
	Revision  uint64 `json:"revision"`
	Set       int    `json:"set"`
	Cleared   int    `json:"cleared_count"`
	Unchanged int    `json:"unchanged"`
}

// sendBatch sends the batch in pieces the API takes; each is made wholly or
// not at all.
func (s *session) sendBatch(whole *batch) error {
	began, sum := time.Now(), changed{}
	total := len(whole.Zones) + len(whole.Stores)
	pieces := whole.split(maintenance.MaxTargets)
	for i, piece := range pieces {
		var one changed
		ctx, cancel := s.context()
		goOn, err := s.ask(ctx, http.MethodPost, "/firebreak/maintenance/batch", piece, &one)
		cancel()
		if err != nil {
			if i > 0 {
				err = fmt.Errorf("after %d of %d calls, which were made: %w", i, len(pieces), err)
			}
			return err
		}
		if !goOn {
			continue
		}
		sum.Changed, sum.Revision = sum.Changed || one.Changed, one.Revision
		sum.Set, sum.Cleared, sum.Unchanged = sum.Set+one.Set, sum.Cleared+one.Cleared, sum.Unchanged+one.Unchanged
		if len(pieces) > 1 {
			fmt.Fprintf(s.err, "%d of %d\n", min((i+1)*maintenance.MaxTargets, total), total)
		}
	}
	if s.json {
		return nil
	}
	s.showChanged(whole, &sum, time.Since(began))
	return nil
}

func (b *batch) split(size int) (pieces []*batch) {
	for first := true; first || len(b.Stores) > 0; first = false {
		piece := *b
		if !first {
			piece.All, piece.Zones = false, nil
		}
		room := size - len(piece.Zones)
		if piece.All {
			room--
		}
		n := min(max(room, 1), len(b.Stores))
		piece.Stores, b.Stores = b.Stores[:n], b.Stores[n:]
		pieces = append(pieces, &piece)
	}
	return pieces
}

func (s *session) showChanged(b *batch, sum *changed, took time.Duration) {
	switch {
	case b.DryRun:
		s.printf("would set %d and remove %d switches; %d would not change\n", sum.Set, sum.Cleared, sum.Unchanged)
	case !sum.Changed:
		s.printf("No change: %s (revision %d)\n", b.asIs(), sum.Revision)
	case b.Action == "on":
		s.printf("%s: %s; revision %d, in force here after %s\n", s.paint(yellow, "maintenance is ON"), listCounts(counted{sum.Set, "set"}, counted{sum.Unchanged, "unchanged"}), sum.Revision, took.Round(time.Millisecond))
		s.printf("other sidecars: %s status --fleet; off again: %s maintenance off ...\n", programName(), programName())
	default:
		s.printf("%s: %s; revision %d, in force here after %s\n", s.paint(green, "maintenance is OFF"),
			listCounts(counted{sum.Cleared, "removed"}, counted{sum.Set, "changed to except stores"}, counted{sum.Unchanged, "unchanged"}), sum.Revision, took.Round(time.Millisecond))
	}
}

// counted is a number of switches and what happened to them.
type counted struct {
	n    int
	what string
}

// listCounts lists numbers of switches without those that are zero: "2 switches set,
// 1 unchanged".
func listCounts(all ...counted) string {
	var parts []string
	for _, c := range all {
		switch {
		case c.n == 0:
		case len(parts) == 0:
			parts = append(parts, plural(c.n, "switch")+" "+c.what)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}

// asIs is the reason why nothing was changed.
func (b *batch) asIs() string {
	off := b.Action == "off"
	targets := slices.Concat(b.Zones, b.Stores)
	switch {
	case b.All && off:
		return "there is no maintenance of everything"
	case b.All:
		return "everything is in maintenance already, with these settings"
	case len(targets) == 1 && off:
		return targets[0] + " is not in maintenance"
	case len(targets) == 1:
		return targets[0] + " is in maintenance already, with these settings"
	case off:
		return "none of them is in maintenance"
	}
	return "all of them are in maintenance already, with these settings"
}

var listCommand = &command{
	use: "list", short: "Lists all switches", args: cobra.NoArgs,
	examples: []string{"list", "list --scope zone", "list --name s123"},
	flags: func(f *pflag.FlagSet) {
		f.String("scope", "", "Only all, zone or store")
		f.String("name", "", "Only this zone or store")
	},
	run: runList,
}

// listView is a page of switches.
type listView struct {
	Revision uint64                `json:"revision"`
	Stale    bool                  `json:"stale"`
	Problem  string                `json:"problem"`
	Synced   time.Time             `json:"synced"`
	Now      time.Time             `json:"now"`
	Total    int                   `json:"total"`
	InForce  int                   `json:"in_force"`
	Corrupt  []maintenance.Corrupt `json:"corrupt"`
	Switches []switchView          `json:"switches"`
	Next     string                `json:"next"`
}

func runList(s *session) error {
	query := url.Values{"limit": {"10000"}} // the largest page there is
	for _, name := range []string{"scope", "name"} {
		if value := s.text(name); value != "" {
			query.Set(name, value)
		}
	}
	ctx, cancel := s.context()
	defer cancel()
	var last listView
	rows := [][]string{{"WHAT", "MODE", "PHASE", "SINCE", "FROM", "UNTIL", "BY", "REASON", "TICKET", "EXCEPT"}}
	for {
		var page listView
		goOn, err := s.ask(ctx, http.MethodGet, "/firebreak/maintenance?"+query.Encode(), nil, &page)
		if !goOn {
			return err
		}
		last = page
		for i := range page.Switches {
			sw := &page.Switches[i]
			except := ""
			if n := len(sw.Except); n > 0 {
				except = plural(n, "store")
			}
			rows = append(rows, []string{
				sw.Target.String(), string(sw.Mode), strings.ReplaceAll(string(sw.Phase), "_", " "), s.clock(sw.Since), s.clock(sw.From), s.clock(sw.Until),
				sw.By, cut(sw.Reason, 60), sw.Ticket, except,
			})
		}
		if page.Next == "" {
			break
		}
		query.Set("after", page.Next)
	}
	s.printf("%s, %d in force; revision %d\n", plural(last.Total, "switch"), last.InForce, last.Revision)
	if last.Stale {
		s.printf("%s since %s: %s\n", s.paint(red, "stale: the state backend cannot be read"), s.clock(last.Synced), clean(last.Problem))
	}
	for _, c := range last.Corrupt {
		s.printf("%s %s: %s\n", s.paint(red, "cannot be read:"), clean(c.Record), clean(c.Error))
	}
	if len(rows) > 1 {
		s.table(rows)
	}
	return nil
}

var historyCommand = &command{
	use: "history", short: "Shows the changes and their authors, latest first", args: cobra.NoArgs,
	examples: []string{"history", "history --limit 500"},
	flags:    func(f *pflag.FlagSet) { f.Int("limit", 20, "How many changes") },
	run: func(s *session) error {
		limit, _ := s.flags.GetInt("limit")
		var v struct {
			Changes []struct {
				Revision   uint64    `json:"revision"`
				At         time.Time `json:"at"`
				By         string    `json:"by"`
				Reason     string    `json:"reason"`
				Instance   string    `json:"instance"`
				Remote     string    `json:"remote"`
				SetCount   int       `json:"set_count"`
				ClearCount int       `json:"clear_count"`
				Set, Clear []string
			} `json:"changes"`
		}
		if goOn, err := s.get("/firebreak/maintenance/history?limit="+strconv.Itoa(limit), &v); !goOn {
			return err
		}
		rows := [][]string{{"REVISION", "AT", "BY", "THROUGH", "FROM", "SET", "TAKEN AWAY", "REASON"}}
		for _, c := range v.Changes {
			rows = append(rows, []string{
				strconv.FormatUint(c.Revision, 10), s.clock(c.At), c.By, c.Instance, c.Remote,
				names(c.Set, c.SetCount), names(c.Clear, c.ClearCount), cut(c.Reason, 60),
			})
		}
		s.table(rows)
		return nil
	},
}

func names(list []string, count int) string {
	const shown = 3
	text := strings.Join(list[:min(len(list), shown)], ", ")
	if count > shown {
		text += fmt.Sprintf(" and %d more", count-shown)
	}
	return text
}

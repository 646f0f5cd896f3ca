package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/replay"
)

var replayCommand = &command{
	use: "replay LOG", short: "Says what firebreak would have done on the day of an access log", args: cobra.ExactArgs(1),
	long: longReplay, offline: true,
	examples: []string{
		"replay access.log --config Caddyfile", "replay access.log.gz --config Caddyfile --set zone.timeout=1s",
		"replay access.log --config Caddyfile --set zone.z7.max_inflight=20% --set zone.min_bad_stores=4",
		"replay - --config Caddyfile --json < access.log",
	},
	flags: func(f *pflag.FlagSet) {
		f.StringP("config", "c", "Caddyfile", "The configuration to try")
		f.StringArray("set", nil, "Change a setting, and compare: NAME=VALUE, such as zone.timeout=1s; can be given several times")
		f.String("since", "", "Leave out requests that began earlier: 2026-01-14T09:00:00Z")
		f.String("until", "", "Leave out requests that began later")
		f.Bool("json", false, "Print everything as JSON")
	},
	completeFlags: map[string][]string{"set": settingWords()},
	run:           runReplay,
}

const longReplay = `LOG is an access log of Caddy's, one JSON object a line, packed by gzip or not; -
is the standard input. Its requests meet the guard that runs in firebreak, in
virtual time, with the settings of --config. Nothing is started or asked; the
same log gives the same answer each time.

The store and the zone of a request are its line's firebreak_store and
firebreak_zone, if it has them, and else come from the key in its URI, host or
headers and from the directory. A body is not in a log, and Caddy logs cookies
and authorizations as REDACTED: keys from there are unknown.

What a replay cannot know:
- How long a worker was busy is inferred from how long the client waited: less
  the time in the pool's queue, which is first come, first served; more, until
  its store is next seen to be answered, where the client left or the proxy gave
  up. A request that never got a worker, or that firebreak refused that day,
  fares as the latest one of its store that did, or hangs if its whole zone did.
- A log tells when an answer ended, not when it began: a download that takes
  longer than the timeout counts as hung. Streams are left out.
- What a request comes to does not depend on what else is let in, and clients do
  not come again because they were refused.
- Zone checks are not made, and all handlers have their zone's timeout.

A log takes about 60 bytes of memory a request; 50 million requests are read at
most. With --since and --until a part of it is.

Exit codes: 0 it worked; 1 the command, the configuration or the log is wrong.`

func settingWords() (words []string) {
	for _, name := range replay.Names() {
		words = append(words, name+"=")
	}
	return words
}

// replayed is what a replay comes to, as JSON.
type replayed struct {
	File     string          `json:"file"`
	Log      *replayLog      `json:"log"`
	Inferred replay.Inferred `json:"inferred"`
	Runs     []replayRun     `json:"runs"` // the configuration as it is, and with --set
	log      *replay.Log
	policies []*config.Policy
}

type replayLog struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Lines    int       `json:"lines"`
	Requests int       `json:"requests"`
	Stores   int       `json:"stores"`
	Zones    int       `json:"zones"`
	Bad      int       `json:"bad"`
	BadLines []string  `json:"bad_lines"`
	Other    int       `json:"other"`
	Streams  int       `json:"streams"`
	Bypassed int       `json:"bypassed"`
	Unknown  int       `json:"unknown"`
}

type replayRun struct {
	Settings []string       `json:"settings"` // of --set
	Report   *replay.Report `json:"report"`
}

func runReplay(s *session) error {
	file, adapter := s.text("config"), s.text("adapter")
	c, err := loadReplayConfig(file, adapter)
	if err != nil {
		return err
	}
	sets, _ := s.flags.GetStringArray("set")
	v := &replayed{File: s.args[0], Runs: []replayRun{{Settings: []string{}}}}
	policy, err := c.policy(c.app)
	if err != nil && len(sets) == 0 {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err != nil { // perhaps what is set mends it
		if policy, err = c.withSettings(sets); err != nil {
			return err
		}
	}
	v.policies = append(v.policies, policy)
	if len(sets) > 0 {
		if policy, err = c.withSettings(sets); err != nil {
			return err
		}
		v.policies, v.Runs = append(v.policies, policy), append(v.Runs, replayRun{Settings: sets})
	}
	if err := s.replay(v, c); err != nil {
		return err
	}
	if s.json {
		out := json.NewEncoder(s.out)
		out.SetIndent("", "  ")
		return out.Encode(v)
	}
	s.showReplay(v)
	return nil
}

// withSettings is the policy of a configuration with some settings changed.
func (c *replayConfig) withSettings(sets []string) (*config.Policy, error) {
	app := c.app
	app.Zones = slices.Clone(app.Zones)
	for _, change := range sets {
		switch name, _, _ := strings.Cut(change, "="); name {
		case "workers": // of all servers
			app.WorkersPerServer, app.Servers = 0, nil
		case "workers_per_server":
			app.Workers = 0
		}
		if err := replay.Set(&app, change); err != nil {
			return nil, err
		}
	}
	policy, err := c.policy(app)
	if err != nil {
		return nil, fmt.Errorf("with --set %s: %w", strings.Join(sets, " --set "), err)
	}
	return policy, nil
}

// replay reads the log and replays it once for each policy.
func (s *session) replay(v *replayed, c *replayConfig) error {
	resolve, zones, end, err := c.resolver()
	if err != nil {
		fmt.Fprintf(s.err, "Only lines that name their store and zone count: %s\n", clean(err.Error()))
		resolve, end = nil, func() {}
	}
	defer end()
	if v.log, err = s.readLog(v.File, resolve); err != nil {
		return err
	}
	if len(v.log.Requests) == 0 {
		what := fmt.Sprintf("there are no requests in %s", v.File)
		if v.log.Bad > 0 {
			what += fmt.Sprintf("; %s could not be read, the first: %s", plural(v.log.Bad, "line"), v.log.BadLines[0])
		}
		return errors.New(what)
	}
	v.Log = summed(v.log)
	v.Inferred = v.log.Infer(v.policies[0])
	for i, policy := range v.policies {
		bar := s.replayBar(fmt.Sprintf("replaying (%d of %d)", i+1, len(v.policies)), int64(len(v.log.Requests)))
		v.Runs[i].Report = replay.Run(v.log, policy, replay.Options{Zones: zones, Progress: func(done int) { bar.show(int64(done)) }})
		v.Runs[i].Report.InLog(v.Inferred)
		bar.end()
	}
	return nil
}

func summed(l *replay.Log) *replayLog {
	from, to := l.Span()
	v := &replayLog{
		From: from, To: to, Lines: l.Lines, Requests: len(l.Requests), Stores: len(l.Stores), Zones: len(l.Zones()),
		Bad: l.Bad, BadLines: l.BadLines, Other: l.Other, Streams: l.Streams, Bypassed: l.Bypassed, Unknown: l.Unknown,
	}
	if v.BadLines == nil {
		v.BadLines = []string{}
	}
	return v
}

// readLog reads the log with a bar of progress.
func (s *session) readLog(name string, resolve replay.Resolve) (*replay.Log, error) {
	opts := replay.ReadOptions{Resolve: resolve}
	var err error
	if opts.Since, err = s.logTime("since"); err != nil {
		return nil, err
	}
	if opts.Until, err = s.logTime("until"); err != nil {
		return nil, err
	}
	in, size := s.in, int64(0)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("opening the log: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil {
			size = info.Size()
		}
		in = file
	}
	bar := s.replayBar("reading", size)
	defer bar.end()
	log, err := replay.Read(&countingReader{in: in, bar: bar}, opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return log, nil
}

func (s *session) logTime(flag string) (time.Time, error) {
	text := s.text(flag)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("--%s %q: write it like 2026-01-14T09:00:00Z", flag, text)
	}
	return t, nil
}

// countingReader shows how much was read.
type countingReader struct {
	in  io.Reader
	n   int64
	bar *replayBar
}

// Read reads on.
func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.n += int64(n)
	r.bar.show(r.n)
	return n, err
}

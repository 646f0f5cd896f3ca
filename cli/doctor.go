package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/config"
)

var doctorCommand = &command{
	use: "doctor", short: "Compares the settings with what is measured, and says which line to write", args: cobra.NoArgs,
	long: "Reads the settings, the status and the metrics of a running sidecar, and of the\n" +
		"sidecars that share its state, and changes nothing. Times and counts are since the\n" +
		"process started; with --sample they are those of the next seconds or minutes, which\n" +
		"keeps a past outage out of them. The exit code is 4 if there is a finding.\n" +
		"docs/runbook.md lists the findings.",
	examples: []string{"doctor", "doctor --sample 5m", "doctor --json", "doctor >/tmp/findings || mail -s 'firebreak doctor' ops@example.com </tmp/findings"},
	flags: func(f *pflag.FlagSet) {
		f.Duration("sample", 0, "Measure for so long instead of using what was counted since the start")
	},
	run: runDoctor,
}

// finding is one thing that does not fit.
type finding struct {
	Check   string `json:"check"`          // the name of the check, for scripts
	Zone    string `json:"zone,omitempty"` // empty: it is about all of them
	Finding string `json:"finding"`        // what was measured, and what that means
	Write   string `json:"write"`          // a part of the Caddyfile, or a command
}

// examined is what the findings are based on.
type examined struct {
	status statusView
	app    config.App
	policy *config.Policy
	counts *tally
}

func runDoctor(s *session) error {
	sample, _ := s.flags.GetDuration("sample")
	if sample < 0 {
		return fmt.Errorf("--sample %s: it must not be negative", sample)
	}
	e, err := s.examine(sample)
	if err != nil {
		return err
	}
	findings := e.diagnose()
	if s.json {
		err = json.NewEncoder(s.out).Encode(map[string]any{
			"requests": e.counts.requests(), "seconds": e.counts.took.Seconds(), "findings": append([]finding{}, findings...),
		})
	} else {
		s.showFindings(e, findings)
	}
	if err == nil && len(findings) > 0 {
		return errTrouble
	}
	return err
}

// examine reads everything from the sidecar.
func (s *session) examine(sample time.Duration) (*examined, error) {
	e := &examined{}
	for path, to := range map[string]any{"/firebreak/status?fleet=1": &e.status, "/config/apps/firebreak": &e.app} {
		if err := s.read(path, to); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
	}
	var err error
	if e.policy, err = e.app.Policy(); err != nil {
		return nil, fmt.Errorf("reading the settings of %s: %w", s.address, err)
	}
	before, err := s.count()
	if err != nil {
		return nil, err
	}
	e.counts = before
	if sample == 0 {
		return e, nil
	}
	fmt.Fprintf(s.err, "measuring %s for %s\n", s.address, sample)
	began := time.Now()
	time.Sleep(sample)
	if e.counts, err = s.count(); err != nil {
		return nil, err
	}
	e.counts.subtract(before)
	e.counts.took = time.Since(began)
	return e, nil
}

// read gets JSON, whatever --json says.
func (s *session) read(path string, to any) error {
	ctx, cancel := s.context()
	defer cancel()
	answer, err := s.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, to)
}

func (s *session) showFindings(e *examined, findings []finding) {
	s.printf("%s in %s, %s\n", plural(int(e.counts.requests()), "request"), e.counts.took.Round(time.Second), plural(len(e.status.Zones), "zone"))
	if len(findings) == 0 {
		s.printf("%s\n", s.paint(green, "no findings"))
		return
	}
	for i, f := range findings {
		s.printf("\n%s %s\n", s.paint(yellow, fmt.Sprintf("%d. %s:", i+1, f.Check)), clean(f.Finding))
		for line := range strings.Lines(f.Write) {
			s.printf("     %s\n", strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), "\n"))
		}
	}
	s.printf("\n%s\n", plural(len(findings), "finding"))
}

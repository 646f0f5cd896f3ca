package cli

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/incidents"
)

// incidentPage is a page of incidents as the API shows it.
type incidentPage struct {
	Incidents []incidents.Incident `json:"incidents"`
	Next      string               `json:"next"`
	Problem   string               `json:"problem"`
}

var incidentsCommand = &command{
	use: "incidents", short: "Lists what happened to zones and servers, newest first", args: cobra.NoArgs,
	long:     "An incident is an episode of a zone, from the first request that went wrong until\nall was calm again; or of an API server that was out of service. Each sidecar keeps its own.",
	examples: []string{"incidents", "incidents --zone z7 --limit 5", "incidents show latest"},
	flags: func(f *pflag.FlagSet) {
		f.String("zone", "", "Of this zone alone")
		f.String("server", "", "Of this API server alone")
		f.Int("limit", 20, "How many")
		f.String("after", "", "Only those before this one: what the last page named")
	},
	run: runIncidents,
	sub: []*command{incidentCommand("show")},
}

// incidentCommand is "incident ID", or "incidents show ID".
func incidentCommand(name string) *command {
	return &command{
		use: name + " ID", short: "Shows one incident: its timeline, impact, culprits, and minutes in the dark", args: cobra.ExactArgs(1),
		long:     "ID may be latest. --markdown prints the draft of a postmortem, --csv the stores\nwith their minutes in the dark.",
		examples: []string{name + " latest", name + " 20260702-124803-z7 --markdown > postmortem.md", name + " latest --csv > credits.csv"},
		flags: func(f *pflag.FlagSet) {
			f.Bool("markdown", false, "Print the draft of a postmortem")
			f.Bool("csv", false, "Print stores and their minutes in the dark")
		},
		complete: completeIncident,
		run:      runIncident,
	}
}

func runIncidents(s *session) error {
	query := url.Values{}
	limit, _ := s.flags.GetInt("limit")
	query.Set("limit", strconv.Itoa(limit))
	for _, name := range []string{"zone", "server", "after"} {
		if value := s.text(name); value != "" {
			query.Set(name, value)
		}
	}
	var page incidentPage
	if goOn, err := s.get("/firebreak/incidents?"+query.Encode(), &page); !goOn {
		return err
	}
	if page.Problem != "" {
		s.printf("%s: %s\n", s.paint(red, "incidents cannot be kept on disk"), clean(page.Problem))
	}
	if len(page.Incidents) == 0 {
		s.printf("no incidents\n")
		return nil
	}
	rows := [][]string{{"ID", "ZONE", "BEGAN", "ISOLATED", "RECOVERED", "ENDED", "WORKERS", "HUNG", "FAILED", "REFUSED", "DARK", "CULPRITS"}}
	for n := range page.Incidents {
		rows = append(rows, s.incidentRow(&page.Incidents[n]))
	}
	s.table(rows)
	if page.Next != "" {
		s.printf("\nmore: %s incidents --after %s\n", programName(), clean(page.Next))
	}
	return nil
}

func (s *session) incidentRow(i *incidents.Incident) []string {
	after := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return "+" + brief(t.Sub(i.Began))
	}
	ended := after(i.Ended)
	switch {
	case i.Ongoing:
		ended = "ongoing"
	case i.Interrupted != "":
		ended += " (broke off)"
	}
	culprits := make([]string, 0, len(i.Culprits))
	for _, c := range i.Culprits {
		culprits = append(culprits, c.Store)
	}
	if i.Server != "" {
		return []string{
			i.ID, "server " + i.Server, s.clock(i.Began), after(i.Opened), after(i.Recovered), ended, strconv.Itoa(i.WorstOccupied),
			"", number(i.Lost), "", "", cut(i.Evidence, 40),
		}
	}
	return []string{
		i.ID, i.Zone, s.clock(i.Began), after(i.Opened), after(i.Recovered), ended, strconv.Itoa(i.WorstOccupied),
		number(i.Hung), number(i.Failed), number(refusals(i)), inMinutes(i.DarkMinutes), cut(strings.Join(culprits, ", "), 40),
	}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func refusals(i *incidents.Incident) (sum uint64) {
	for _, n := range i.Refused {
		sum += n
	}
	return sum
}

func inMinutes(m float64) string { return brief(time.Duration(m * float64(time.Minute))) }

func runIncident(s *session) error {
	if s.is("markdown") && s.is("csv") || s.json && (s.is("markdown") || s.is("csv")) {
		return errors.New("give one of --markdown, --csv and --json")
	}
	id, err := s.incidentID(s.args[0])
	if err != nil {
		return err
	}
	path := "/firebreak/incidents/" + url.PathEscape(id)
	for _, format := range []string{"markdown", "csv"} {
		if s.is(format) {
			return s.printAsIs(path + "?format=" + format)
		}
	}
	var i incidents.Incident
	if goOn, err := s.get(path, &i); !goOn {
		return err
	}
	s.showIncident(&i)
	return nil
}

// incidentID finds out which incident is the latest.
func (s *session) incidentID(name string) (string, error) {
	if name != "latest" {
		return name, nil
	}
	asked := *s
	asked.json = false
	var page incidentPage
	if _, err := asked.get("/firebreak/incidents?limit=1", &page); err != nil {
		return "", err
	}
	if len(page.Incidents) == 0 {
		return "", &refusedError{status: http.StatusNotFound, detail: "there are no incidents yet"}
	}
	return page.Incidents[0].ID, nil
}

// printAsIs prints an answer that is no JSON. On a terminal it can do no harm.
func (s *session) printAsIs(path string) error {
	ctx, cancel := s.context()
	defer cancel()
	answer, err := s.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if isTerminal(s.out) {
		lines := strings.Split(string(answer), "\n")
		for n := range lines {
			lines[n] = clean(lines[n])
		}
		answer = []byte(strings.Join(lines, "\n"))
	}
	_, err = s.out.Write(answer)
	return err
}

func (s *session) showIncident(i *incidents.Incident) {
	state := s.paint(green, "is over")
	if i.Ongoing {
		state = s.paint(red, "is going on")
	}
	subject := "zone " + i.Zone
	if i.Server != "" {
		subject = "server " + i.Server
	}
	s.printf("incident of %s %s\n", clean(subject), state)
	s.printf("began:        %s: %s\n", s.clock(i.Began), clean(i.Evidence))
	moment := func(name string, t time.Time) {
		if !t.IsZero() {
			s.printf("%-13s %s, %s after that\n", name+":", s.clock(t), brief(t.Sub(i.Began)))
		}
	}
	moment(map[bool]string{false: "isolated", true: "out"}[i.Server != ""], i.Opened)
	moment("recovered", i.Recovered)
	moment("calm", i.Ended)
	if i.Interrupted != "" {
		s.printf("note:         %s\n", clean(i.Interrupted))
	}
	if i.Server != "" {
		s.printf("workers:      %d hung on it at worst\n", i.WorstOccupied)
		s.printf("requests:     %d lost: sent there, and not answered\n\n", i.Lost)
		s.showTimeline(i)
		s.printf("\nfor a postmortem: %s incident %s --markdown\n", programName(), clean(i.ID))
		return
	}
	s.printf("workers:      %d occupied at worst\n", i.WorstOccupied)
	s.printf("requests:     %d hung, %d failed, %d refused%s\n", i.Hung, i.Failed, refusals(i), byReason(i.Refused))
	if i.Cancelled > 0 {
		s.printf("cancelled:    %s of hung requests, in the zone's database\n", plural(int(i.Cancelled), "statement"))
	}
	if i.FromMemory > 0 {
		s.printf("from memory:  %s of these answered from memory\n", number(i.FromMemory))
	}
	s.printf("dark:         %s for the whole zone; %s on their own account\n", inMinutes(i.DarkMinutes), plural(i.StoresDark, "store"))
	s.printf("\n")
	s.showTimeline(i)
	if len(i.Culprits) > 0 {
		s.printf("\n")
		rows := [][]string{{"CULPRIT", "WORKER TIME LOST", "FAILURES", "EVIDENCE"}}
		for _, c := range i.Culprits {
			rows = append(rows, []string{c.Store, brief(time.Duration(c.WorkerSeconds * float64(time.Second))), strconv.Itoa(c.Failures), cut(c.Evidence, 80)})
		}
		s.table(rows)
	}
	s.printf("\nfor a postmortem: %s incident %s --markdown; for credits: --csv\n", programName(), clean(i.ID))
}

func (s *session) showTimeline(i *incidents.Incident) {
	rows := [][]string{{"TIME", "AFTER", "WHAT HAPPENED"}}
	for _, e := range i.Timeline {
		text := e.Text
		if e.Times > 1 {
			text += fmt.Sprintf(" (%d times until %s)", e.Times, s.clock(e.Last))
		}
		rows = append(rows, []string{s.clock(e.At), brief(e.At.Sub(i.Began)), cut(text, 160)})
	}
	s.table(rows)
}

func byReason(refused map[string]uint64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(refused)) {
		parts = append(parts, clean(reason)+" "+number(refused[reason]))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// completeIncident lists the latest incidents.
func completeIncident(s *session, args []string) []string {
	if len(args) > 0 {
		return nil
	}
	s.json = false
	ids := []string{"latest"}
	var page incidentPage
	if goOn, err := s.get("/firebreak/incidents?limit=50", &page); !goOn || err != nil {
		return ids
	}
	for _, i := range page.Incidents {
		ids = append(ids, i.ID)
	}
	return ids
}

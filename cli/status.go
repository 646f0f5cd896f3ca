package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func exitCodeFlag(f *pflag.FlagSet) {
	f.Bool("exit-code", false, "Exit with 4 if a zone is not calm, a store in quarantine, something in maintenance, or the state stale")
}

var statusCommand = &command{
	use: "status", short: "Shows the whole picture: the pool, zones in trouble, maintenance", args: cobra.NoArgs,
	examples: []string{"status", "status --fleet", "status --exit-code >/dev/null || page-somebody"},
	flags: func(f *pflag.FlagSet) {
		exitCodeFlag(f)
		f.Bool("fleet", false, "Show all sidecars that share the switches")
	},
	run: runStatus,
}

func runStatus(s *session) error {
	path := "/firebreak/status"
	if s.is("fleet") {
		path += "?fleet=1"
	}
	var view statusView
	if goOn, err := s.get(path, &view); !goOn {
		return err
	}
	s.showStatus(&view)
	if s.is("exit-code") && !view.calm() {
		return errTrouble
	}
	return nil
}

func (v *statusView) calm() bool {
	for i := range v.Zones {
		if !v.Zones[i].calm() {
			return false
		}
	}
	return !v.PoolSuspect && !v.Maintenance.Stale && v.Maintenance.InForce == 0
}

// calm reports whether a zone is left alone by its breaker and by people.
func (z *zoneView) calm() bool {
	return z.State == breaker.Calm && z.QuarantinedCount == 0 && z.Hold == nil && z.HeldStores == 0 && z.Maintenance == nil
}

func (s *session) showStatus(v *statusView) {
	headline, color := v.headline()
	s.printf("%s\n", s.paint(color, headline))
	elsewhere, hungElsewhere := v.notInService()
	s.printf("workers: %d of %d occupied, %d of them hung; %s waiting\n", max(0, v.Occupied-elsewhere), v.Workers, max(0, v.Hung-hungElsewhere), plural(v.Waiting, "request"))
	s.showServersInStatus(v, elsewhere)
	s.showWarnings(v)
	rows := [][]string{{"ZONE", "STATE", "SINCE", "LIVE", "HUNG", "LIMIT", "QUARANTINED", "WHY"}}
	for i := range v.Zones {
		if zone := &v.Zones[i]; !zone.calm() {
			rows = append(rows, s.zoneRow(zone))
		}
	}
	if len(rows) > 1 {
		s.printf("\n")
		s.table(rows)
		s.printf("\nmore: %s zone NAME, %s culprits\n", programName(), programName())
	}
	if v.Fleet != nil {
		s.showFleet(v)
	}
}

// notInService is how many slots are booked on servers whose workers do not count for
// the pool.
func (v *statusView) notInService() (occupied, hung int) {
	for i := range v.Servers {
		if s := &v.Servers[i]; len(v.Servers) > 1 && (s.Draining || s.State == breaker.OutOfService || s.State == breaker.Away) {
			occupied, hung = occupied+s.Occupied, hung+s.Hung
		}
	}
	return occupied, hung
}

// showServersInStatus shows the servers that are not simply in service, if there are
// several.
func (s *session) showServersInStatus(v *statusView, elsewhere int) {
	if len(v.Servers) < 2 {
		return
	}
	if elsewhere > 0 {
		s.printf("         %d more on servers that are not in service\n", elsewhere)
	}
	rows := [][]string{{"SERVER", "STATE", "SINCE", "LIVE", "HUNG", "WORKERS", "LOST", "WHY"}}
	for i := range v.Servers {
		if view := (&serverView{ServerStatus: v.Servers[i]}); view.Draining || view.State != breaker.InService {
			rows = append(rows, s.serverRow(view))
		}
	}
	if len(rows) > 1 {
		s.printf("\n")
		s.table(rows)
		s.printf("%d of %s not shown: in service; all: %s servers\n", len(v.Servers)-len(rows)+1, plural(len(v.Servers), "server"), programName())
	}
}

// headline counts the zones by what their clients notice, the worst first.
func (v *statusView) headline() (text, color string) {
	counts, quarantined := make(map[condition]int), 0
	for i := range v.Zones {
		counts[v.Zones[i].condition()]++
		quarantined += v.Zones[i].QuarantinedCount
	}
	total := max(len(v.Zones), v.ZoneCount)
	counts[isCalm] += total - len(v.Zones)
	var parts []string
	for c, word := range conditionWords {
		n := counts[condition(c)]
		switch {
		case n == 0:
		case len(parts) > 0:
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		case n > 1 && n == total && condition(c) == isCalm:
			parts = append(parts, fmt.Sprintf("all %s %s", plural(n, "zone"), word))
		default:
			parts = append(parts, fmt.Sprintf("%s %s", plural(n, "zone"), word))
		}
		if n > 0 && color == "" {
			color = conditionColors[c]
		}
	}
	if total == 0 {
		parts = append(parts, "no zone yet")
	}
	if quarantined > 0 {
		parts = append(parts, plural(quarantined, "store")+" in quarantine")
		if color == green {
			color = yellow
		}
	}
	text = strings.Join(parts, ", ")
	if n := v.Maintenance.InForce; n > 0 {
		text += "; " + plural(n, "switch") + " of maintenance in force"
	}
	return text, color
}

func (s *session) showWarnings(v *statusView) {
	if v.PoolSuspect {
		s.printf("%s %s\n", s.paint(red, "the pool itself is suspect:"), clean(v.PoolSuspectText))
	}
	if m := &v.Maintenance; m.Stale {
		s.printf("%s since %s: %s; the last known switches (revision %d) are in force\n",
			s.paint(red, "the state backend cannot be read"), s.clock(m.Synced), clean(m.Problem), m.Revision)
	}
	for _, text := range v.Warnings {
		s.printf("%s %s\n", s.paint(yellow, "warning:"), clean(text))
	}
	if n := v.Maintenance.Corrupt; n > 0 {
		s.printf("%s: %s maintenance list names them\n", s.paint(red, plural(n, "record")+" of the state backend cannot be read"), programName())
	}
	if v.InternalErrors > 0 {
		s.printf("%s: look for \"firebreak has a bug\" in the log\n", s.paint(red, plural(int(v.InternalErrors), "internal error")))
	}
}

func (s *session) zoneRow(z *zoneView) []string {
	since, why := z.cause()
	return []string{
		z.Zone, z.word(), s.since(since), strconv.Itoa(z.Live), strconv.Itoa(z.Hung), z.limit(),
		someOf(z.Quarantined, z.QuarantinedCount, 3), why,
	}
}

// limit is how many workers the zone may occupy; in mode observe no limit holds.
func (z *zoneView) limit() string {
	if z.Observe {
		return ""
	}
	return strconv.Itoa(z.MaxInflight)
}

// cause is since when the zone is not calm, and why: what happened at first, not
// what the latest probe has found.
func (z *zoneView) cause() (since time.Time, why string) {
	switch {
	case z.Hold != nil:
		return z.Hold.Since, cmp.Or(z.Hold.Reason, z.Evidence)
	case z.State != breaker.Calm:
		since = z.EpisodeSince
		if since.IsZero() {
			since = z.Since
		}
		return since, cmp.Or(z.Cause, z.Evidence)
	case z.Maintenance != nil:
		return z.Maintenance.Since, z.Maintenance.Reason
	}
	return time.Time{}, ""
}

// someOf names the first few of count things.
func someOf(names []string, count, most int) string {
	if count == 0 {
		return ""
	}
	names = names[:min(len(names), most)]
	text := strings.Join(names, ", ")
	switch more := count - len(names); {
	case len(names) == 0:
		text = strconv.Itoa(count)
	case more > 0:
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}

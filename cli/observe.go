package cli

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// switchView is a switch as the API shows it.
type switchView struct {
	maintenance.Switch
	Phase maintenance.Phase `json:"phase"`
}

// zoneView is a zone as the API shows it.
type zoneView struct {
	breaker.ZoneStatus
	Maintenance *switchView `json:"maintenance"`
}

// statusView is the whole picture as the API shows it.
type statusView struct {
	breaker.Status
	Stores      int        `json:"stores"`
	ZoneViews   []zoneView `json:"-"`
	Maintenance struct {
		Revision uint64    `json:"revision"`
		Stale    bool      `json:"stale"`
		Problem  string    `json:"problem"`
		Synced   time.Time `json:"synced"`
		InForce  int       `json:"in_force"`
		Ahead    int       `json:"ahead"`
		Corrupt  int       `json:"corrupt"`
	} `json:"maintenance"`
	Fleet *struct {
		maintenance.Fleet
		Summary string `json:"summary"`
		Problem string `json:"problem"`
	} `json:"fleet"`
}

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
	for _, zone := range v.Zones {
		if zone.State != breaker.Calm || zone.QuarantinedCount > 0 || zone.Hold != nil {
			return false
		}
	}
	return !v.PoolSuspect && !v.Maintenance.Stale && v.Maintenance.InForce == 0
}

func (s *session) showStatus(v *statusView) {
	counts := make(map[breaker.State]int)
	quarantined := 0
	for _, zone := range v.Zones {
		counts[zone.State]++
		quarantined += zone.QuarantinedCount
	}
	headline := s.paint(green, fmt.Sprintf("all %s calm", plural(len(v.Zones), "zone")))
	if open := counts[breaker.Open] + counts[breaker.HalfOpen]; open > 0 {
		headline = s.paint(red, fmt.Sprintf("%d of %s cut off", open, plural(len(v.Zones), "zone")))
	} else if counts[breaker.Troubled] > 0 {
		headline = s.paint(yellow, fmt.Sprintf("%d of %s in trouble, none cut off", counts[breaker.Troubled], plural(len(v.Zones), "zone")))
	}
	s.printf("%s, %s in quarantine, %s in maintenance\n", headline, plural(quarantined, "store"), plural(v.Maintenance.InForce, "switch"))
	s.printf("workers: %d of %d occupied, %d of them hung; %s waiting\n", v.Occupied, v.Workers, v.Hung, plural(v.Waiting, "request"))
	s.showWarnings(v)
	rows := [][]string{{"ZONE", "STATE", "SINCE", "LIVE", "HUNG", "LIMIT", "QUARANTINED", "WHY"}}
	for i := range v.Zones {
		if zone := &v.Zones[i]; zone.State != breaker.Calm || zone.QuarantinedCount > 0 || zone.Hold != nil {
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

func (s *session) showWarnings(v *statusView) {
	if v.PoolSuspect {
		s.printf("%s %s\n", s.paint(red, "the pool itself is suspect:"), clean(v.PoolSuspectText))
	}
	if m := &v.Maintenance; m.Stale {
		s.printf("%s since %s: %s; the last known switches (revision %d) are in force\n",
			s.paint(red, "the state backend cannot be read"), s.clock(m.Synced), clean(m.Problem), m.Revision)
	}
	if n := v.Maintenance.Corrupt; n > 0 {
		s.printf("%s: %s maintenance list names them\n", s.paint(red, plural(n, "record")+" of the state backend cannot be read"), programName())
	}
	if v.InternalErrors > 0 {
		s.printf("%s: look for \"firebreak has a bug\" in the log\n", s.paint(red, plural(int(v.InternalErrors), "internal error")))
	}
}

func (s *session) zoneRow(z *breaker.ZoneStatus) []string {
	since := ""
	if z.State != breaker.Calm {
		since = s.since(z.Since)
	}
	return []string{
		z.Zone, zoneWord(z), since, strconv.Itoa(z.Live), strconv.Itoa(z.Hung), strconv.Itoa(z.MaxInflight),
		strconv.Itoa(z.QuarantinedCount), cut(z.Evidence, 70),
	}
}

func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}

func (s *session) showFleet(v *statusView) {
	s.printf("\nfleet: %s\n", v.Fleet.Summary)
	if v.Fleet.Problem != "" {
		s.printf("%s\n", s.paint(red, clean(v.Fleet.Problem)))
	}
	rows := [][]string{{"SIDECAR", "HOST", "APPLIES", "SEEN", "WORKERS", "HUNG", "ZONES IN TROUBLE", "VERSION"}}
	for _, i := range v.Fleet.Instances {
		applies := "revision " + strconv.FormatUint(i.Applies.Revision, 10)
		if i.Applies != v.Fleet.Latest {
			applies += " (behind)"
		}
		if i.Stale {
			applies += " (stale)"
		}
		var zones []string
		for _, zone := range i.Zones {
			zones = append(zones, zone.Zone+" "+fleetWord(zone.State))
		}
		rows = append(rows, []string{
			i.ID, i.Host, applies, s.since(i.At), fmt.Sprintf("%d of %d", i.Occupied, i.Workers), strconv.Itoa(i.Hung), strings.Join(zones, ", "), i.Version,
		})
	}
	s.table(rows)
}

var zonesCommand = &command{
	use: "zones", short: "Lists all zones, the most troubled first", args: cobra.NoArgs,
	examples: []string{"zones", "zones --json | jq '.[] | select(.state != \"calm\")'"},
	flags:    exitCodeFlag,
	run: func(s *session) error {
		var zones []zoneView
		if goOn, err := s.get("/firebreak/zones", &zones); !goOn {
			return err
		}
		rows, calm := [][]string{{"ZONE", "STATE", "SINCE", "LIVE", "HUNG", "LIMIT", "QUARANTINED", "MAINTENANCE", "WHY"}}, true
		for i := range zones {
			zone := &zones[i]
			row, switched := s.zoneRow(&zone.ZoneStatus), ""
			if zone.Maintenance != nil {
				switched = string(zone.Maintenance.Mode)
			}
			calm = calm && zone.State == breaker.Calm && zone.QuarantinedCount == 0 && zone.Hold == nil && zone.Maintenance == nil
			rows = append(rows, append(row[:7:7], switched, row[7]))
		}
		s.table(rows)
		if s.is("exit-code") && !calm {
			return errTrouble
		}
		return nil
	},
}

var culpritsCommand = &command{
	use: "culprits", short: "Names the stores that caused trouble, worst first", args: cobra.NoArgs,
	examples: []string{"culprits", "culprits --zone z7"},
	flags:    func(f *pflag.FlagSet) { f.String("zone", "", "Of this zone alone") },
	run: func(s *session) error {
		path := "/firebreak/culprits"
		if zone := s.text("zone"); zone != "" {
			path += "?zone=" + url.QueryEscape(zone)
		}
		var culprits []breaker.Culprit
		if goOn, err := s.get(path, &culprits); !goOn {
			return err
		}
		if len(culprits) == 0 {
			s.printf("no store is named as a cause\n")
			return nil
		}
		rows := [][]string{{"STORE", "ZONE", "STATE", "WORKER TIME LOST", "HUNG NOW", "FAILURES", "FIRST SEEN", "LAST SEEN", "EVIDENCE"}}
		for _, c := range culprits {
			rows = append(rows, []string{
				c.Store, c.Zone, storeWord(c.State), brief(time.Duration(c.WorkerSeconds * float64(time.Second))), strconv.Itoa(c.Hung), strconv.Itoa(c.Failures),
				s.clock(c.FirstSeen), s.clock(c.LastSeen), cut(c.Evidence, 70),
			})
		}
		s.table(rows)
		return nil
	},
}

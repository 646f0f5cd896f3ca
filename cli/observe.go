package cli

import (
	"net/url"
	"strconv"
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
	FromMemory  uint64      `json:"from_memory"`
}

// statusView is the whole picture as the API shows it.
type statusView struct {
	breaker.Status
	Zones       []zoneView `json:"zones"`
	ZoneCount   int        `json:"zone_count"`
	Stores      int        `json:"stores"`
	Warnings    []string   `json:"warnings"`
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

var zonesCommand = &command{
	use: "zones", short: "Lists all zones, the most troubled first", args: cobra.NoArgs,
	examples: []string{"zones", "zones --json | jq '.[] | select(.state != \"calm\")'"},
	flags:    exitCodeFlag,
	run: func(s *session) error {
		var zones []zoneView
		if goOn, err := s.get("/firebreak/zones?limit=0", &zones); !goOn {
			return err
		}
		rows, calm := [][]string{{"ZONE", "STATE", "SINCE", "LIVE", "HUNG", "LIMIT", "QUARANTINED", "MAINTENANCE", "WHY"}}, true
		for i := range zones {
			zone := &zones[i]
			row, switched := s.zoneRow(zone), ""
			if zone.Maintenance != nil {
				switched = string(zone.Maintenance.Mode)
			}
			calm = calm && zone.calm()
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
				s.clock(c.FirstSeen), s.clock(c.LastSeen), c.Evidence,
			})
		}
		s.table(rows)
		return nil
	},
}

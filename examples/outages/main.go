// Command outages plays the five outages that Firebreak was made for, in virtual
// time, and prints how long people needed and how long Firebreak needs. With
// -logs it also writes the access logs that a plain proxy would have written, for
// firebreak replay.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/firebreak-proxy/firebreak/replay/scenario"
)

func main() {
	logs := flag.String("logs", "", "write the access logs, the Caddyfile and the directory into this folder")
	times := flag.Int("times", 10, "how often each outage is played, each time with other clients")
	flag.Parse()
	if err := run(*logs, max(1, *times)); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(logs string, times int) error {
	outages := scenario.Outages()
	var all []scenario.Series
	for _, o := range outages {
		series, err := o.PlayMany(times)
		if err != nil {
			return fmt.Errorf("playing %s: %w", o.Name, err)
		}
		all = append(all, series)
	}
	if err := scenario.WriteTable(os.Stdout, all); err != nil {
		return err
	}
	fmt.Print(notes)
	if logs == "" {
		return nil
	}
	if err := scenario.WriteFiles(logs, outages); err != nil {
		return fmt.Errorf("writing the logs: %w", err)
	}
	fmt.Printf("\nThe access logs of a plain proxy are in %s. What would have come of them:\n\n  cd %s\n", logs, logs)
	for _, o := range outages {
		fmt.Printf("  firebreak replay %s.log.gz\n", o.Name)
	}
	return nil
}

const notes = `
PEOPLE is how long people took by the public reports, FIREBREAK how long it takes
from the beginning of the fault until the zone is open or its first damaged store
is in quarantine: the median of all plays, and the worst. WITHOUT is how many
requests of the other zones are answered well behind a plain proxy, in the same
time. A worker that hangs stays on firebreak's books until it has answered or its
server was restarted.
`

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
	if err := scenario.WriteTable(os.Stdout, all); err != nil || logs == "" {
		return err
	}
	if err := scenario.WriteFiles(logs, outages); err != nil {
		return fmt.Errorf("writing the logs: %w", err)
	}
	fmt.Printf("\nThe logs of a plain proxy are in %s. What would have come of them:\n\n", logs)
	for _, o := range outages {
		fmt.Printf("  firebreak replay %s/%s.log.gz --config %s/Caddyfile\n", logs, o.Name, logs)
	}
	return nil
}

// Command outage plays database outages in front of a real pool of workers:
// twelve zone databases, each a process of its own, an API server with 32
// workers that really block, and a proxy in front of it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

const help = `Usage: outage COMMAND [arguments]

Twelve zone databases, an API server with 32 blocking workers, and a proxy in
front of them: firebreak, or plain Caddy to see the difference.

  run                   start everything and say what to curl; Ctrl-C ends it
  freeze z7             stop the zone's process: it accepts and never answers
  hang z7 3             let the queries of 3 stores of the zone hang
  slow z7 1.5s          make each query of the zone slower
  refuse z7             close the zone's port
  heal z7               end every fault of the zone
  scenario NAME         play a fault through plain Caddy and through firebreak
                        and print both side by side; NAME is one of
                        freeze culprits slow refuse surge restart
  stores [FILE]         write the table of stores

Examples:
  outage run -firebreak bin/firebreak
  outage run -firebreak bin/firebreak -plain
  outage freeze z7 && sleep 10 && outage heal z7
  outage scenario freeze -firebreak bin/firebreak
  outage scenario culprits -k 6 -temperature hot -rate 200 -json

outage COMMAND --help shows the flags.
`

var commands = map[string]func(args []string) error{
	"run":      runMode,
	"scenario": scenarioMode,
	"stores":   storesMode,
	"freeze":   faultMode("freeze"),
	"hang":     faultMode("hang"),
	"slow":     faultMode("slow"),
	"refuse":   faultMode("refuse"),
	"heal":     faultMode("heal"),
	"zone":     zoneMode,
	"api":      apiMode,
}

func main() {
	os.Exit(mainCode(os.Args[1:]))
}

// mainCode returns the exit code: 0 done, 1 failed, 2 wrong usage.
func mainCode(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, help)
		return 2
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Print(help)
		return 0
	}
	command, found := commands[args[0]]
	if !found {
		fmt.Fprintf(os.Stderr, "outage: no such command %q; outage --help lists them\n", args[0])
		return 2
	}
	switch err := command(args[1:]); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	default:
		fmt.Fprintln(os.Stderr, "outage:", err)
		return 1
	}
}

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const defaultControl = "127.0.0.1:9002"

// control serves the faults of a running stage: POST /freeze?zone=z7 and
// likewise /hang (with k), /slow (with delay), /refuse and /heal.
func (s *stage) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{fault}", func(w http.ResponseWriter, r *http.Request) {
		done, err := s.play(r.PathValue("fault"), r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, done)
	})
	return mux
}

// play does one fault and says what it did.
func (s *stage) play(fault string, q url.Values) (string, error) {
	zone := q.Get("zone")
	switch fault {
	case "freeze":
		return zone + " is frozen: it accepts connections and never answers", s.freeze(zone)
	case "refuse":
		return zone + " refuses connections", s.refuse(zone)
	case "heal":
		return zone + " is well again", s.heal(zone)
	case "slow":
		delay, err := time.ParseDuration(q.Get("delay"))
		if err != nil {
			return "", err
		}
		return zone + " is slower by " + delay.String(), s.slow(zone, delay)
	case "hang":
		return s.playHang(zone, q.Get("k"))
	default:
		return "", fmt.Errorf("no such fault %q: try freeze, hang, slow, refuse or heal", fault)
	}
}

func (s *stage) playHang(zone, count string) (string, error) {
	index, err := zoneIndex(zone, s.size.zones)
	if err != nil {
		return "", err
	}
	k, err := strconv.Atoi(count)
	if err != nil {
		return "", err
	}
	ids, err := culprits(index, k, "mixed")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: hanging: %s", zone, strings.Join(ids, " ")), s.hang(zone, ids)
}

// faultMode is a subcommand that tells a running `outage run` to play a fault.
func faultMode(fault string) func([]string) error {
	return func(args []string) error {
		usage, extra, fallback := faultUsage(fault)
		fs := newFlags(fault, usage, "talks to a running `outage run`.\n\nExample:\n  outage "+fault+" "+example(fault))
		control := fs.String("control", defaultControl, "control address of outage run")
		rest, err := parseFlags(fs, args)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			fs.Usage()
			return errUsage
		}
		q := url.Values{"zone": rest[:1]}
		if extra != "" {
			q.Set(extra, fallback)
		}
		if extra != "" && len(rest) > 1 {
			q.Set(extra, rest[1])
		}
		said, err := post("http://" + *control + "/" + fault + "?" + q.Encode())
		if err != nil {
			return fmt.Errorf("%s %s: %w", fault, rest[0], err)
		}
		fmt.Println(said)
		return nil
	}
}

// faultUsage is the arguments of a fault, and the name and default of the
// second one.
func faultUsage(fault string) (usage, extra, fallback string) {
	switch fault {
	case "hang":
		return "ZONE [STORES]", "k", "3"
	case "slow":
		return "ZONE [DELAY]", "delay", "1.5s"
	default:
		return "ZONE", "", ""
	}
}

func example(fault string) string {
	switch fault {
	case "hang":
		return "z7 3"
	case "slow":
		return "z7 1.5s"
	default:
		return "z7"
	}
}

package sizing

import (
	"fmt"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// Caddyfile is the plan's settings as a global option, with the directive that
// uses it.
func (p *Plan) Caddyfile() string {
	var b strings.Builder
	line := func(indent int, text, why string) {
		text = strings.Repeat("\t", indent) + text
		if why != "" {
			text += " # " + why
		}
		b.WriteString(text + "\n")
	}
	line(0, "{", "")
	line(1, "firebreak {", "")
	if p.Servers > 1 && p.Workers%p.Servers == 0 {
		line(2, fmt.Sprintf("workers %d per_server", p.Workers/p.Servers), "and lb_policy firebreak in reverse_proxy")
	} else {
		line(2, fmt.Sprintf("workers %d", p.Workers), "")
	}
	line(2, "directory file stores.csv", "store,zone")
	line(2, "zone * {", "")
	line(3, "timeout "+short(p.Timeout), "until the first byte")
	line(3, "slow_after "+short(p.SlowAfter), fmt.Sprintf("999 of 1,000 requests are done by %s", short(p.P999.Round(time.Millisecond))))
	if p.Window > max(10*time.Second, windows*p.Timeout) {
		line(3, "window "+short(p.Window), "")
	}
	if p.MaxInflight > 0 {
		line(3, fmt.Sprintf("max_inflight %d", p.MaxInflight), fmt.Sprintf("the busiest zone needs %d in 99 of 100 moments", p.ZoneNeed))
	}
	line(3, "max_wait "+short(p.MaxWait), fmt.Sprintf("a burst of %d requests passes", p.Burst))
	if p.HungHold > 0 {
		line(3, "hung_hold "+short(p.HungHold), "after a restart, and behind a transport that is not firebreak's")
	}
	line(2, "}", "")
	line(1, "}", "")
	line(0, "}", "")
	return b.String()
}

// short is a duration without its empty parts: 1m0s is 1m.
func short(d time.Duration) string {
	text := config.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

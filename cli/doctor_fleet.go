package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// checkFleet compares the sidecars that share the state.
func (e *examined) checkFleet() []finding {
	if e.status.Fleet == nil || len(e.status.Fleet.Instances) < 2 {
		return nil
	}
	found := e.checkAlike()
	var behind []string
	for i := range e.status.Fleet.Instances {
		if sidecar := &e.status.Fleet.Instances[i]; sidecar.Applies != e.status.Fleet.Latest || sidecar.Stale {
			behind = append(behind, sidecar.ID)
		}
	}
	if len(behind) > 0 {
		found = append(found, finding{
			Check: "fleet", Finding: "sidecars that do not apply the latest switches: " + someOf(behind, len(behind), 5),
			Write: programName() + " status --fleet   # then look at the state backend from there",
		})
	}
	if e.app.Share != "" {
		return found
	}
	hosts := e.sidecarsBy(func(i *maintenance.Instance) string { return i.Host })
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		if ids := hosts[host]; len(ids) > 1 {
			found = append(found, finding{
				Check:   "share",
				Finding: fmt.Sprintf("%s run on host %s, and each counts all workers as its own: in front of the same API server they admit too many", someOf(ids, len(ids), 5), host),
				Write:   "share auto   # in the global option firebreak",
			})
		}
	}
	return found
}

// checkAlike finds sidecars that are not set up like the others.
func (e *examined) checkAlike() (found []finding) {
	for _, alike := range []struct {
		what, write string
		value       func(*maintenance.Instance) string
	}{
		{"versions", "the same program on every host   # docs/upgrade.md", func(i *maintenance.Instance) string { return i.Version }},
		{"workers", "workers_per_server 32   # follows the servers in service; or the same Caddyfile everywhere", func(i *maintenance.Instance) string { return fmt.Sprint(i.Workers) }},
		{"numbers of zones", "the same directory on every sidecar   # " + programName() + " zones lists those of one", func(i *maintenance.Instance) string { return fmt.Sprint(i.ZoneCount) }},
	} {
		if by := e.sidecarsBy(alike.value); len(by) > 1 {
			found = append(found, finding{Check: "fleet", Finding: "sidecars differ in their " + alike.what + ": " + groups(by), Write: alike.write})
		}
	}
	return found
}

// sidecarsBy lists the ids of sidecars by a value of theirs.
func (e *examined) sidecarsBy(value func(*maintenance.Instance) string) map[string][]string {
	by := make(map[string][]string)
	for i := range e.status.Fleet.Instances {
		sidecar := &e.status.Fleet.Instances[i]
		by[value(sidecar)] = append(by[value(sidecar)], sidecar.ID)
	}
	return by
}

// groups lists the values and the sidecars that have them, the rarest first.
func groups(by map[string][]string) string {
	values := slices.Sorted(maps.Keys(by))
	slices.SortStableFunc(values, func(a, b string) int { return len(by[a]) - len(by[b]) })
	var parts []string
	for _, value := range values {
		slices.Sort(by[value])
		parts = append(parts, fmt.Sprintf("%s (%s)", value, someOf(by[value], len(by[value]), 3)))
	}
	return strings.Join(parts, ", ")
}

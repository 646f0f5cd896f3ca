package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// longTimeout is the timeout above which a zone's outage is felt by people
// before firebreak can be sure of it.
const longTimeout = 10 * time.Second

// logStart says in words what is guarded, and warns of settings that are
// probably not meant.
func (a *App) logStart(zones []string) {
	fields := []zap.Field{
		zap.Int("workers", a.policy.Workers),
		zap.Int("zones", len(zones)),
		zap.String("limits", limitsInWords(&a.policy.Default)),
	}
	if lister, ok := a.directory.(routing.Lister); ok {
		fields = append(fields, zap.Int("stores", lister.Len()))
	}
	a.log.Info(telemetry.LogStarted, fields...)
	a.warn()
}

// warn warns of what loads without an error and is probably not meant.
func (a *App) warn() {
	a.warnDirectory(a.directory.Zones())
	a.warnTimeouts()
	a.warnRoutes()
}

func (a *App) warnDirectory(zones []string) {
	if a.directory == (noDirectory{}) {
		a.log.Warn(telemetry.LogNoDirectory, zap.String("next", "add a directory to the firebreak settings, for example: directory file stores.csv"))
		return
	}
	if len(zones) == 0 {
		return // it cannot tell
	}
	for _, name := range slices.Sorted(maps.Keys(a.policy.Zones)) {
		if name != config.UnknownZone && !slices.Contains(zones, name) {
			a.log.Warn(telemetry.LogZoneNotInDirectory, zap.String(telemetry.FieldZone, name),
				zap.String("did_you_mean", directive.Nearest(name, zones)),
				zap.String(telemetry.FieldNext, fmt.Sprintf("correct the name in zone %s { ... }, or add its stores to the directory; its zones are %s", name, shorten.List(zones))))
		}
	}
}

func (a *App) warnTimeouts() {
	if a.policy.Default.Timeout > longTimeout {
		a.warnTimeout(config.AllZones, &a.policy.Default)
	}
	for _, name := range slices.Sorted(maps.Keys(a.policy.Zones)) {
		zone := a.policy.Zones[name]
		if zone.Timeout > longTimeout && zone.Timeout != a.policy.Default.Timeout {
			a.warnTimeout(name, &zone)
		}
	}
}

func (a *App) warnTimeout(name string, zone *config.ZonePolicy) {
	a.log.Warn(telemetry.LogLongTimeout, zap.String(telemetry.FieldZone, name), zap.Duration("timeout", zone.Timeout),
		zap.String("next", fmt.Sprintf("a frozen zone is seen only after slow_after (%s) and a stuck client waits for all of the timeout; set it to a little more than the slowest normal answer", zone.SlowAfter)))
}

// limitsInWords says what a zone may take.
func limitsInWords(zone *config.ZonePolicy) string {
	limit := "a zone that is answered may use every worker that no other zone needs"
	if zone.MaxInflight > 0 {
		limit = fmt.Sprintf("a zone may occupy %d workers", zone.MaxInflight)
	}
	return fmt.Sprintf("%s, one in doubt no more than it takes to ask %d stores; a request has %s until its first byte and may wait %s for a worker",
		limit, zone.MinBadStores, zone.Timeout, zone.MaxWait)
}

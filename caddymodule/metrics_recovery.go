package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-proxy/firebreak/recovery"
)

var (
	descRecoveries     = describe("recoveries", "Recoveries that are not finished.", "state")
	descRecoveryStores = describe("recovery_stores", "Stores of unfinished recoveries; zone is empty for lists of stores.", "zone", "state")
	descRecovered      = describe("recovered_stores_total", "Stores that recoveries have released since start.")
)

// meteredRecoveries bounds the zones whose recoveries have series of their own.
const meteredRecoveries = 20

func collectRecoveries(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string), jobs *recovery.Jobs) {
	gauge := prometheus.GaugeValue
	sum := jobs.Summary()
	send(descRecoveries, gauge, float64(sum.Running), string(recovery.Running))
	send(descRecoveries, gauge, float64(sum.Paused), string(recovery.Paused))
	send(descRecovered, prometheus.CounterValue, float64(sum.Released))
	for _, z := range sum.Zones[:min(len(sum.Zones), meteredRecoveries)] {
		send(descRecoveryStores, gauge, float64(z.Released), z.Zone, "released")
		send(descRecoveryStores, gauge, float64(z.Failing), z.Zone, "failing")
		send(descRecoveryStores, gauge, float64(z.Remaining), z.Zone, "remaining")
	}
}

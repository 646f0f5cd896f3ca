package telemetry

import "github.com/firebreak-proxy/firebreak/recovery"

// meteredRecoveries bounds the zones whose recoveries have series of their own:
// they are among the 200 that all zones share.
const meteredRecoveries = 5

// collectRecoveries sends the recoveries that are not finished.
func collectRecoveries(out collection, jobs *recovery.Jobs) {
	sum := jobs.Summary()
	out.send(recoveryJobs, float64(sum.Running), string(recovery.Running))
	out.send(recoveryJobs, float64(sum.Paused), string(recovery.Paused))
	out.send(recoveredStores, float64(sum.Released))
	out.send(recoveryRepairs, float64(sum.Repaired), "done")
	out.send(recoveryRepairs, float64(sum.RepairsFailed), "failed")
	work := make(map[string]int)
	for _, item := range jobs.Work() {
		work[item.State]++
	}
	for _, state := range []string{recovery.WorkOpen, recovery.WorkClaimed, recovery.WorkChecking} {
		out.send(recoveryWork, float64(work[state]), state)
	}
	for _, z := range sum.Zones[:min(len(sum.Zones), meteredRecoveries)] {
		out.send(recoveryStores, float64(z.Released), "released", z.Zone)
		out.send(recoveryStores, float64(z.Failing), "failing", z.Zone)
		out.send(recoveryStores, float64(z.Remaining), "remaining", z.Zone)
		out.send(recoveryStores, float64(z.Repairing), "repairing", z.Zone)
	}
}

package telemetry

import "github.com/firebreak-proxy/firebreak/fleet"

// collectFleet sends what the fleet has done; nil: there is none.
func collectFleet(out collection, c *fleet.Counts) {
	if c == nil {
		return
	}
	out.send(fleetConnected, oneIf(c.Connected.Load()))
	out.send(fleetSidecars, float64(c.Sidecars.Load()))
	out.send(fleetMessages, float64(c.Sent.Load()), "sent")
	out.send(fleetMessages, float64(c.SendFailures.Load()), "unsent")
	out.send(fleetMessages, float64(c.Received.Load()), "received")
	out.send(fleetBytes, float64(c.SentBytes.Load()), "sent")
	out.send(fleetBytes, float64(c.ReceivedBytes.Load()), "received")
	for reason, n := range c.Dropped {
		out.send(fleetDropped, float64(n), reason.String())
	}
	out.send(fleetAgreements, float64(c.Agreements.Load()))
	out.send(fleetVetoes, float64(c.Vetoes.Load()))
	out.send(fleetDiscredited, float64(c.Discredited.Load()))
	out.send(fleetLeases, float64(c.LeasesGranted.Load()), "granted")
	out.send(fleetLeases, float64(c.LeasesRefused.Load()), "refused")
	out.send(fleetLeases, float64(c.LeasesFailed.Load()), "none")
}

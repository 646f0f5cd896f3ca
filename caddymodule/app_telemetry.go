package caddymodule

import (
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// followMeters makes scrapes read this app.
func (a *App) followMeters() {
	mine := &telemetry.Source{Guard: a.Guard(), Board: a.board, Directory: a.directory, Jobs: a.recoveries.Jobs, Answers: a.answers.Memory, Fleet: a.fleetCounts()}
	previous := telemetry.Shared().Follow(mine)
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.meters = [2]*telemetry.Source{mine, previous}
}

// unfollowMeters ends that. Callers hold live.mu.
func (a *App) unfollowMeters() {
	telemetry.Shared().Unfollow(a.live.meters[0], a.live.meters[1])
	a.live.meters = [2]*telemetry.Source{}
}

// eventSources is where the events come from that this app tells of.
func (a *App) eventSources() telemetry.Sources {
	return telemetry.Sources{
		Guard: a.Guard(), Turn: a.shared.turn, Switches: a.board.Events(), Jobs: a.recoveries.Jobs, Episodes: a.shared.episodes,
		Listener: a.shared.recent.Events, Incidents: a.watchIncidents,
	}
}

package caddymodule

import (
	"time"

	"github.com/firebreak-proxy/firebreak/admin"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// AdminAPI implements what the admin API wants of the app.
func (a *App) AdminAPI() *admin.API { return a.admin }

func (a *App) newAdminAPI() *admin.API {
	return admin.New(admin.Parts{
		Guard: a.Guard(), Policy: a.policy, Directory: a.directory, Board: a.board, Jobs: a.recoveries.Jobs,
		Events: a.shared.recent.Events, History: a.shared.recent.History, Incidents: a.keptIncidents, Handlers: a.guardHandlers,
		Warnings: a.shared.others.Warnings, Instance: a.Instance, Ended: a.live.ended,
		Answers: admin.Answers{Memory: a.answers.Memory, Given: telemetry.Shared().StaleAnswers, Of: telemetry.Shared().AnsweredFromMemory},
	})
}

// keptIncidents are the incidents as the admin API sees them; nil: none are kept.
func (a *App) keptIncidents() admin.Incidents {
	if log := a.incidentLog(); log != nil {
		return log
	}
	return nil // and not a nil pointer in an interface, which would not be nil
}

// guardHandlers are the handlers as the admin API sees them.
func (a *App) guardHandlers() []admin.Handler {
	handlers := a.registeredHandlers()
	seen := make([]admin.Handler, len(handlers))
	for i, h := range handlers {
		seen[i] = admin.Handler{
			Keys: h.Keys, Extractor: h.extractor, RefuseUnknown: h.Unknown == unknownRefuse,
			Timeout: time.Duration(h.Timeout), ObservesUnknown: h.observesUnknown,
		}
	}
	return seen
}

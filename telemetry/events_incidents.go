package telemetry

import (
	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
)

// keepIncident hands a transition to the log of incidents, whose bugs must not
// end the worker.
func (w *Reporter) keepIncident(e *breaker.Event) {
	defer w.survive("incidents")
	w.incidents.Tell(e)
}

func (w *Reporter) keepSwitch(e *maintenance.Event) {
	defer w.survive("incidents")
	w.incidents.TellSwitch(e)
}

// keepRecovery adds a step of a recovery to the incident of its zone.
func (w *Reporter) keepRecovery(e *recovery.Event, message string) {
	defer w.survive("incidents")
	text := message
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	w.incidents.Note(e.Zone, e.At, e.Kind, e.Store, text)
	if f := e.Figures; f != nil {
		w.incidents.NoteRecovery(e.Zone, incidents.Recovery{
			ID: e.Recovery, Total: f.Total, Automatic: f.Automatic, Repaired: f.Repaired, Manual: f.Manual, Remaining: f.Remaining,
			ProbeFailed: f.ProbeFailed,
			Began:       f.Began, FirstAt: f.FirstAt, AutomaticAt: f.LastAutomatic, ManualAt: f.LastManual,
		})
	}
}

// survive logs a panic.
func (w *Reporter) survive(where string) {
	if p := recover(); p != nil {
		Shared().Panics.Inc()
		w.log.Error(LogInternalError, zap.String("where", where), zap.Any("panic", p), zap.Stack("stack"))
	}
}

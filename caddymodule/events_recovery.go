package caddymodule

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/firebreak-proxy/firebreak/recovery"
)

// Messages and fields about recoveries. Changing one is a breaking change.
const (
	logRecoveryStarted    = "recovery begins: stores in maintenance are checked and released one by one"
	logRecoveryPaused     = "recovery is paused"
	logRecoveryResumed    = "recovery goes on"
	logRecoveryCancelled  = "recovery is cancelled; what it has released stays released"
	logRecoveryDone       = "recovery is done"
	logRecoveryBatch      = "stores are released from maintenance"
	logRecoveryUnreadable = "a recovery cannot be read from its file and is left out"
	logRecoveryAnew       = "what stores passed before the restart does not count; their checks begin anew"

	fieldRecovery = "recovery"
)

// recoveryStories are all events about recoveries.
var recoveryStories = map[string]struct {
	level   zapcore.Level
	message string
	next    string
}{
	recovery.EventStarted:    {zapcore.InfoLevel, logRecoveryStarted, "it can be watched, paused and cancelled: firebreak recover show ID --watch"},
	recovery.EventPaused:     {zapcore.WarnLevel, logRecoveryPaused, "look at the stores it names, put them back into maintenance if they are ill, then: firebreak recover resume ID"},
	recovery.EventResumed:    {zapcore.InfoLevel, logRecoveryResumed, ""},
	recovery.EventCancelled:  {zapcore.WarnLevel, logRecoveryCancelled, ""},
	recovery.EventDone:       {zapcore.InfoLevel, logRecoveryDone, "stores that fail stay in maintenance; repair them and recover again"},
	recovery.EventBatch:      {zapcore.InfoLevel, logRecoveryBatch, ""},
	recovery.EventUnreadable: {zapcore.ErrorLevel, logRecoveryUnreadable, "begin the recovery anew; stores that were released stay released"},
	recovery.EventAnew:       {zapcore.WarnLevel, logRecoveryAnew, ""},
}

// tellRecovery logs and emits an event about a recovery.
func (w *eventWorker) tellRecovery(e *recovery.Event) {
	told, ok := recoveryStories[e.Kind]
	if !ok {
		told.level, told.message = zapcore.InfoLevel, e.Kind
	}
	w.keepRecovery(e, told.message)
	if entry := w.log.Check(told.level, told.message); entry != nil {
		fields := []zap.Field{zap.String(fieldRecovery, e.Recovery), zap.String(fieldDetail, e.Detail)}
		for _, f := range []struct{ name, value string }{
			{fieldZone, e.Zone}, {fieldStore, e.Store}, {fieldBy, e.By}, {fieldReason, e.Reason}, {fieldNext, told.next},
		} {
			if f.value != "" {
				fields = append(fields, zap.String(f.name, f.value))
			}
		}
		if e.Count > 0 {
			fields = append(fields, zap.Int(fieldCount, e.Count))
		}
		entry.Write(fields...)
	}
	w.emit(e.Kind, recoveryData(e, told.message, told.next))
}

// recoveryData is flat, so that handlers can use {event.data.recovery} and the
// like.
func recoveryData(e *recovery.Event, message, next string) map[string]any {
	return map[string]any{
		fieldRecovery: e.Recovery, fieldZone: e.Zone, fieldStore: e.Store, fieldDetail: e.Detail, fieldBy: e.By, fieldReason: e.Reason,
		fieldCount: e.Count, fieldNext: next, "message": message, "at": e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
}

package telemetry

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/firebreak-proxy/firebreak/recovery"
)

// Messages and fields about recoveries. Changing one is a breaking change.
const (
	LogRecoveryStarted    = "recovery begins: stores in maintenance are checked and released one by one"
	LogRecoveryPaused     = "recovery is paused"
	LogRecoveryResumed    = "recovery goes on"
	LogRecoveryCancelled  = "recovery is cancelled; what it has released stays released"
	LogRecoveryDone       = "recovery is done"
	LogRecoveryBatch      = "stores are released from maintenance"
	LogRecoveryUnreadable = "a recovery cannot be read from its file and is left out"
	LogRecoveryRepaired   = "stores were repaired and are checked again"
	LogRecoveryWork       = "a person has done something about a store on the work list"
	LogRecoveryAnew       = "what stores passed before the restart does not count; their checks begin anew"

	FieldRecovery = "recovery"
)

// recoveryStories are all events about recoveries.
var recoveryStories = map[string]struct {
	level   zapcore.Level
	message string
	next    string
}{
	recovery.EventStarted:    {zapcore.InfoLevel, LogRecoveryStarted, "it can be watched, paused and cancelled: firebreak recover show ID --watch"},
	recovery.EventPaused:     {zapcore.WarnLevel, LogRecoveryPaused, "look at the stores it names, put them back into maintenance if they are ill, then: firebreak recover resume ID"},
	recovery.EventResumed:    {zapcore.InfoLevel, LogRecoveryResumed, ""},
	recovery.EventCancelled:  {zapcore.WarnLevel, LogRecoveryCancelled, ""},
	recovery.EventDone:       {zapcore.InfoLevel, LogRecoveryDone, "stores that fail stay in maintenance; the work list says which: firebreak recover work"},
	recovery.EventBatch:      {zapcore.InfoLevel, LogRecoveryBatch, ""},
	recovery.EventUnreadable: {zapcore.ErrorLevel, LogRecoveryUnreadable, "begin the recovery anew; stores that were released stay released"},
	recovery.EventRepaired:   {zapcore.InfoLevel, LogRecoveryRepaired, ""},
	recovery.EventWork:       {zapcore.InfoLevel, LogRecoveryWork, ""},
	recovery.EventAnew:       {zapcore.WarnLevel, LogRecoveryAnew, ""},
}

// tellRecovery logs and emits an event about a recovery.
func (w *Reporter) tellRecovery(e *recovery.Event) {
	told, ok := recoveryStories[e.Kind]
	if !ok {
		told.level, told.message = zapcore.InfoLevel, e.Kind
	}
	w.keepRecovery(e, told.message)
	if entry := w.log.Check(told.level, told.message); entry != nil {
		fields := []zap.Field{zap.String(FieldRecovery, e.Recovery), zap.String(FieldDetail, e.Detail)}
		for _, f := range []struct{ name, value string }{
			{FieldZone, e.Zone}, {FieldStore, e.Store}, {FieldBy, e.By}, {FieldReason, e.Reason}, {FieldNext, told.next},
		} {
			if f.value != "" {
				fields = append(fields, zap.String(f.name, f.value))
			}
		}
		if e.Count > 0 {
			fields = append(fields, zap.Int(FieldCount, e.Count))
		}
		entry.Write(fields...)
	}
	w.emit(e.Kind, recoveryData(e, told.message, told.next))
}

// recoveryData is flat, so that handlers can use {event.data.recovery} and the
// like.
func recoveryData(e *recovery.Event, message, next string) map[string]any {
	return map[string]any{
		FieldRecovery: e.Recovery, FieldZone: e.Zone, FieldStore: e.Store, FieldDetail: e.Detail, FieldBy: e.By, FieldReason: e.Reason,
		FieldCount: e.Count, FieldNext: next, "message": message, "at": e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
}

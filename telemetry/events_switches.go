package telemetry

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// switchStories are all events about operators' switches.
var switchStories = map[string]struct {
	level   zapcore.Level
	message string
	next    string
}{
	maintenance.EventSwitchSet:      {zapcore.InfoLevel, LogSwitchSet, ""},
	maintenance.EventSwitchCleared:  {zapcore.InfoLevel, LogSwitchCleared, ""},
	maintenance.EventSwitchReleased: {zapcore.InfoLevel, LogSwitchReleased, ""},
	maintenance.EventSwitchBegan:    {zapcore.InfoLevel, LogSwitchBegan, ""},
	maintenance.EventSwitchExpired:  {zapcore.InfoLevel, LogSwitchExpired, ""},
	maintenance.EventStale:          {zapcore.WarnLevel, LogStateStale, "look at the state backend; to refuse a zone on this sidecar alone meanwhile: POST /firebreak/zones/{zone}/isolate"},
	maintenance.EventSynced:         {zapcore.InfoLevel, LogStateSynced, ""},
	maintenance.EventRestored:       {zapcore.WarnLevel, LogStateRestored, "find out why the backend lost them: was it emptied, or does it keep nothing on disk?"},
	maintenance.EventRecordsCorrupt: {zapcore.ErrorLevel, LogRecordsCorrupt, "set the switches anew that are missing in GET /firebreak/maintenance; it names the records"},
}

// tellSwitch logs and emits an event about switches.
func (w *Reporter) tellSwitch(e *maintenance.Event) {
	w.keepSwitch(e)
	told, ok := switchStories[e.Kind]
	if !ok {
		told.level, told.message = zapcore.InfoLevel, e.Kind
	}
	if sw := e.Switch; sw != nil && sw.Scope == maintenance.Server {
		told.message = drainStory(e.Kind)
	}
	if sw := e.Switch; sw != nil && sw.Scope == maintenance.Stale {
		told.message = staleStory(e.Kind)
	}
	data := switchData(e, told.message, told.next)
	fields := []zap.Field{zap.String(FieldDetail, e.Detail), zap.Uint64(FieldRevision, e.Revision)}
	if sw := e.Switch; sw != nil {
		data[FieldScope], data[FieldMode], data[FieldBy], data[FieldReason] = string(sw.Scope), string(sw.Mode), sw.By, sw.Reason
		fields = append(fields, zap.String(FieldScope, string(sw.Scope)), zap.String(FieldMode, string(sw.Mode)), zap.String(FieldBy, sw.By), zap.String(FieldReason, sw.Reason))
		switch sw.Scope {
		case maintenance.Zone:
			data[FieldZone] = sw.Name
			fields = append(fields, zap.String(FieldZone, sw.Name))
		case maintenance.Store:
			data[FieldStore] = sw.Name
			fields = append(fields, zap.String(FieldStore, sw.Name))
		case maintenance.Server:
			data[FieldServer] = sw.Name
			fields = append(fields, zap.String(FieldServer, sw.Name))
		case maintenance.All, maintenance.Stale:
		}
		if !sw.Until.IsZero() {
			data[FieldUntil] = sw.Until.UTC().Format(time.RFC3339)
			fields = append(fields, zap.Time(FieldUntil, sw.Until))
		}
	}
	if e.Count > 1 || e.Switch == nil && e.Count > 0 {
		fields = append(fields, zap.Int(FieldCount, e.Count))
	}
	if told.next != "" {
		fields = append(fields, zap.String(FieldNext, told.next))
	}
	if entry := w.log.Check(told.level, told.message); entry != nil {
		entry.Write(fields...)
	}
	w.emit(e.Kind, data)
}

// drainStory is what an event means for a server.
func drainStory(kind string) string {
	if kind == maintenance.EventSwitchCleared || kind == maintenance.EventSwitchExpired {
		return LogServerUndrained
	}
	return LogServerDrained
}

// staleStory is what an event means for answers from memory.
func staleStory(kind string) string {
	if kind == maintenance.EventSwitchCleared || kind == maintenance.EventSwitchExpired {
		return LogStaleOn
	}
	return LogStaleOff
}

// switchData is flat, as eventData is; fields of the switch are filled in by
// the caller.
func switchData(e *maintenance.Event, message, next string) map[string]any {
	return map[string]any{
		FieldDetail: e.Detail, FieldRevision: e.Revision, FieldCount: e.Count, FieldNext: next,
		FieldScope: "", FieldZone: "", FieldStore: "", FieldServer: "", FieldMode: "", FieldBy: "", FieldReason: "", FieldUntil: "",
		"message": message, "at": e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
}

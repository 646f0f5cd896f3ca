package caddymodule

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
	maintenance.EventSwitchSet:      {zapcore.InfoLevel, logSwitchSet, ""},
	maintenance.EventSwitchCleared:  {zapcore.InfoLevel, logSwitchCleared, ""},
	maintenance.EventSwitchReleased: {zapcore.InfoLevel, logSwitchReleased, ""},
	maintenance.EventSwitchBegan:    {zapcore.InfoLevel, logSwitchBegan, ""},
	maintenance.EventSwitchExpired:  {zapcore.InfoLevel, logSwitchExpired, ""},
	maintenance.EventStale:          {zapcore.WarnLevel, logStateStale, "look at the state backend; to refuse a zone on this sidecar alone meanwhile: POST /firebreak/zones/{zone}/isolate"},
	maintenance.EventSynced:         {zapcore.InfoLevel, logStateSynced, ""},
	maintenance.EventRestored:       {zapcore.WarnLevel, logStateRestored, "find out why the backend lost them: was it emptied, or does it keep nothing on disk?"},
	maintenance.EventRecordsCorrupt: {zapcore.ErrorLevel, logRecordsCorrupt, "set the switches anew that are missing in GET /firebreak/maintenance; it names the records"},
}

// tellSwitch logs and emits an event about switches.
func (w *eventWorker) tellSwitch(e *maintenance.Event) {
	w.keepSwitch(e)
	told, ok := switchStories[e.Kind]
	if !ok {
		told.level, told.message = zapcore.InfoLevel, e.Kind
	}
	if sw := e.Switch; sw != nil && sw.Scope == maintenance.Server {
		told.message = drainStory(e.Kind)
	}
	data := switchData(e, told.message, told.next)
	fields := []zap.Field{zap.String(fieldDetail, e.Detail), zap.Uint64(fieldRevision, e.Revision)}
	if sw := e.Switch; sw != nil {
		data[fieldScope], data[fieldMode], data[fieldBy], data[fieldReason] = string(sw.Scope), string(sw.Mode), sw.By, sw.Reason
		fields = append(fields, zap.String(fieldScope, string(sw.Scope)), zap.String(fieldMode, string(sw.Mode)), zap.String(fieldBy, sw.By), zap.String(fieldReason, sw.Reason))
		switch sw.Scope {
		case maintenance.Zone:
			data[fieldZone] = sw.Name
			fields = append(fields, zap.String(fieldZone, sw.Name))
		case maintenance.Store:
			data[fieldStore] = sw.Name
			fields = append(fields, zap.String(fieldStore, sw.Name))
		case maintenance.Server:
			data[fieldServer] = sw.Name
			fields = append(fields, zap.String(fieldServer, sw.Name))
		case maintenance.All:
		}
		if !sw.Until.IsZero() {
			data[fieldUntil] = sw.Until.UTC().Format(time.RFC3339)
			fields = append(fields, zap.Time(fieldUntil, sw.Until))
		}
	}
	if e.Count > 1 || e.Switch == nil && e.Count > 0 {
		fields = append(fields, zap.Int(fieldCount, e.Count))
	}
	if told.next != "" {
		fields = append(fields, zap.String(fieldNext, told.next))
	}
	if entry := w.log.Check(told.level, told.message); entry != nil {
		entry.Write(fields...)
	}
	w.emit(e.Kind, data)
}

// drainStory is what an event means for a server.
func drainStory(kind string) string {
	if kind == maintenance.EventSwitchCleared || kind == maintenance.EventSwitchExpired {
		return logServerUndrained
	}
	return logServerDrained
}

// switchData is flat, as eventData is; fields of the switch are filled in by
// the caller.
func switchData(e *maintenance.Event, message, next string) map[string]any {
	return map[string]any{
		fieldDetail: e.Detail, fieldRevision: e.Revision, fieldCount: e.Count, fieldNext: next,
		fieldScope: "", fieldZone: "", fieldStore: "", fieldServer: "", fieldMode: "", fieldBy: "", fieldReason: "", fieldUntil: "",
		"message": message, "at": e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
}

package telemetry

import (
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/incidents"
)

// Messages and fields about episodes. Changing one is a breaking change.
const (
	LogEpisodeBegan    = "an episode has begun: this sidecar tells of it for all"
	LogEpisodeWorsened = "an episode is worse: this sidecar tells of it for all"
	LogEpisodeMerged   = "an episode goes on under the id that the fleet has told of"
	LogEpisodeEnded    = "an episode is over: this sidecar tells of it for all"

	FieldIncident = "incident"
	FieldSidecars = "sidecars"
)

// episodeStories are all events about episodes.
var episodeStories = map[string]struct {
	level   zapcore.Level
	message string
}{
	episodes.EventBegan:    {zapcore.WarnLevel, LogEpisodeBegan},
	episodes.EventWorsened: {zapcore.WarnLevel, LogEpisodeWorsened},
	episodes.EventMerged:   {zapcore.InfoLevel, LogEpisodeMerged},
	episodes.EventEnded:    {zapcore.InfoLevel, LogEpisodeEnded},
}

// tellEpisode logs and emits what this sidecar tells for all, and settles it when
// every webhook has accepted or refused it.
func (w *Reporter) tellEpisode(e *episodes.Event) {
	told := episodeStories[e.Kind]
	if entry := w.log.Check(told.level, told.message); entry != nil {
		about := zap.String(FieldZone, e.Zone)
		if e.Server != "" {
			about = zap.String(FieldServer, e.Server)
		}
		entry.Write(about, zap.String(FieldIncident, e.ID), zap.Int(FieldSidecars, len(e.Sidecars)))
	}
	key := receiptKey(EventPrefix+e.Kind, e.ID)
	receipt := openReceipt(key, e.Settle)
	defer receipt.seal(key)
	w.emit(e.Kind, episodeData(e))
}

// The words for how grave an episode is.
const (
	graveZone   = "zone"
	graveStores = "stores"
	graveServer = "server"
)

// episodeData is flat, as eventData is.
func episodeData(e *episodes.Event) map[string]any {
	sum := &e.Sum
	grave := graveZone
	switch {
	case e.Server != "":
		grave = graveServer
	case e.Grave == incidents.GraveStores:
		grave = graveStores
	}
	until := sum.Ended
	if until.IsZero() {
		until = e.At
	}
	if until.Before(sum.Began) || sum.Began.IsZero() {
		until = sum.Began
	}
	return map[string]any{
		FieldIncident: e.ID, FieldZone: e.Zone, FieldServer: e.Server, "into": e.Into, "aliases": strings.Join(e.Aliases, " "), "grave": grave, FieldObserve: e.Observe,
		FieldEvidence: e.Evidence, "began": stamp(sum.Began), "ended": endOf(e), "lasted": tenths(until.Sub(sum.Began)).String(),
		FieldSidecars: len(e.Sidecars), "occupied": sum.WorstOccupied, FieldHung: sum.Hung, "failed": sum.Failed, "lost": sum.Lost, "refused": sum.Refused,
		"culprits": strings.Join(sum.Culprits, ", "), "table": episodeTable(e.Sidecars),
		FieldNext: episodeNext(e), "message": episodeMessage(e), "at": stamp(e.At),
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// endOf is when an episode ended, "" if it goes on.
func endOf(e *episodes.Event) string {
	switch {
	case e.Kind != episodes.EventEnded && e.Kind != episodes.EventMerged:
		return ""
	case e.Sum.Ended.IsZero(): // a sidecar was killed, and did not say
		return stamp(e.At)
	}
	return stamp(e.Sum.Ended)
}

func episodeMessage(e *episodes.Event) string {
	would := ""
	if e.Observe {
		would = " (mode observe: nothing is refused)"
	}
	on := ""
	if n := len(e.Sidecars); n > 1 {
		on = fmt.Sprintf(", on %d sidecars", n)
	}
	if e.Server != "" {
		return serverMessage(e, on)
	}
	switch e.Kind {
	case episodes.EventMerged:
		return fmt.Sprintf("zone %s: this goes on as %s", e.Zone, e.Into)
	case episodes.EventEnded:
		return fmt.Sprintf("zone %s is calm again%s: %d requests refused, %d hung, %d failed%s", e.Zone, on, e.Sum.Refused, e.Sum.Hung, e.Sum.Failed, would)
	}
	if e.Grave == incidents.GraveStores {
		return fmt.Sprintf("stores of zone %s are in quarantine: their requests are refused%s", e.Zone, would)
	}
	return fmt.Sprintf("zone %s is cut off: its requests are refused, other zones are not affected%s", e.Zone, would)
}

func serverMessage(e *episodes.Event, on string) string {
	switch e.Kind {
	case episodes.EventMerged:
		return fmt.Sprintf("server %s: this goes on as %s", e.Server, e.Into)
	case episodes.EventEnded:
		return fmt.Sprintf("server %s is in service again%s: %d requests were lost", e.Server, on, e.Sum.Lost)
	}
	return fmt.Sprintf("server %s is out of service: requests go to the others", e.Server)
}

func episodeNext(e *episodes.Event) string {
	switch e.Kind {
	case episodes.EventBegan, episodes.EventWorsened:
		if e.Server != "" {
			return fmt.Sprintf("look at server %s; it is tried again automatically", e.Server)
		}
		if e.Grave == incidents.GraveStores {
			return fmt.Sprintf("look at the data of these stores: firebreak culprits %s", e.Zone)
		}
		return fmt.Sprintf("look at the database of zone %s; it is retried automatically", e.Zone)
	}
	return "what is known of it: firebreak incident " + e.ID
}

// mostRows bounds the table: receivers have their own limits, PagerDuty 512 KB, Slack
// 3,000 characters for a text.
const mostRows = 60

// episodeTable is the figures of each sidecar, a line each.
func episodeTable(parts []incidents.Part) string {
	var b strings.Builder
	for n := range parts {
		p := &parts[n]
		if n == mostRows {
			fmt.Fprintf(&b, "and %d more\n", len(parts)-n)
			break
		}
		opened := "not cut off"
		if !p.Opened.IsZero() {
			opened = "cut off after " + tenths(p.Opened.Sub(p.Began)).String()
		}
		fmt.Fprintf(&b, "%s: %s, %d workers, %d hung, %d failed, %d refused\n", p.Sidecar, opened, p.WorstOccupied, p.Hung, p.Failed, p.Refused)
	}
	return b.String()
}

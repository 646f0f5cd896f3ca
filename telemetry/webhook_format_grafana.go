package telemetry

import (
	"html"
	"net/http"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/episodes"
)

// Grafana refuses tags that are longer than 500 bytes together, and keeps 100
// characters of each.
const (
	grafanaTag  = 60
	grafanaText = 4000
)

// formatGrafana is POST /api/annotations: a point when an episode begins or becomes
// worse, a region from its beginning to its end when it is over, and a point for a switch.
//
// A region is not opened at the beginning and closed by PATCH: that needs the number
// that Grafana gave it, which the sidecar that tells of the end may never have heard. So
// nothing is left open if nobody tells of the end, and the token needs to create only.
// An episode that goes on under another id has its region under that one.
func formatGrafana(e *told) *formatted {
	tags := []string{"firebreak"}
	for _, of := range []struct{ tag, field string }{{"zone", FieldZone}, {"server", FieldServer}, {"incident", FieldIncident}} {
		// A colon ends the value of a tag.
		if value := strings.ReplaceAll(strings.TrimSpace(e.text(of.field)), ":", "_"); value != "" {
			tags = append(tags, of.tag+":"+cutTo(value, grafanaTag))
		}
	}
	annotation := make(map[string]any)
	at := "at"
	switch {
	case e.name == episodes.EventEnded:
		from, to := e.milliseconds("began"), e.milliseconds("ended")
		annotation["time"], annotation["timeEnd"] = min(from, to), max(from, to)
		tags = append(tags, "episode")
	case e.began():
		if e.name == episodes.EventBegan && e.text("began") != "" {
			at = "began"
		}
		annotation["time"] = e.milliseconds(at)
		tags = append(tags, "began")
	case e.aSwitch():
		annotation["time"] = e.milliseconds(at)
		tags = append(tags, "switch")
	default:
		return nil
	}
	annotation["tags"], annotation["text"] = tags, grafanaLines(e)
	return &formatted{header: http.Header{"Authorization": {"Bearer " + e.key}}, body: annotation}
}

// grafanaLines is the text of an annotation, which Grafana shows as HTML.
func grafanaLines(e *told) string {
	lines := []string{e.text("message")}
	for _, of := range []struct{ word, field string }{
		{"Why", FieldEvidence}, {"What", FieldDetail}, {"Culprits", "culprits"}, {"By", FieldBy}, {"Reason", FieldReason}, {"Lasted", "lasted"},
	} {
		if text := e.text(of.field); text != "" && (of.word != "Lasted" || e.over()) {
			lines = append(lines, of.word+": "+cutTo(text, grafanaText/10))
		}
	}
	return html.EscapeString(cutTo(strings.Join(lines, "\n"), grafanaText))
}

// milliseconds is a time of the event since 1970; now if it has none.
func (e *told) milliseconds(field string) int64 {
	t, err := time.Parse(time.RFC3339Nano, e.text(field))
	if err != nil {
		t = time.Now()
	}
	return t.UnixMilli()
}

package telemetry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// webhookFormat is how a receiver wants to be told. post returns nil if an event is of
// no interest to it.
type webhookFormat struct {
	needsKey bool // a key is needed; its place is in the format's hands
	post     func(*told) *formatted
}

// told is an event for a format.
type told struct {
	name string // without the prefix
	data map[string]any
	url  *url.URL
	key  string // a secret
	from string // the host's name
}

// formatted is what to post.
type formatted struct {
	method string // default: POST
	path   string // instead of the URL's; "": that
	header http.Header
	body   any
}

func (e *told) text(field string) string { return caddy.ToString(e.data[field]) }

func (e *told) began() bool {
	return e.name == episodes.EventBegan || e.name == episodes.EventWorsened
}

// over reports whether an alert with this id is to be closed.
func (e *told) over() bool { return e.name == episodes.EventEnded || e.name == episodes.EventMerged }

// aSwitch reports whether a person has changed something.
func (e *told) aSwitch() bool {
	switch e.name {
	case maintenance.EventSwitchSet, maintenance.EventSwitchCleared, maintenance.EventSwitchReleased, maintenance.EventSwitchBegan, maintenance.EventSwitchExpired:
		return true
	}
	return false
}

// severity is how bad it is: critical, warning, or info in mode observe.
func (e *told) severity() string {
	switch {
	case e.data[FieldObserve] == true:
		return "info"
	case e.text("grave") == graveStores, e.text("grave") == graveServer:
		return "warning"
	}
	return "critical"
}

// class is what kind of trouble it is.
func (e *told) class() string {
	if e.text(FieldServer) != "" {
		return graveServer
	}
	return "zone " + e.text("grave")
}

// webhookFormats are the receivers whose formats are known.
var webhookFormats = map[string]webhookFormat{
	"alertmanager": {post: formatAlertmanager},
	"grafana":      {needsKey: true, post: formatGrafana},
	"pagerduty":    {needsKey: true, post: formatPagerDuty},
	"slack":        {post: formatSlack},
	"statuspage":   {needsKey: true, post: formatStatuspage},
}

func checkFormat(h *Webhook) error {
	if h.Format == "" {
		if h.Key != "" {
			return fmt.Errorf("firebreak_webhook: key is for a format; write for example: format pagerduty")
		}
		return nil
	}
	known, ok := webhookFormats[h.Format]
	switch {
	case !ok:
		return fmt.Errorf("firebreak_webhook: %s", directive.Unrecognized("format", h.Format, slices.Sorted(maps.Keys(webhookFormats))))
	case h.Body != "":
		return fmt.Errorf("firebreak_webhook: format %s makes the body; leave out body", h.Format)
	case known.needsKey && h.Key == "":
		return fmt.Errorf("firebreak_webhook: format %s needs a key; write for example: key {env.WEBHOOK_KEY}", h.Format)
	case !known.needsKey && h.Key != "":
		return fmt.Errorf("firebreak_webhook: format %s needs no key; a token may be given with header", h.Format)
	}
	return nil
}

// format fills in what the receiver wants. It reports false if it is not to be told.
func (h *Webhook) format(event *webhookEvent, e caddy.Event, repl *caddy.Replacer) (bool, error) {
	object := eventObject(e)
	from, _ := object["sidecar"].(string)
	made := webhookFormats[h.Format].post(&told{
		name: strings.TrimPrefix(e.Name(), EventPrefix), data: object, url: event.url, key: repl.ReplaceAll(h.Key, ""), from: from,
	})
	if made == nil {
		return false, nil
	}
	event.method = made.method
	for name, values := range made.header {
		event.header[name] = values
	}
	if made.path != "" {
		to := *event.url
		to.Path = made.path
		event.url = &to
	}
	var err error
	event.body, err = json.Marshal(made.body)
	return true, err
}

// cutTo bounds a text, in runes.
func cutTo(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}

// formatPagerDuty is Events API v2: an alert for an episode, its id the key by which
// repetitions are one; a change event for a switch.
func formatPagerDuty(e *told) *formatted {
	switch {
	case e.aSwitch():
		return &formatted{path: "/v2/change/enqueue", body: map[string]any{
			"routing_key": e.key,
			"payload": map[string]any{
				"summary": cutTo(strings.TrimSpace("firebreak: "+e.text("message")+": "+e.text(FieldDetail)), 1024), "source": e.from, "timestamp": e.text("at"),
				"custom_details": map[string]any{"by": e.text(FieldBy), "reason": e.text(FieldReason), "mode": e.text(FieldMode), "until": e.text(FieldUntil)},
			},
		}}
	case e.over():
		return &formatted{body: map[string]any{"routing_key": e.key, "event_action": "resolve", "dedup_key": e.text(FieldIncident)}}
	case e.began():
		return &formatted{body: map[string]any{
			"routing_key": e.key, "event_action": "trigger", "dedup_key": e.text(FieldIncident), "client": "firebreak",
			"payload": map[string]any{
				"summary": cutTo(e.text("message"), 1024), "source": e.from, "severity": e.severity(), "timestamp": e.text("at"),
				"component": cmp.Or(e.text(FieldZone), e.text(FieldServer)), "group": "firebreak", "class": e.class(),
				"custom_details": map[string]any{"evidence": e.text(FieldEvidence), "culprits": e.text("culprits"), "next": e.text(FieldNext), "sidecars": e.text("table")},
			},
		}}
	}
	return nil
}

// alertLasts is until when Alertmanager takes an episode for going on if it does not
// hear of its end. Its own default of five minutes would resolve what goes on.
const alertLasts = 7 * 24 * time.Hour

// formatAlertmanager is POST /api/v2/alerts. Alertmanager tells alerts apart by their
// labels, so these are the same from beginning to end.
func formatAlertmanager(e *told) *formatted {
	if !e.began() && !e.over() {
		return nil
	}
	ends := e.text("ended")
	if e.began() {
		ends = time.Now().Add(alertLasts).UTC().Format(time.RFC3339)
	}
	labels := map[string]string{"alertname": "FirebreakEpisode", "incident": e.text(FieldIncident)}
	if server := e.text(FieldServer); server != "" {
		labels["server"] = server
	} else {
		labels["zone"] = e.text(FieldZone)
	}
	if e.data[FieldObserve] == true {
		labels["observe"] = "true" // so that nobody is paged for what is not refused
	}
	alert := map[string]any{
		"labels":      labels,
		"annotations": map[string]string{"summary": e.text("message"), "evidence": e.text(FieldEvidence), "grave": e.text("grave"), "next": e.text(FieldNext), "sidecars": e.text("table")},
		"endsAt":      ends,
	}
	if began := e.text("began"); began != "" {
		alert["startsAt"] = min(began, ends) // it refuses what ends before it starts
	}
	return &formatted{body: []any{alert}}
}

// Slack's bounds of a text in a header and in a section.
const (
	slackHeader  = 150
	slackSection = 3000
)

// slackText escapes what Slack would take for markup.
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// formatSlack is a message of blocks for an incoming webhook.
func formatSlack(e *told) *formatted {
	if !e.began() && !e.over() && !e.aSwitch() {
		return nil
	}
	section := func(text string) map[string]any {
		// Verbatim: a name that looks like a mention or a link is none.
		return map[string]any{"type": "section", "text": map[string]any{"type": "mrkdwn", "verbatim": true, "text": cutTo(text, slackSection)}}
	}
	blocks := []any{map[string]any{"type": "header", "text": map[string]any{"type": "plain_text", "text": cutTo(e.text("message"), slackHeader)}}}
	lines := make([]string, 0, 6)
	for _, of := range []struct{ word, field string }{
		{"Why", FieldEvidence}, {"What", FieldDetail}, {"Culprits", "culprits"}, {"By", FieldBy}, {"Reason", FieldReason}, {"Next", FieldNext},
	} {
		if text := e.text(of.field); text != "" {
			lines = append(lines, "*"+of.word+":* "+slackText.Replace(cutTo(text, slackSection/10)))
		}
	}
	if len(lines) > 0 {
		blocks = append(blocks, section(strings.Join(lines, "\n")))
	}
	if table := e.text("table"); e.over() && table != "" {
		blocks = append(blocks, section("```"+cutTo(slackText.Replace(table), slackSection-6)+"```"))
	}
	if incident := e.text(FieldIncident); incident != "" {
		blocks = append(blocks, map[string]any{"type": "context", "elements": []any{map[string]any{"type": "plain_text", "text": cutTo(incident, slackSection)}}})
	}
	return &formatted{body: map[string]any{"text": slackText.Replace(cutTo(e.text("message"), slackSection)), "blocks": blocks}}
}

// formatStatuspage is PATCH /v1/pages/{page}/components/{component}: the URL names the
// component.
func formatStatuspage(e *told) *formatted {
	status := "operational"
	switch {
	case e.data[FieldObserve] == true, e.text(FieldServer) != "", e.name == episodes.EventMerged, !e.began() && !e.over():
		return nil // clients notice nothing; or it goes on
	case e.began() && e.text("grave") == graveStores:
		status = "degraded_performance"
	case e.began():
		status = "partial_outage"
	}
	return &formatted{
		method: http.MethodPatch, header: http.Header{"Authorization": {"OAuth " + e.key}},
		body: map[string]any{"component": map[string]any{"status": status}},
	}
}

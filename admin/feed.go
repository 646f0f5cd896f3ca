package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/recent"
)

const (
	// feedEvery is how often a dashboard is told what has changed, feedPause the
	// shortest time between two tellings when something happens.
	feedEvery = time.Second
	feedPause = 200 * time.Millisecond

	// feedQuiet is how long nothing is said. The page cannot see comments, and
	// takes a longer silence for a lost connection.
	feedQuiet = 5 * time.Second

	usualTiles = 24
	maxTiles   = 60

	// toldAtOnce is how many events a dashboard is told of in one go, toldBefore
	// of how many that came before it.
	toldAtOnce = 40
	toldBefore = 60
)

// feed tells one dashboard what has changed, and only that: of the zones that
// it shows, and of the whole in few numbers. So it does not matter how many
// zones and stores there are.
type feed struct {
	api *API
	out *sender

	from, count int
	match       string // part of a zone's name, in lower case
	zone        string // whose page is shown; "": the overview

	sent  map[string][]byte // by event, or by zone: what was sent last
	order []string          // zones shown
	step  int64             // of the history, sent last
}

// adminFeed serves /firebreak/ui/feed: ?from=&count=&match= of the overview,
// ?zone= of a zone's page.
func adminFeed(w http.ResponseWriter, r *http.Request, a *API) error {
	f, err := newFeed(a, r)
	if err != nil {
		return err
	}
	l, err := a.listen(r, f.zone, true)
	if err != nil {
		return err
	}
	defer a.Events.Leave(l)
	if r.Method == http.MethodHead {
		return nil
	}
	if f.out, err = newSender(w); err != nil {
		return nil //nolint:nilerr // the client is gone
	}
	if f.begin() != nil {
		return nil
	}
	f.run(r, l)
	return nil
}

func newFeed(a *API, r *http.Request) (*feed, error) {
	query := r.URL.Query()
	f := &feed{api: a, count: usualTiles, match: strings.ToLower(query.Get("match")), zone: query.Get("zone"), sent: make(map[string][]byte)}
	for name, value := range map[string]*int{"from": &f.from, "count": &f.count} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, apiError(http.StatusBadRequest, "%s is %q: it must be a number", name, text)
		}
		*value = n
	}
	if f.count > maxTiles {
		return nil, apiError(http.StatusBadRequest, "count is %d: at most %d zones are sent", f.count, maxTiles)
	}
	if f.zone != "" {
		return f, a.checkKnownZone(f.zone)
	}
	return f, nil
}

// run tells until the client, the server or the app ends.
func (f *feed) run(r *http.Request, l *recent.Listener) {
	ticks := time.NewTicker(feedEvery)
	defer ticks.Stop()
	quiet := time.Now()
	for {
		age := feedEvery * 9 / 10
		select {
		case <-ticks.C:
		case <-l.Wake:
			age = feedPause
		case <-l.End:
			return
		case <-f.api.Ended:
			return
		case <-r.Context().Done():
			return
		}
		f.log(l.Taken())
		if err := f.tell(f.api.picture(age)); err != nil {
			return
		}
		switch sent, err := f.flush(); {
		case err != nil:
			return
		case sent:
			quiet = time.Now()
		case time.Since(quiet) >= feedQuiet:
			_ = f.out.json("ping", map[string]any{})
			if f.out.flush() != nil {
				return
			}
			quiet = time.Now()
		}
		if age == feedPause && !f.pause(r, l) {
			return
		}
	}
}

// pause keeps a storm of events from becoming a storm of pictures.
func (f *feed) pause(r *http.Request, l *recent.Listener) bool {
	select {
	case <-time.After(feedPause):
		return true
	case <-l.End:
	case <-r.Context().Done():
	}
	return false
}

func (f *feed) flush() (sent bool, err error) {
	sent = f.out.buffer.Len() > 0
	return sent, f.out.flush()
}

// begin tells what the clock is, and what happened before.
func (f *feed) begin() error {
	if err := f.out.json("hello", map[string]any{
		"now": time.Now().UnixMilli(), "step": recent.Step.Milliseconds(), "points": recent.Points,
	}); err != nil {
		return err
	}
	events := f.api.Events.Latest(f.zone, toldBefore)
	f.sendLog(events, 0, true)
	if err := f.tell(f.api.picture(feedEvery / 2)); err != nil {
		return err
	}
	return f.out.flush()
}

func (f *feed) log(events []recent.Event, missed int) {
	if len(events) == 0 && missed == 0 {
		return
	}
	if over := len(events) - toldAtOnce; over > 0 {
		events, missed = events[over:], missed+over
	}
	newestFirst := make([]recent.Event, 0, len(events))
	for i := len(events) - 1; i >= 0; i-- {
		newestFirst = append(newestFirst, events[i])
	}
	f.sendLog(newestFirst, missed, false)
}

// sendLog sends events, newest first. whole reports whether there are no others.
func (f *feed) sendLog(events []recent.Event, missed int, whole bool) {
	list := make([]json.RawMessage, 0, len(events))
	for _, e := range events {
		list = append(list, e.Brief)
	}
	_ = f.out.json("log", map[string]any{"events": list, "missed": missed, "whole": whole})
}

// tell adds what has changed since it was told last.
func (f *feed) tell(p *picture) error {
	if err := f.changed("pool", "pool", p.pool); err != nil {
		return err
	}
	if f.zone != "" {
		if err := f.changed("zone", "zone", f.api.zonePage(f.zone)); err != nil {
			return err
		}
		return f.plots(p, []string{f.zone})
	}
	if f.count > 0 && (len(p.servers) > 0 || f.sent["servers"] != nil) {
		if err := f.changed("servers", "servers", orEmpty(p.servers)); err != nil {
			return err
		}
	}
	shown, total := f.shown(p)
	order := make([]string, 0, len(shown))
	var tiles []json.RawMessage
	for i := range shown {
		order = append(order, shown[i].Zone)
		text, err := json.Marshal(&shown[i])
		if err != nil {
			return err
		}
		if key := "zone " + shown[i].Zone; !bytes.Equal(f.sent[key], text) {
			f.sent[key] = text
			tiles = append(tiles, text)
		}
	}
	if len(tiles) > 0 {
		if err := f.out.json("tiles", tiles); err != nil {
			return err
		}
	}
	f.forget(order)
	if err := f.changed("order", "order", map[string]any{"zones": order, "from": f.from, "total": total}); err != nil {
		return err
	}
	return f.plots(p, order)
}

// changed adds an event unless the same was sent last.
func (f *feed) changed(key, kind string, data any) error {
	text, err := json.Marshal(data)
	if err != nil || bytes.Equal(f.sent[key], text) {
		return err
	}
	f.sent[key] = text
	f.out.event(kind, "", text)
	return nil
}

// shown are the tiles of the page, and how many there are on all pages.
func (f *feed) shown(p *picture) (tiles []tile, total int) {
	for i := range p.tiles {
		if f.match != "" && !strings.Contains(strings.ToLower(p.tiles[i].Zone), f.match) {
			continue
		}
		if total++; total > f.from && len(tiles) < f.count {
			tiles = append(tiles, p.tiles[i])
		}
	}
	return tiles, total
}

// forget drops what is kept about zones that are no longer shown.
func (f *feed) forget(order []string) {
	if len(f.sent) <= 2*maxTiles {
		return
	}
	keep := make(map[string][]byte, len(order)+2)
	for _, key := range []string{"pool", "order", "servers"} {
		keep[key] = f.sent[key]
	}
	for _, zone := range order {
		keep["zone "+zone] = f.sent["zone "+zone]
	}
	f.sent = keep
}

// plots adds the lines of zones that were not shown before, and one point to
// those that were.
func (f *feed) plots(p *picture, order []string) error {
	h := f.api.History
	all, at, step := h.Everything()
	if step < p.step {
		return nil
	}
	whole := f.step == 0 || step > f.step+1
	var known []string
	lines := make(map[string][3][]uint32)
	for _, zone := range order {
		if !whole && slices.Contains(f.order, zone) {
			known = append(known, zone)
			continue
		}
		lines[zone] = lineOf(h.Of(zone))
	}
	if len(lines) > 0 || whole {
		data := map[string]any{"at": at.UnixMilli(), "zones": lines}
		if whole {
			data["all"] = lineOf(all)
		}
		if err := f.out.json("plots", data); err != nil {
			return err
		}
	}
	if step == f.step+1 && f.step > 0 && len(all) > 0 {
		points := make(map[string][3]uint32)
		for _, zone := range known {
			if latest := h.Latest(zone); latest != (recent.Point{}) {
				points[zone] = latest.Parts()
			}
		}
		if err := f.out.json("points", map[string]any{"at": at.UnixMilli(), "all": all[len(all)-1].Parts(), "zones": points}); err != nil {
			return err
		}
	}
	f.order, f.step = order, step
	return nil
}

func lineOf(points []recent.Point) (line [3][]uint32) {
	for i := range line {
		line[i] = make([]uint32, 0, len(points))
		for j := range points {
			line[i] = append(line[i], points[j].Parts()[i])
		}
	}
	return line
}

package replay_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/replay"
)

// entry is a line of an access log, with what is not said as Caddy writes it.
type entry struct {
	ended, took time.Duration // since began
	store, zone string
	status      int
	outcome     string
	refusal     string
	empty       bool // no body and no type
}

var began = time.Date(2026, 1, 14, 9, 0, 0, 0, time.UTC)

func (e entry) String() string {
	size, headers := 27, `{"Content-Type":["application/json"]}`
	if e.empty {
		size, headers = 0, `{"Server":["Caddy"]}`
	}
	text := fmt.Sprintf(`{"ts":%.6f,"request":{"method":"GET","host":"api.example.com","uri":"/search?key=%s"},"duration":%.6f,"size":%d,"status":%d,"resp_headers":%s`,
		float64(began.Add(e.ended).UnixMicro())/1e6, e.store, e.took.Seconds(), size, e.status, headers)
	for _, field := range [][2]string{{"store", e.store}, {"zone", e.zone}, {"outcome", e.outcome}, {"refusal", e.refusal}} {
		if field[1] != "" && (field[0] != "store" || e.zone != "") {
			text += fmt.Sprintf(`,"firebreak_%s":%q`, field[0], field[1])
		}
	}
	return text + "}\n"
}

func logOf(entries []entry) string {
	var text strings.Builder
	for _, e := range entries {
		text.WriteString(e.String())
	}
	return text.String()
}

func read(t *testing.T, text string, opts replay.ReadOptions) *replay.Log {
	t.Helper()
	log, err := replay.Read(strings.NewReader(text), opts)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// TestReadSorts: a log is in order of the answers, a replay in order of the
// questions.
func TestReadSorts(t *testing.T) {
	log := read(t, logOf([]entry{
		{ended: time.Second, took: 10 * time.Millisecond, store: "a", zone: "z1", status: 200},
		{ended: 2 * time.Second, took: 1500 * time.Millisecond, store: "b", zone: "z2", status: 200},
		{ended: 3 * time.Second, took: 2900 * time.Millisecond, store: "a", zone: "z1", status: 500},
	}), replay.ReadOptions{})
	var got []time.Duration
	for _, r := range log.Requests {
		got = append(got, time.Unix(0, r.Begin).Sub(began).Round(time.Millisecond))
	}
	if want := []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 990 * time.Millisecond}; !slices.Equal(got, want) {
		t.Errorf("requests begin at %v, want %v", got, want)
	}
	if want := []replay.Store{{Zone: "z1", Name: "a"}, {Zone: "z2", Name: "b"}}; !slices.Equal(log.Stores, want) {
		t.Errorf("stores %v, want %v", log.Stores, want)
	}
	if zones := log.Zones(); !slices.Equal(zones, []string{"z1", "z2"}) {
		t.Errorf("zones %v", zones)
	}
	if from, to := log.Span(); from.Sub(began).Round(time.Millisecond) != 100*time.Millisecond || to.Sub(began).Round(time.Millisecond) != 3*time.Second {
		t.Errorf("span %s to %s", from, to)
	}
}

// TestReadLines reads one line of each kind.
func TestReadLines(t *testing.T) {
	const fields = `,"firebreak_store":"a","firebreak_zone":"z1"`
	for _, c := range []struct {
		name, line, want string
	}{
		{"seconds", `{"ts":1768381200.5,"duration":0.25,"status":200` + fields + `}`, "request 500ms 250ms"},
		{"milliseconds", `{"ts":1768381200500,"duration":0.25,"status":200` + fields + `}`, "request 500ms 250ms"},
		{"nanoseconds", `{"ts":1768381200500000000,"duration":0.25,"status":200` + fields + `}`, "request 500ms 250ms"},
		{"RFC 3339", `{"ts":"2026-01-14T09:00:00.5Z","duration":"250ms","status":200` + fields + `}`, "request 500ms 250ms"},
		{"ISO 8601", `{"ts":"2026-01-14T10:00:00.500+0100","duration":"0.25s","status":200` + fields + `}`, "request 500ms 250ms"},
		{"wall", `{"ts":"2026/01/14 09:00:00.500","duration":0.25,"status":200` + fields + `}`, "request 500ms 250ms"},
		{"another log", `{"level":"info","ts":1768381200.5,"logger":"tls","msg":"cleaning"}`, "other"},
		{"empty", "   ", "nothing"},
		{"upgrade", `{"ts":1768381200.5,"duration":2,"status":101` + fields + `}`, "stream"},
		{"events", `{"ts":1768381200.5,"duration":2,"status":200,"resp_headers":{"Content-Type":["text/event-stream"]}` + fields + `}`, "stream"},
		{"bypass", `{"ts":1768381200.5,"duration":2,"status":200,"firebreak_bypass":true` + fields + `}`, "bypassed"},
		{"no JSON", `09:00:00 GET /`, "it is no JSON object"},
		{"half a line", `{"ts":1768381200.5,"dur`, "it is no JSON object"},
		{"a list", `[1]`, "it is no JSON object"},
		{"no store", `{"ts":1768381200.5,"duration":2,"status":200}`, "it has no firebreak_store"},
		{"no time", `{"duration":2,"status":200` + fields + `}`, `"ts" is no time`},
		{"another time", `{"ts":"yesterday","duration":2,"status":200` + fields + `}`, `"ts" is no time`},
		{"too late", `{"ts":1e300,"duration":2,"status":200` + fields + `}`, `"ts" is no time`},
		{"before 1970", `{"ts":1,"duration":2,"status":200` + fields + `}`, "it began before 1970"},
		{"negative", `{"ts":1768381200.5,"duration":-1,"status":200` + fields + `}`, `"duration" is no time span`},
		{"no status", `{"ts":1768381200.5,"duration":1` + fields + `}`, `"status" is no HTTP status`},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := read(t, c.line+"\n", replay.ReadOptions{})
			got := "nothing"
			switch {
			case log.Bad > 0:
				got = strings.TrimPrefix(log.BadLines[0], "line 1: ")
				got = got[:min(len(got), len(c.want))]
			case log.Other > 0:
				got = "other"
			case log.Streams > 0:
				got = "stream"
			case log.Bypassed > 0:
				got = "bypassed"
			case len(log.Requests) > 0:
				r := log.Requests[0]
				got = fmt.Sprintf("request %s %s", time.Unix(0, r.End()).Sub(began).Round(time.Millisecond), time.Duration(r.Took))
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestReadGoesOnAfterBadLines counts them, and names the first.
func TestReadGoesOnAfterBadLines(t *testing.T) {
	good := entry{ended: time.Second, store: "a", zone: "z1", status: 200}.String()
	text := good + "\n" + "rubbish\n" + good + strings.Repeat("x", 3<<20) + "\n" + strings.Repeat("bad\n", 20) + strings.TrimSuffix(good, "\n")
	log := read(t, text, replay.ReadOptions{})
	if log.Bad != 22 || len(log.Requests) != 3 || log.Lines != 26 {
		t.Errorf("%d bad lines, %d requests, %d lines; want 22, 3 and 26", log.Bad, len(log.Requests), log.Lines)
	}
	if len(log.BadLines) != 10 || !strings.HasPrefix(log.BadLines[0], "line 3: ") || !strings.HasPrefix(log.BadLines[1], "line 5: ") {
		t.Errorf("bad lines named: %q", log.BadLines)
	}
}

func TestReadResolves(t *testing.T) {
	var uris []string
	log := read(t, logOf([]entry{{store: "a", status: 200}, {store: "b", status: 200}}), replay.ReadOptions{
		Resolve: func(r *http.Request) (replay.Store, error) {
			if key := r.URL.Query().Get("key"); key == "a" && r.Host == "api.example.com" {
				return replay.Store{Zone: "z1", Name: key}, nil
			}
			return replay.Store{}, errors.New("who is that?")
		},
	})
	if len(log.Requests) != 1 || log.Stores[0] != (replay.Store{Zone: "z1", Name: "a"}) || log.Bad != 1 || log.BadLines[0] != "line 2: who is that?" {
		t.Errorf("stores %v, bad lines %v, asked for %v", log.Stores, log.BadLines, uris)
	}
}

func TestReadPacked(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	for range 10_000 {
		fmt.Fprint(w, entry{ended: time.Second, store: "a", zone: "z1", status: 200})
	}
	w.Close()
	whole := packed.Bytes()
	log, err := replay.Read(bytes.NewReader(whole), replay.ReadOptions{})
	if err != nil || len(log.Requests) != 10_000 {
		t.Fatalf("%v, error %v", log, err)
	}
	if _, err = replay.Read(bytes.NewReader(whole[:len(whole)/2]), replay.ReadOptions{}); err == nil {
		t.Error("half of a packed log was taken for the whole")
	}
}

func TestReadBounds(t *testing.T) {
	var entries []entry
	for i := range 100 {
		entries = append(entries, entry{ended: time.Duration(i) * time.Second, store: "a", zone: "z1", status: 200})
	}
	text := logOf(entries)
	log := read(t, text, replay.ReadOptions{Since: began.Add(10 * time.Second), Until: began.Add(20 * time.Second)})
	if len(log.Requests) != 10 {
		t.Errorf("%d requests in 10 s, want 10", len(log.Requests))
	}
	if _, err := replay.Read(strings.NewReader(text), replay.ReadOptions{MaxRequests: 99}); !errors.Is(err, replay.ErrTooLong) {
		t.Errorf("error %v, want that it is too long", err)
	}
	if _, err := replay.Read(strings.NewReader(text), replay.ReadOptions{MaxRequests: 100}); err != nil {
		t.Error(err)
	}
}

// FuzzRead: no log ends the program, and whatever is read makes sense.
func FuzzRead(f *testing.F) {
	f.Add([]byte(entry{ended: time.Second, store: "a", zone: "z1", status: 200}.String()))
	f.Add([]byte(entry{ended: time.Second, store: "a", status: 499, refusal: "busy"}.String() + "\nrubbish\n{}"))
	f.Add([]byte(`{"ts":"2026/01/14 09:00:00","duration":"1d","status":0,"request":{"method":" ","uri":"%zz","headers":{"a":null}}}`))
	f.Add([]byte("\x1f\x8b rubbish"))
	policy := policyOf(f, 4)
	f.Fuzz(func(t *testing.T, text []byte) {
		log, err := replay.Read(bytes.NewReader(text), replay.ReadOptions{Resolve: func(r *http.Request) (replay.Store, error) {
			return replay.Store{Zone: "z1", Name: r.URL.Path}, nil
		}})
		if err != nil {
			return
		}
		for _, r := range log.Requests {
			if r.Begin < 0 || r.Took < 0 || int(r.Store) >= len(log.Stores) || r.Status > 999 {
				t.Errorf("request %+v", r)
			}
		}
		if from, to := log.Span(); to.Sub(from) > time.Hour {
			return
		}
		log.Infer(policy)
		if got := replay.Run(log, policy, replay.Options{}).Total.Replay.Requests; got > len(log.Requests) {
			t.Errorf("%d of %d requests ended", got, len(log.Requests))
		}
	})
}

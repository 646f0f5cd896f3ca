package incidents_test

import (
	"bytes"
	"encoding/csv"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/incidents"
)

var update = flag.Bool("update", false, "write the golden files")

// outage is the record of an outage like the one that firebreak was built for,
// with names of the test's choice. It was told by hand.
func outage(t *testing.T, zone, store, words string) incidents.Incident {
	t.Helper()
	l := open(t, t.TempDir(), 0)
	start := time.Date(2026, 7, 2, 12, 48, 3, 0, time.UTC)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	status := breaker.ZoneStatus{Zone: zone, State: breaker.Open, Culprits: []breaker.Culprit{{
		Zone: zone, Store: store, WorkerSeconds: 122.4, Failures: 3, FirstSeen: at(49), LastSeen: at(170), Evidence: "2 requests one after the other have no answer for 1.2s, while other stores of the zone are answered: " + words,
	}}}
	l.Attach(incidents.Source{
		Zone:   func(string) (breaker.ZoneStatus, bool) { return status, true },
		Upkeep: func(string) uint64 { return 17 },
	})
	tell := func(e breaker.Event) {
		e.Zone = zone
		l.Tell(&e)
	}
	base := &breaker.Tally{Outcomes: map[string]uint64{"ok": 1000, "failure": 2}, Refusals: map[string]uint64{"busy": 4}}
	end := &breaker.Tally{
		Outcomes: map[string]uint64{"ok": 1900, "failure": 5, "hung": 14, "broken": 1, "gone_late": 2}, Worst: 10,
		Refusals: map[string]uint64{"busy": 13, "zone_open": 1017, "quarantine": 260},
	}
	tell(breaker.Event{Kind: breaker.EventZoneTroubled, To: breaker.Troubled, At: at(1.02), First: at(0), Tally: base, Evidence: "2 requests have no answer for over 1s"})
	tell(breaker.Event{Kind: breaker.EventZoneOpened, From: breaker.Troubled, To: breaker.Open, At: at(1.1), For: 5300 * time.Millisecond, Evidence: "3 stores have no answer for over 1s, and no request of the zone was answered since"})
	for _, s := range []float64{6.4, 16.5, 38.1} {
		tell(breaker.Event{Kind: breaker.EventZoneHalfOpen, From: breaker.Open, At: at(s), Evidence: "its open time is over"})
		tell(breaker.Event{Kind: breaker.EventStoreQuarantined, Store: store, From: breaker.Calm, At: at(s + 2), Evidence: "2 requests one after the other have no answer for 1.2s, while other stores of the zone are answered"})
		tell(breaker.Event{Kind: breaker.EventStoreReleased, Store: store, At: at(s + 2), Evidence: "its zone opened, which explains it"})
		tell(breaker.Event{Kind: breaker.EventZoneOpened, From: breaker.HalfOpen, At: at(s + 2), For: 20 * time.Second, Evidence: "the request that tried it has no answer for 1s, last of store " + store})
	}
	tell(breaker.Event{Kind: breaker.EventZoneHalfOpen, From: breaker.Open, At: at(48.9), Evidence: "a request that was stuck was answered"})
	tell(breaker.Event{Kind: breaker.EventStoreQuarantined, Store: store, From: breaker.Calm, At: at(50.9), Evidence: "2 requests one after the other have no answer for 1.2s, while other stores of the zone are answered: " + words})
	tell(breaker.Event{Kind: breaker.EventZoneClosed, At: at(51.2), Evidence: "a request was answered"})
	l.Note(zone, at(600), "recovery_started", "", "recovery of "+store+": "+words)
	for _, done := range []incidents.Recovery{
		{ID: "20260702-125803-ab2c", Total: 1000, Automatic: 900, Repaired: 30, Remaining: 100, Began: at(600)},
		{ID: "20260702-125803-ab2c", Total: 1000, Automatic: 998, Repaired: 38, Manual: 1, Remaining: 1, Began: at(600), FirstAt: at(605), AutomaticAt: at(641), ManualAt: at(840)},
	} {
		l.NoteRecovery(zone, done)
		l.NoteRecovery("another", done)
	}
	tell(breaker.Event{Kind: breaker.EventStoreReleased, Store: store, At: at(900.5), Evidence: "a request was answered after 12ms"})
	status.State = breaker.Calm
	tell(breaker.Event{Kind: breaker.EventZoneCalm, At: at(912), Tally: end, Evidence: "nothing bad for 10s; the episode lasted 15m11s"})
	all := list(t, l)
	if len(all) != 1 || all[0].Ongoing {
		t.Fatalf("%d incidents: %+v", len(all), all)
	}
	i, err := l.Get(all[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// serverOutage is the record of a server that was frozen for five minutes, told by
// hand.
func serverOutage(t *testing.T, address, words string) incidents.Incident {
	t.Helper()
	l := open(t, t.TempDir(), 0)
	start := time.Date(2026, 7, 2, 12, 52, 0, 0, time.UTC)
	var back atomic.Bool
	l.Attach(incidents.Source{Servers: func() []breaker.ServerStatus {
		server := breaker.ServerStatus{Address: address, State: breaker.OutOfService, Hung: 3, Lost: 9}
		if back.Load() {
			server.State = breaker.InService
		}
		return []breaker.ServerStatus{server}
	}})
	l.Tell(&breaker.Event{Kind: breaker.EventServerOut, Server: address, At: start.Add(1100 * time.Millisecond), First: start, Lost: 5, Evidence: words})
	time.Sleep(1100 * time.Millisecond) // it looks once a second
	back.Store(true)
	l.Tell(&breaker.Event{Kind: breaker.EventServerBack, Server: address, At: start.Add(5*time.Minute + 2*time.Second), Lost: 9, Evidence: "it answers again"})
	i, err := l.Get(list(t, l)[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	i.AsOf = start.Add(6 * time.Minute)
	return i
}

func TestGolden(t *testing.T) {
	i := outage(t, "z7", "s0601", "hung")
	var table bytes.Buffer
	if err := i.WriteCSV(&table); err != nil {
		t.Fatal(err)
	}
	server := serverOutage(t, "10.0.0.3:9000", "requests of 2 stores have no answer for over 1s, while their zones are answered by other servers")
	for name, got := range map[string]string{"outage.md": i.Markdown(), "outage.csv": table.String(), "server.md": server.Markdown()} {
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s, -want +got (run with -update and read the difference):\n%s", name, diff)
		}
	}
}

var tag = regexp.MustCompile(`<[^>]*>`)

// tags renders markdown as GitHub does and returns the HTML tags.
func tags(t interface{ Fatal(...any) }, text string) string {
	var out bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return strings.Join(tag.FindAllString(out.String(), -1), "\n")
}

var hostile = []string{
	"a | b | c", "a\n\n# heading", "a\r\n| x | y |", "[click](javascript:alert(1))", "![x](https://evil.example/a.png)",
	"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "https://evil.example/", "www.evil.example", "mail@evil.example", "ftp://evil.example",
	"`code`", "**bold**", "_under_", "__x__", "a_b_c", "~~gone~~", "$x^2$", "&lt;script&gt;", "\\", "\\|", "a\\", "- item", "1. item", "> quote", "---",
	"===", "\u202egnp.exe", "\x1b[31mred", "\x00", "a\u2028b", "Https://evil.example", "HTTP://EVIL.example", "xmpp:a@b.example", "mailto:a@b.example", "[x]: https://evil.example", "[^1]", "- [ ] task",
}

// TestHostileMarkdown: whatever stores are called, the page keeps its shape.
func TestHostileMarkdown(t *testing.T) {
	plain := outage(t, "zone", "store", "words")
	want := tags(t, plain.Markdown())
	if strings.Contains(want, "<a") || !strings.Contains(want, "<td>") {
		t.Fatalf("the page of a harmless incident: %s", want)
	}
	for _, name := range hostile {
		i := outage(t, name, name, name)
		page := i.Markdown()
		if diff := cmp.Diff(want, tags(t, page)); diff != "" {
			t.Errorf("%q changes the page:\n%s\n%s", name, diff, page)
		}
		if strings.ContainsAny(page, "\x00\x1b\u202e\r") {
			t.Errorf("%q: a control character is in the page", name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SampledFrom(append(hostile, "x", " ", "(", ")", ":", "/", ".", "\t")), 1, 6).Draw(t, "pieces")
		name := strings.Join(pieces, "")
		i := plain
		i.Zone, i.Evidence = name, name
		i.Stores = []incidents.StoreMinutes{{Store: name, Minutes: 1}}
		i.Culprits = []breaker.Culprit{{Store: name, Evidence: name}}
		i.Timeline = []incidents.Entry{{What: "x", Text: name}, {What: "x", Text: name, Times: 3}}
		i.Refused = map[string]uint64{name: 3}
		harmless := i
		harmless.Zone, harmless.Evidence = "z", "z"
		harmless.Stores = []incidents.StoreMinutes{{Store: "z", Minutes: 1}}
		harmless.Culprits = []breaker.Culprit{{Store: "z", Evidence: "z"}}
		harmless.Timeline = []incidents.Entry{{What: "x", Text: "z"}, {What: "x", Text: "z", Times: 3}}
		harmless.Refused = map[string]uint64{"z": 3}
		if diff := cmp.Diff(tags(t, harmless.Markdown()), tags(t, i.Markdown())); diff != "" {
			t.Fatalf("%q changes the page:\n%s\n%s", name, diff, i.Markdown())
		}
	})
}

// TestHostileCSV: names come through whole, and are no formulas.
func TestHostileCSV(t *testing.T) {
	for _, name := range append(hostile, `=1+1`, `+1`, `-1`, `@SUM(A1)`, "\t=1", " =1", "*", `'`, `a"b`, "a,b", "=cmd|' /C calc'!A0", "＝1") {
		i := incidents.Incident{ID: "x", Zone: "z", DarkMinutes: 2, Stores: []incidents.StoreMinutes{{Store: name, Minutes: 1}}}
		var out bytes.Buffer
		if err := i.WriteCSV(&out); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
		if err != nil || len(rows) != 3 {
			t.Fatalf("%q: %v %q", name, err, rows)
		}
		got := rows[2][0]
		// encoding/csv reads \r\n within a cell as \n.
		if read := strings.ReplaceAll(name, "\r\n", "\n"); got != read && got != "'"+read {
			t.Errorf("%q became %q", name, got)
		}
		if got == "*" || strings.ContainsAny(got[:1], "=+-@\t\r\n") {
			t.Errorf("%q stands as %q", name, got)
		}
		if rows[1][0] != "*" || rows[1][1] != "2.00" {
			t.Errorf("the row of every other store: %q", rows[1])
		}
	}
}

// TestPagesOfOddIncidents: nothing is assumed of a record that was read.
func TestPagesOfOddIncidents(t *testing.T) {
	for name, i := range map[string]incidents.Incident{
		"nothing":  {},
		"observed": {Zone: "z", Observe: true, WouldRefuse: 7},
		"backward": {Began: time.Now(), Opened: time.Now().Add(-time.Hour), Recovered: time.Unix(0, 0)},
		"broken":   {Interrupted: "x", StoresLeftOut: 3, Stores: []incidents.StoreMinutes{{Store: "", Minutes: -1}}},
	} {
		var out bytes.Buffer
		if page := i.Markdown(); page == "" || i.WriteCSV(&out) != nil {
			t.Errorf("%s: %q", name, page)
		}
	}
}

package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recent"
	"github.com/firebreak-proxy/firebreak/routing"
)

func thousandZones() []string {
	zones := make([]string, 1000)
	for i := range zones {
		zones[i] = fmt.Sprintf("shard-%04d", i)
	}
	return zones
}

// manyZones is the API of a guard with a thousand zones.
func manyZones(t testing.TB) *API {
	t.Helper()
	zones := thousandZones()
	policy, err := (&config.App{Workers: 3200}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	directory, err := routing.NewHash(zones)
	if err != nil {
		t.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	t.Cleanup(guard.Close)
	guard.Apply(policy, zones)
	seen := recent.Watch(guard)
	t.Cleanup(seen.Close)
	return New(Parts{
		Guard: guard, Policy: policy, Directory: directory, Board: maintenance.New(maintenance.Options{}),
		Events: seen.Events, History: seen.History,
	})
}

// traffic is requests to every zone, a different number to each and at each
// call, some of which fail.
func traffic(t testing.TB, a *API, round int) {
	t.Helper()
	for i, zone := range thousandZones() {
		for n := range 1 + (i+round)%7 {
			slot, refusal := a.Guard.(*breaker.Guard).Admit(t.Context(), breaker.Request{Zone: zone, Store: fmt.Sprintf("s%d", n)})
			if refusal != nil {
				continue
			}
			outcome := breaker.OK
			if i < 200 && n == 6 {
				outcome = breaker.Failure
			}
			slot.Answer(outcome)
			slot.End(outcome)
		}
	}
}

// testFeed is a feed whose client is a buffer.
type testFeed struct {
	*feed
	w           *httptest.ResponseRecorder
	first       int // bytes that it began with
	total, most int // bytes since, and at most at once
}

func newTestFeed(t *testing.T, a *API, query string) *testFeed {
	t.Helper()
	f, err := newFeed(a, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/firebreak/ui/feed?"+query, nil))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if f.out, err = newSender(w); err != nil {
		t.Fatal(err)
	}
	if err := f.begin(); err != nil {
		t.Fatal(err)
	}
	return &testFeed{feed: f, w: w, first: w.Body.Len()}
}

// sent is what a picture makes the feed send.
func (f *testFeed) sent(t *testing.T, p *picture) string {
	t.Helper()
	f.w.Body.Reset()
	if err := f.tell(p); err != nil {
		t.Fatal(err)
	}
	if _, err := f.flush(); err != nil {
		t.Fatal(err)
	}
	f.total, f.most = f.total+f.w.Body.Len(), max(f.most, f.w.Body.Len())
	return f.w.Body.String()
}

// TestFeedSize: with a thousand zones under full traffic, of which two hundred
// are in trouble, a dashboard gets at most 50 KB in a second.
func TestFeedSize(t *testing.T) {
	a := manyZones(t)
	traffic(t, a, 0)
	for range recent.Points {
		a.History.(*recent.History).Take(time.Now())
	}
	feeds := make(map[string]*testFeed)
	for name, query := range map[string]string{"usual": "", "most": "count=60", "last page": "from=976", "filtered": "match=1", "zone": "zone=shard-0006"} {
		feeds[name] = newTestFeed(t, a, query)
	}
	const seconds = 11
	for second := range seconds {
		traffic(t, a, second)
		if second%5 == 0 {
			a.History.(*recent.History).Take(time.Now())
		}
		p := a.newPicture()
		for _, f := range feeds {
			f.sent(t, p)
		}
	}
	for name, f := range feeds {
		t.Logf("FIGURE %s: %d bytes to begin with, then %d a second, at most %d", name, f.first, f.total/seconds, f.most)
		if f.first > 100_000 || f.most > 50_000 {
			t.Errorf("%s: %d bytes to begin with and at most %d in a second, want 100,000 and 50,000", name, f.first, f.most)
		}
	}
}

func TestFeedSendsOnlyWhatChanged(t *testing.T) {
	a := manyZones(t)
	f := newTestFeed(t, a, "")
	tell := func() string {
		t.Helper()
		return f.sent(t, a.newPicture())
	}
	tell()
	if again := tell(); again != "" {
		t.Errorf("nothing has changed, and %d bytes were sent: %.200s", len(again), again)
	}
	a.Guard.HoldZone("shard-0900", breaker.Open, 0, "ada", "disk")
	changed := tell()
	for _, want := range []string{"event: pool", "event: tiles", "event: order", "event: plots", `"state":"open"`, `"by":"ada"`} {
		if !strings.Contains(changed, want) {
			t.Errorf("no %s in %s", want, changed)
		}
	}
	if n := strings.Count(changed, `"live":`); n != 2 { // the pool and the one zone
		t.Errorf("%d zones were sent, want 1: %s", n-1, changed)
	}
	if f.order[0] != "shard-0900" {
		t.Errorf("the first zone is %s", f.order[0])
	}
}

func TestFeedBadRequests(t *testing.T) {
	a := manyZones(t)
	for _, query := range []string{"from=x", "from=-1", "count=61", "count=1e3", "zone=nosuch"} {
		if _, err := newFeed(a, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/firebreak/ui/feed?"+query, nil)); err == nil {
			t.Errorf("?%s was accepted", query)
		}
	}
}

func TestCompareNames(t *testing.T) {
	names := []string{"z10", "z2", "a", "z1", "z01", "10", "9", "z", "y3"}
	slices.SortFunc(names, compareNames)
	if want := []string{"9", "10", "a", "y3", "z", "z01", "z1", "z2", "z10"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// BenchmarkPicture is what all dashboards together cost each second.
func BenchmarkPicture(b *testing.B) {
	a := manyZones(b)
	traffic(b, a, 0)
	b.ReportAllocs()
	for b.Loop() {
		a.newPicture()
	}
}

package recovery_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/recovery"
)

// desk is a client of an API server, and the guard whose slots it takes.
type desk struct {
	t      *testing.T
	guard  *breaker.Guard
	client *recovery.Client
	policy config.StoreCheckPolicy
}

func newDesk(t *testing.T, zone config.Zone, serve http.HandlerFunc) *desk {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	zone.Name = "*"
	p, err := (&config.App{Workers: 32, Zones: []config.Zone{zone}}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, guard: breaker.New(p, breaker.Options{}), client: new(recovery.Client), policy: config.StoreCheckPolicy{
		Method: "GET", URI: "/check/{zone}/{store}?key={store}", To: []string{strings.TrimPrefix(server.URL, "http://")},
		Status: []int{200}, Timeout: 200 * time.Millisecond,
	}}
	t.Cleanup(d.guard.Close)
	t.Cleanup(d.client.Close)
	return d
}

// check checks a store.
func (d *desk) check(store string) error {
	d.t.Helper()
	slot, refusal := d.guard.AdmitCheck(breaker.CheckRequest{Zone: "z1", Store: store, Timeout: d.policy.Timeout})
	if refusal != nil {
		d.t.Fatal(refusal.Detail)
	}
	return d.client.Check(slot, &d.policy, "z1", store)
}

// slots waits until the zone has so many live and hung slots.
func (d *desk) slots(live, hung int) {
	d.t.Helper()
	var z breaker.ZoneStatus
	for range 200 {
		if z, _ = d.guard.Zone("z1"); z.Live == live && z.Hung == hung {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Errorf("%d live and %d hung slots, want %d and %d", z.Live, z.Hung, live, hung)
}

func TestCheckRequest(t *testing.T) {
	var got string
	d := newDesk(t, config.Zone{}, func(_ http.ResponseWriter, r *http.Request) {
		got = fmt.Sprintf("%s %s host=%s x=%s agent=%s", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Store"), r.UserAgent())
	})
	d.policy.Method = "HEAD"
	d.policy.Headers = map[string]string{"Host": "api.example.com", "X-Store": "{zone}:{store}"}
	if err := d.check("a b/ü?&"); err != nil {
		t.Fatal(err)
	}
	want := "HEAD /check/z1/a%20b%2F%C3%BC%3F&?key=a+b%2F%C3%BC%3F%26 host=api.example.com x=z1:a b/ü?& agent=firebreak-check"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := d.check("a\r\nEvil: yes"); err == nil || strings.Contains(got, "Evil") {
		t.Errorf("a store's id made a header: %v, %s", err, got)
	}
	d.slots(0, 0)
}

func TestCheckVerdicts(t *testing.T) {
	d := newDesk(t, config.Zone{}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("key") {
		case "sick":
			http.Error(w, "row\n 7 damaged", http.StatusInternalServerError)
		case "moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "broken":
			conn, _, _ := http.NewResponseController(w).Hijack()
			conn.Close()
		case "large":
			_, _ = w.Write(make([]byte, 3<<20))
		default:
			fmt.Fprint(w, `{"ok": true}`)
		}
	})
	for _, tt := range []struct{ store, contains, match, want string }{
		{"well", "", "", ""},
		{"well", `"ok": true`, "o[k]", ""},
		{"well", `"ok": false`, "", `the answer does not contain "\"ok\": false": {"ok": true}`},
		{"well", "", "^ok", `the answer does not match "^ok": {"ok": true}`},
		{"sick", "", "", "status 500: row 7 damaged"},
		{"moved", "", "", `status 302: <a href="/elsewhere">Found</a>.`},
		{"broken", "", "", "the connection broke: EOF"},
		{"large", "", "", ""},
	} {
		d.policy.BodyContains, d.policy.BodyMatch = tt.contains, nil
		if tt.match != "" {
			d.policy.BodyMatch = regexp.MustCompile(tt.match)
		}
		got := ""
		if err := d.check(tt.store); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s, contains %q, match %q: got %q, want %q", tt.store, tt.contains, tt.match, got, tt.want)
		}
		d.slots(0, 0)
	}
}

// TestStuckCheck: a check that has failed keeps its slot for as long as its
// worker is busy.
func TestStuckCheck(t *testing.T) {
	free := make(chan struct{})
	d := newDesk(t, config.Zone{}, func(http.ResponseWriter, *http.Request) { <-free })
	began := time.Now()
	if err := d.check("a"); err == nil || err.Error() != "no answer within 200ms" {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took < 200*time.Millisecond || took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	d.slots(0, 1)
	if _, refusal := d.guard.AdmitCheck(breaker.CheckRequest{Zone: "z1", Store: "a"}); refusal == nil || refusal.Reason != breaker.ReasonChecking {
		t.Errorf("a second check while the first is stuck: %+v", refusal)
	}
	close(free)
	d.slots(0, 0)
}

func TestStuckCheckEnds(t *testing.T) {
	t.Run("abandoned", func(t *testing.T) {
		// abandon_after must not be shorter than the timeout; the check's is.
		d := newDesk(t, config.Zone{Timeout: config.Duration(300 * time.Millisecond), AbandonAfter: config.Duration(400 * time.Millisecond)}, untilGone)
		_ = d.check("a")
		d.slots(0, 1)
		abandoned := func() uint64 { z, _ := d.guard.Zone("z1"); return z.Abandoned }
		for end := time.Now().Add(5 * time.Second); abandoned() == 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		if n := abandoned(); n != 1 {
			t.Errorf("%d workers abandoned, want 1", n)
		}
		time.Sleep(200 * time.Millisecond) // two sweeps
		d.slots(0, 1)                      // a worker does not notice that its connection is closed
		slot, refusal := d.guard.Admit(t.Context(), breaker.Request{Zone: "z2", Store: "b"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		slot.End(breaker.NoUpstream) // the server is restarted
		d.slots(0, 0)
	})
	t.Run("cancelled", func(t *testing.T) {
		d := newDesk(t, config.Zone{OnTimeout: config.OnTimeoutCancel}, untilGone)
		_ = d.check("a")
		d.slots(0, 0)
	})
	t.Run("closed", func(t *testing.T) {
		d := newDesk(t, config.Zone{}, untilGone)
		_ = d.check("a")
		d.client.Close()
		d.slots(0, 0)
	})
}

// untilGone answers nothing, and ends when its connection is closed.
func untilGone(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestUnreachable(t *testing.T) {
	d := newDesk(t, config.Zone{}, untilGone)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	d.policy.To = []string{closed.Addr().String()}
	var unreachable *recovery.UnreachableError
	if err := d.check("a"); !errors.As(err, &unreachable) {
		t.Errorf("got %v", err)
	}
	d.slots(0, 0)
	if n := d.guard.Status().NoUpstream; n != 1 {
		t.Errorf("%d failed dials are counted, want 1", n)
	}
}

func TestCheckOverSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Query().Get("key")) })}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	d := newDesk(t, config.Zone{}, untilGone)
	d.policy.To, d.policy.BodyContains = []string{"unix/" + socket}, "s1"
	if err := d.check("s1"); err != nil {
		t.Error(err)
	}
}

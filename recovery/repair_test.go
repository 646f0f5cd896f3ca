package recovery_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/recovery"
)

// repairing is inTime with a repair.
func repairing(t *testing.T, r config.Repair, f func(*world)) {
	t.Helper()
	inTime(t, 20, config.StoreCheck{Retries: ptr(1), Every: every(time.Second)}, func(w *world) {
		r.URI, r.To = "/repairs?store={store}", []string{"localhost:2"}
		w.app.Repair = &r
		w.end()
		w.begin()
		w.isolate()
		f(w)
	})
}

// TestRepair repairs what can be repaired, and puts the rest on the work list.
func TestRepair(t *testing.T) {
	repairing(t, config.Repair{Poll: "/repairs/{key}", Parallel: 3}, func(w *world) {
		for i := range 6 {
			w.sick[store(i)] = "row damaged"
		}
		w.hopeless[store(1)] = true
		v := w.recover(recovery.Request{})
		v = w.until(v.ID, recovery.Done, time.Minute)
		if v.Released != 19 || v.Repaired != 5 || v.Work != 1 || w.repairs[store(1)] != 1 || len(w.repairs) != 6 {
			t.Errorf("it ended as %+v; repairs %v", v, w.repairs)
		}
		items := w.life.jobs.Work()
		if len(items) != 1 || items[0].Store != store(1) || items[0].Reason != "row damaged; its repair failed: status 422: no backup" {
			t.Fatalf("work: %+v", items)
		}
		w.workByHand(v.ID)
	})
}

// workByHand goes through the life of store 1 on the work list.
func (w *world) workByHand(id string) {
	t, name := w.t, store(1)
	do := func(action, by, to, text string, want error) {
		t.Helper()
		if _, err := w.life.jobs.WorkOn(name, action, by, to, text); !errors.Is(err, want) {
			t.Errorf("%s by %q: %v, want %v", action, by, err, want)
		}
	}
	do(recovery.WorkClaim, "", "", "", recovery.ErrInvalid)
	do(recovery.WorkClaim, "ann", "", "", nil)
	do(recovery.WorkClaim, "ann", "", "", nil)
	do(recovery.WorkClaim, "bob", "", "", recovery.ErrConflict)
	do(recovery.WorkDone, "bob", "", "", recovery.ErrConflict)
	do(recovery.WorkHandOver, "ann", "bob", "", nil)
	do(recovery.WorkNote, "carl", "", "row 12", nil)
	do("burn", "bob", "", "", recovery.ErrInvalid)
	w.kill()
	do(recovery.WorkDone, "ann", "", "", recovery.ErrConflict) // a restart forgets nothing
	do(recovery.WorkDone, "bob", "", "", nil)                  // it is still damaged
	if v := w.until(id, recovery.Done, time.Minute); v.Work != 1 || v.Manual != 0 {
		t.Errorf("a store that is still damaged: %+v", v)
	}
	w.mu.Lock()
	delete(w.sick, name)
	w.mu.Unlock()
	do(recovery.WorkDone, "bob", "", "", nil)
	do(recovery.WorkClaim, "bob", "", "", recovery.ErrConflict)
	if v := w.until(id, recovery.Done, time.Minute); v.Work != 0 || v.Manual != 1 || v.Released != 20 {
		t.Errorf("after work by hand: %+v", v)
	}
	if in := w.inMaintenance(); len(in) > 0 || len(w.life.board.View().State.Switches) > 0 {
		t.Errorf("in maintenance: %q", in)
	}
	do(recovery.WorkClaim, "bob", "", "", recovery.ErrNotFound)
	if w.repairs[name] != 1 {
		t.Errorf("store %s was repaired %d times", name, w.repairs[name])
	}
}

// TestRepairKilled kills the process while repairs are under way, with and
// without a way to ask after them.
func TestRepairKilled(t *testing.T) {
	for name, poll := range map[string]string{"poll": "/repairs/{key}", "no poll": ""} {
		t.Run(name, func(t *testing.T) {
			repairing(t, config.Repair{Poll: poll, Timeout: config.Duration(time.Minute)}, func(w *world) {
				w.sick[store(3)], w.sick[store(4)], w.mend = "row damaged", "row damaged", 30*time.Second
				id := w.recover(recovery.Request{}).ID
				for range 3 {
					time.Sleep(5 * time.Second)
					w.kill()
				}
				v := w.until(id, recovery.Done, 5*time.Minute)
				if v.Released != 20 || w.repairs[store(3)] != 1 || w.repairs[store(4)] != 1 {
					t.Errorf("it ended as %+v; repairs %v", v, w.repairs)
				}
				if asked := w.asked[store(3)] > 0; asked != (poll != "") {
					t.Errorf("asked after an earlier repair: %v", asked)
				}
			})
		})
	}
}

// TestRepairCancelled does not let a new recovery repair what is still being
// repaired for one that was cancelled.
func TestRepairCancelled(t *testing.T) {
	repairing(t, config.Repair{Poll: "/repairs/{key}"}, func(w *world) {
		w.sick[store(3)], w.mend = "row damaged", 30*time.Second
		id := w.recover(recovery.Request{}).ID
		time.Sleep(5 * time.Second)
		if _, err := w.life.jobs.Cancel(id, "ann", ""); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := w.life.jobs.Begin(&recovery.Request{Zone: "z1"}); !errors.Is(err, recovery.ErrConflict) {
				t.Errorf("a second recovery: %v", err)
			}
			w.kill()
		}
		time.Sleep(time.Minute)
		id = w.recover(recovery.Request{}).ID
		if v := w.until(id, recovery.Done, time.Minute); v.Work != 0 || w.repairs[store(3)] != 1 {
			t.Errorf("it ended as %+v; repairs %v", v, w.repairs)
		}
	})
}

// TestRepairClient goes through what the service may answer.
func TestRepairClient(t *testing.T) {
	for name, test := range map[string]struct {
		poll   string
		begun  bool
		start  []int // statuses, the last one for ever
		ask    []int
		starts int32
		want   string // of the error; "": none
	}{
		"at once":               {"", false, []int{200}, nil, 1, ""},
		"refused":               {"", false, []int{422}, nil, 1, "status 422"},
		"202 without poll":      {"", false, []int{202}, nil, 1, "has no poll"},
		"polled":                {"/ask", false, []int{202}, []int{202, 503, 202, 204}, 1, ""},
		"fails later":           {"/ask", false, []int{200}, []int{202, 409}, 1, "status 409"},
		"busy first":            {"/ask", false, []int{503, 429, 202}, []int{200}, 3, ""},
		"unclear start":         {"/ask", false, []int{500}, []int{202, 200}, 1, ""},
		"unclear, never begun":  {"/ask", false, []int{500}, []int{404}, 1, "status 404"},
		"earlier, under way":    {"/ask", true, []int{202}, []int{202, 200}, 0, ""},
		"earlier, never begun":  {"/ask", true, []int{202}, []int{404, 202, 200}, 1, ""},
		"goes on for ever":      {"/ask", false, []int{202}, []int{202}, 1, "not done within"},
		"always busy":           {"", false, []int{503}, nil, -1, "not done within"},
		"a redirect is no help": {"", false, []int{302}, nil, 1, "status 302"},
	} {
		t.Run(name, func(t *testing.T) {
			var starts, asks atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				list, n := test.start, &starts
				if r.Method == http.MethodGet {
					list, n = test.ask, &asks
				}
				if r.Header.Get("Idempotency-Key") != "key" || r.Header.Get("X-Store") != "a b" {
					t.Errorf("headers %v", r.Header)
				}
				rw.WriteHeader(list[min(int(n.Add(1)), len(list))-1])
			}))
			defer server.Close()
			app := config.App{Workers: 1, Repair: &config.Repair{
				URI: "/repairs?store={store}", Poll: test.poll, To: []string{strings.TrimPrefix(server.URL, "http://")},
				Every: config.Duration(time.Millisecond), Timeout: config.Duration(300 * time.Millisecond), Headers: map[string]string{"X-Store": "{store}"},
			}}
			policy, err := app.Policy()
			if err != nil {
				t.Fatal(err)
			}
			c := new(recovery.Client)
			defer c.Close()
			err = c.Repair(policy.Repair, recovery.Repair{Zone: "z1", Store: "a b", Key: "key", Begun: test.begun})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("it ended with %v, want %q", err, test.want)
			}
			if n := starts.Load(); test.starts >= 0 && n != test.starts {
				t.Errorf("begun %d times, want %d", n, test.starts)
			}
		})
	}
}

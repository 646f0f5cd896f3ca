package recovery_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/recovery"
)

const (
	repairEnv      = "FIREBREAK_TEST_REPAIRS" // set: the process that is killed has stores repaired
	repairStores   = 1000
	repairDamaged  = 40 // every 25th
	repairHopeless = 2  // of these, the first
)

// repairAPI is an API server with a service that repairs, which counts.
type repairAPI struct {
	mu      sync.Mutex
	damaged map[string]bool
	began   map[string]int    // repairs, by store
	state   map[string]int    // the status of a repair, by key
	running map[string]bool   // by store
	keys    map[string]string // by store
	twice   []string
	fixed   int
}

func newRepairAPI() *repairAPI {
	a := &repairAPI{damaged: map[string]bool{}, began: map[string]int{}, state: map[string]int{}, running: map[string]bool{}, keys: map[string]string{}}
	for i := range repairDamaged {
		a.damaged[store(25*i)] = true
	}
	return a
}

func (a *repairAPI) hopeless(name string) bool {
	for i := range repairHopeless {
		if name == store(25*i) {
			return true
		}
	}
	return false
}

// ServeHTTP implements http.Handler.
func (a *repairAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch key, ok := strings.CutPrefix(r.URL.Path, "/repairs/"); {
	case ok && a.state[key] == 0:
		http.NotFound(w, r)
	case ok:
		w.WriteHeader(a.state[key])
	case r.URL.Path == "/repairs":
		a.begin(r.URL.Query().Get("store"), r.Header.Get("Idempotency-Key"))
		w.WriteHeader(http.StatusAccepted)
	case a.damaged[r.URL.Query().Get("key")]:
		http.Error(w, "row damaged", http.StatusInternalServerError)
	}
}

// begin begins a repair, which goes on whoever asked for it.
func (a *repairAPI) begin(name, key string) {
	if a.running[name] || a.keys[name] != "" && a.keys[name] != key {
		a.twice = append(a.twice, name)
	}
	a.began[name]++
	a.running[name], a.keys[name], a.state[key] = true, key, http.StatusAccepted
	time.AfterFunc(70*time.Millisecond, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running[name] = false
		if a.hopeless(name) {
			a.state[key] = http.StatusUnprocessableEntity
			return
		}
		a.state[key] = http.StatusOK
		delete(a.damaged, name)
		a.fixed++
	})
}

// TestRepairSIGKILL recovers 1,000 stores of which 40 are damaged and 38 can be
// repaired, in a process that is killed again and again: no store is repaired
// twice, and the figures are those that the API server has counted itself. Then
// one of the two that are left is repaired by hand.
func TestRepairSIGKILL(t *testing.T) {
	dir, api := t.TempDir(), newRepairAPI()
	server := httptest.NewServer(api)
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	kills := 0
	for !runAndKill(t, dir, address, kills, repairEnv+"=1") {
		if kills++; kills > 200 {
			t.Fatal("it does not end")
		}
	}
	t.Logf("%d kills", kills)
	jobs, board, err := killedJobs(dir, address, true)
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.Close()
	api.mu.Lock()
	if len(api.twice) > 0 || len(api.began) != repairDamaged {
		t.Errorf("repaired twice at the same time, or with two keys: %q; %d stores were repaired", api.twice, len(api.began))
	}
	for name, n := range api.began {
		if n != 1 {
			t.Errorf("the repair of store %s was begun %d times", name, n)
		}
	}
	want := fmt.Sprintf("released %d, repaired %d, by hand 0, on the work list %d", repairStores-len(api.damaged), api.fixed, len(api.damaged))
	api.mu.Unlock()
	v := jobs.List()[0]
	if got := figuresOf(&v); got != want {
		t.Errorf("the recovery says: %s; the API server counts: %s", got, want)
	}
	for i := range repairStores {
		if in := board.Lookup("z1", store(i)) != nil; in != api.hopeless(store(i)) {
			t.Errorf("store %s: in maintenance is %v", store(i), in)
		}
	}
	if kills < 3 {
		t.Errorf("only %d kills", kills)
	}
	repairByHand(t, jobs, api)
}

func figuresOf(v *recovery.View) string {
	return fmt.Sprintf("released %d, repaired %d, by hand %d, on the work list %d", v.Released, v.Repaired, v.Manual, v.Work)
}

func repairByHand(t *testing.T, jobs *recovery.Jobs, api *repairAPI) {
	t.Helper()
	api.mu.Lock()
	delete(api.damaged, store(0))
	api.mu.Unlock()
	for _, name := range []string{store(0), store(25)} {
		if _, err := jobs.WorkOn(name, recovery.WorkDone, "ann", "", "from the backup"); err != nil {
			t.Fatal(err)
		}
	}
	var v recovery.View
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if v = jobs.List()[0]; v.State == recovery.Done || time.Now().After(end) {
			break
		}
	}
	want := fmt.Sprintf("released %d, repaired %d, by hand 1, on the work list 1", repairStores-1, repairDamaged-repairHopeless)
	if got := figuresOf(&v); got != want || v.State != recovery.Done {
		t.Errorf("by hand: %s, %s, want %s", v.State, got, want)
	}
	left := jobs.Work()
	if len(left) != 1 || left[0].Store != store(25) || left[0].State != recovery.WorkClaimed || len(left[0].Notes) != 2 || left[0].Repair != "failed" {
		t.Errorf("left on the work list: %+v", left)
	}
	for {
		select {
		case e := <-jobs.Events():
			if f := e.Figures; e.Kind == recovery.EventDone && (f.Automatic != repairStores-repairHopeless || f.Manual != 1 || f.Remaining != 1 || f.LastManual.Before(f.LastAutomatic)) {
				t.Errorf("figures of the end: %+v", f)
			}
			continue
		default:
		}
		break
	}
}

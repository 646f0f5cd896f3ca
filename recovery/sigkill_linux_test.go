package recovery_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
	"github.com/firebreak-proxy/firebreak/routing"
)

const (
	killedEnv      = "FIREBREAK_TEST_KILLED" // the folder and the API server of the process that is killed
	killedStores   = 800
	killedParallel = 4
	killedTimes    = 2
	killedRetries  = 1
)

func TestMain(m *testing.M) {
	if dir, api, ok := strings.Cut(os.Getenv(killedEnv), " "); ok {
		if err := liveToBeKilled(dir, api, os.Getenv(repairEnv) != ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// liveToBeKilled is a process that recovers a zone, or goes on with it.
func liveToBeKilled(dir, api string, repair bool) error {
	jobs, board, err := killedJobs(dir, api, repair)
	if err != nil {
		return err
	}
	if len(jobs.List()) == 0 {
		if _, _, err := board.Change(context.Background(), maintenance.Author{}, &maintenance.Edit{Set: []maintenance.Switch{{Target: zoneZ1}}}); err != nil {
			return err
		}
		if _, err := jobs.Begin(&recovery.Request{Zone: "z1"}); err != nil {
			return err
		}
	}
	for ; ; time.Sleep(5 * time.Millisecond) {
		switch v := jobs.List()[0]; v.State {
		case recovery.Running:
		case recovery.Done:
			jobs.Close()
			return nil
		default:
			return fmt.Errorf("it is %+v", v)
		}
	}
}

// killedJobs are the recoveries of such a process.
func killedJobs(dir, api string, repair bool) (*recovery.Jobs, *maintenance.Board, error) {
	check := config.StoreCheck{
		URI: "/check?key={store}", To: []string{api}, Times: killedTimes, Every: every(100 * time.Millisecond),
		Parallel: killedParallel, Retries: ptr(killedRetries),
	}
	app := config.App{Workers: 32, Check: &check, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}
	stores := killedStores
	if repair {
		stores, check.Retries = repairStores, ptr(0)
		app.Repair = &config.Repair{URI: "/repairs?store={store}", Poll: "/repairs/{key}", To: []string{api}, Every: config.Duration(10 * time.Millisecond)}
	}
	policy, err := app.Policy()
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for i := range stores {
		names = append(names, store(i))
	}
	table, err := routing.NewInline([]routing.InlineZone{{Name: "z1", Stores: names}})
	if err != nil {
		return nil, nil, err
	}
	board := killedBoard(dir)
	if err := board.Load(context.Background()); err != nil {
		return nil, nil, err
	}
	client := new(recovery.Client)
	jobs := recovery.New(recovery.Options{Checker: client, Repairer: client, Dir: filepath.Join(dir, "jobs")})
	jobs.Use(&recovery.Deps{Guard: breaker.New(policy, breaker.Options{}), Policy: policy, Directory: table, Board: board})
	return jobs, board, nil
}

func killedBoard(dir string) *maintenance.Board {
	files := &certmagic.FileStorage{Path: filepath.Join(dir, "switches")}
	return maintenance.New(maintenance.Options{Backend: maintenance.NewStorage(files, "maintenance")})
}

// killedAPI is an API server that writes down what it answers. Of ten stores
// one is ill, and one fails the first time.
type killedAPI struct {
	mu     sync.Mutex
	passed map[string]int
	failed map[string]int
}

// ServeHTTP implements http.Handler.
func (a *killedAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(2 * time.Millisecond)
	store := r.URL.Query().Get("key")
	a.mu.Lock()
	defer a.mu.Unlock()
	if isIll(store) || failsFirst(store) && a.failed[store] == 0 {
		a.failed[store]++
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	a.passed[store]++
}

func isIll(store string) bool      { return strings.HasSuffix(store, "3") }
func failsFirst(store string) bool { return strings.HasSuffix(store, "5") }

// TestSIGKILL kills a process again and again, at any moment, until its job is
// done. The API server counts: no store was released that had not passed twice,
// and no more checks were repeated than can have been on their way.
func TestSIGKILL(t *testing.T) {
	dir := t.TempDir()
	api := &killedAPI{passed: map[string]int{}, failed: map[string]int{}}
	server := httptest.NewServer(api)
	defer server.Close()
	kills := 0
	for !runAndKill(t, dir, strings.TrimPrefix(server.URL, "http://"), kills) {
		if kills++; kills > 200 {
			t.Fatal("it does not end")
		}
	}
	board := killedBoard(dir)
	if err := board.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	repeated := 0
	for i := range killedStores {
		name := store(i)
		passed, failed := killedTimes, 0
		switch {
		case isIll(name):
			passed, failed = 0, killedRetries+1
		case failsFirst(name):
			failed = 1
		}
		repeated += api.passed[name] - passed + api.failed[name] - failed
		if api.passed[name] < passed || api.failed[name] < failed {
			t.Errorf("store %s passed %d checks and failed %d, want at least %d and %d", name, api.passed[name], api.failed[name], passed, failed)
		}
		if ill := board.Lookup("z1", name) != nil; ill != isIll(name) {
			t.Errorf("store %s: in maintenance is %v", name, ill)
		}
	}
	t.Logf("%d kills, %d checks repeated", kills, repeated)
	if most := killedParallel * kills; repeated > most || kills < 5 {
		t.Errorf("%d kills, and %d checks were repeated; at most %d can have been on their way", kills, repeated, most)
	}
}

// runAndKill runs the process for a while, a longer one after many kills, so
// that a slow machine comes to an end, too. It reports whether the process ended
// before it was killed.
func runAndKill(t *testing.T, dir, api string, kills int, env ...string) bool {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), append(env, killedEnv+"="+dir+" "+api)...), &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(60+rand.IntN(140)+20*kills)*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Exited()) {
		t.Fatalf("the process ended by itself: %s", cmp.Or(stderr.String(), err.Error()))
	}
	return err == nil
}

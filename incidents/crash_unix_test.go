//go:build unix

package incidents_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/incidents"
)

// asCut makes this test a process whose writes end after so many bytes of a
// file: what a crash or a full disk does to a record that is being replaced.
const asCut = "FIREBREAK_TEST_AS_CUT"

func writeAndBeCut(dir string) {
	n, _ := strconv.ParseUint(os.Getenv(asCut), 10, 64)
	l := incidents.Open(incidents.Options{Dir: dir, Instance: "web1"})
	status := breaker.ZoneStatus{Zone: "z1", State: breaker.Open}
	l.Attach(incidents.Source{Zone: func(string) (breaker.ZoneStatus, bool) { return status, true }})
	at := time.Now().Add(-time.Minute)
	l.Tell(&breaker.Event{Kind: breaker.EventZoneOpened, From: breaker.Troubled, Zone: "z1", At: at, For: time.Minute, Evidence: "3 of 3 stores"})
	record := filepath.Join(dir, "web1", "*.json")
	until(func() bool {
		l.Wake()
		files, _ := filepath.Glob(record)
		return len(files) == 1
	})
	limit := syscall.Rlimit{Cur: n, Max: n}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		os.Exit(1)
	}
	l.Tell(&breaker.Event{Kind: breaker.EventZoneClosed, Zone: "z1", At: at.Add(30 * time.Second)})
	until(func() bool {
		l.Wake()
		files, _ := filepath.Glob(record)
		for _, name := range files {
			if data, _ := os.ReadFile(name); strings.Contains(string(data), breaker.EventZoneClosed) {
				return true
			}
		}
		return l.Problem() != nil
	})
	os.Exit(0)
}

func until(ok func() bool) {
	for end := time.Now().Add(5 * time.Second); !ok() && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
	}
}

// TestCutAtEveryWrite replaces a record in a process whose write ends at any
// byte: afterwards the old record is there, or the new one, and both are whole.
func TestCutAtEveryWrite(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	old, fresh := 0, 0
	for n := 0; n <= 1600; n += 100 {
		dir := t.TempDir()
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), asWriter+"="+dir, asCut+"="+strconv.Itoa(n))
		_ = cmd.Run() // it may die of the signal that comes with the limit
		all := whole(t, open(t, dir, 0))
		if len(all) != 1 || all[0].Openings != 1 || all[0].Interrupted == "" {
			t.Fatalf("cut after %d bytes: %+v", n, all)
		}
		last := all[0].Timeline[len(all[0].Timeline)-2].What
		switch last {
		case breaker.EventZoneOpened:
			old++
		case breaker.EventZoneClosed:
			fresh++
		default:
			t.Fatalf("cut after %d bytes: %+v", n, all[0].Timeline)
		}
	}
	if old == 0 || fresh == 0 {
		t.Errorf("%d old and %d new records: the test tests nothing", old, fresh)
	}
}

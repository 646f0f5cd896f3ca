package caddymodule_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/disk"
)

// memoryFile is the file in which the sidecar keeps its memory.
func memoryFile(t *testing.T) string {
	t.Helper()
	var found []string
	eventually(t, "the memory is written", func() bool {
		found, _ = filepath.Glob(filepath.Join(caddy.AppDataDir(), "firebreak", "memory-*.json"))
		return len(found) == 1
	})
	return found[0]
}

// TestRestartRemembers: Caddy ends while a zone is open and a worker hangs, and
// starts again.
func TestRestartRemembers(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	guard := s.app(t).Guard()
	openZone(t, guard)
	hung, late := admit(t, guard, "z2", "e"), admit(t, guard, "z2", "slash/store")
	hung.Hang()
	if resp, body := s.send(t, "POST", "/firebreak/stores/d/isolate", `{"reason": "damaged", "by": "ann"}`); resp.StatusCode != 200 {
		t.Fatal(resp.Status, body)
	}
	before, _ := guard.Zone("z1")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	late.End(breaker.OK)
	if err := s.load(smallApp, smallSite); err != nil {
		t.Fatal(err)
	}
	next := s.app(t).Guard()
	if next == guard {
		t.Fatal("the guard outlived the last configuration")
	}
	after, _ := next.Zone("z1")
	if after.State != breaker.Open || !after.OpenedAt.Equal(before.OpenedAt) || !strings.Contains(after.Evidence, before.Evidence) {
		t.Errorf("z1 is %+v after the restart, was %+v", after, before)
	}
	if resp, body := s.get(t, "/?key=a"); resp.StatusCode != 503 || resp.Header.Get("Firebreak-Refusal") != "zone_open" {
		t.Error("a request of the open zone:", resp.Status, body)
	}
	if st := next.Status(); st.Hung != 4 || st.Occupied != 4 {
		t.Errorf("%d of %d occupied workers hang, want the four that hung", st.Hung, st.Occupied)
	}
	if h := next.Store("z1", "d").Hold; h == nil || h.By != "ann" {
		t.Errorf("the hold of store d is %+v", h)
	}
	eventually(t, "the record goes on", func() bool {
		list := s.incidentsOf(t, "?zone=z1")
		return len(list) == 1 && list[0].Ongoing && list[0].Openings == 1
	})
}

// TestMemoryAfterKill: what is on disk while the sidecar runs is what a kill
// leaves, and nothing once all is well.
func TestMemoryAfterKill(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	path := memoryFile(t)
	stuck := openZone(t, s.app(t).Guard())
	has := func(text string) func() bool {
		return func() bool { data, _ := os.ReadFile(path); return strings.Contains(string(data), text) }
	}
	eventually(t, "the open zone is on disk", has(`"zone":"z1"`))
	written, _ := os.Stat(path)
	time.Sleep(1200 * time.Millisecond)
	if again, _ := os.Stat(path); !again.ModTime().Equal(written.ModTime()) {
		t.Error("the file is written though nothing changed")
	}
	for _, slot := range stuck {
		slot.End(breaker.OK)
	}
	s.app(t).Guard().ResetZone("z1", "ann", "")
	eventually(t, "nothing is left on disk", func() bool { return !has(`"zone"`)() })
}

// TestMemoryThatIsNone: a file that cannot be used must not keep Caddy from
// starting, nor count for anything.
func TestMemoryThatIsNone(t *testing.T) {
	open := `"zones":[{"zone":"z1","state":"open","open_until":"2099-01-01T00:00:00Z"}]}`
	good := `{"firebreak_memory":1,"boot":"` + disk.Boot() + `",` + open
	for name, tt := range map[string]struct {
		text string
		open bool
	}{
		"as it should be":                   {good, true},
		"empty":                             {"", false},
		"cut off":                           {good[:len(good)-20], false},
		"of a later version":                {`{"firebreak_memory":2,` + open, false},
		"of the time before a machine boot": {`{"firebreak_memory":1,"boot":"x",` + open, false},
		"with a state that there is not":    {strings.Replace(good, `"open"`, `"ajar"`, 1), false},
		"no object":                         {"null", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSidecar(t, smallApp, smallSite)
			path := memoryFile(t)
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			writeFile(t, path, tt.text)
			if err := s.load(smallApp, smallSite); err != nil {
				t.Fatal(err)
			}
			if resp, _ := s.get(t, "/?key=a"); (resp.StatusCode == 503) != tt.open {
				t.Errorf("a request of z1 is answered %d", resp.StatusCode)
			}
			eventually(t, "the file is written anew", func() bool {
				data, _ := os.ReadFile(path)
				return strings.HasPrefix(string(data), `{"firebreak_memory":1,`)
			})
		})
	}
}

// TestMemoryWithoutDisk: the folder's place is taken, and later free.
func TestMemoryWithoutDisk(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	path := memoryFile(t)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	log := loadLogged(t, s, smallApp, "")
	eventually(t, "the log has that it cannot be kept", func() bool {
		return len(logLines(t, log, "what hangs cannot be kept on disk")) == 1
	})
	openZone(t, s.app(t).Guard())
	if resp, _ := s.get(t, "/?key=a"); resp.StatusCode != 503 {
		t.Errorf("a request of the open zone is answered %d", resp.StatusCode)
	}
}

// TestMemoryOfTwo: a second process with the same name does not start, and leaves the
// first one's memory alone; one with another name does.
func TestMemoryOfTwo(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	path := memoryFile(t)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	others := `{"firebreak_memory":1,"boot":"` + disk.Boot() + `","zones":[{"zone":"z1","state":"open","open_until":"2099-01-01T00:00:00Z"}]}`
	writeFile(t, path, others)
	writeFile(t, path+".lock", `{"pid":4711,"since":"2026-01-02T03:04:05Z"}`)
	unlock, err := disk.Lock(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	err = s.load(smallApp, smallSite)
	if err == nil {
		t.Fatal("a second process with the same name starts")
	}
	for _, want := range []string{"same data directory", "process 4711, since 2026-01-02T03:04:05Z", "instance NAME"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if err := s.load(smallApp+"\ninstance other", smallSite); err != nil {
		t.Fatal("with a name of its own:", err)
	}
	if resp, body := s.get(t, "/?key=a"); resp.StatusCode != 200 {
		t.Error("the zone that another process knows to be open:", resp.Status, body)
	}
	time.Sleep(700 * time.Millisecond)
	if data, _ := os.ReadFile(path); string(data) != others {
		t.Errorf("the other process's file has %s", data)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	// The other process may be about to end.
	time.AfterFunc(time.Second, unlock)
	if err := s.load(smallApp, smallSite); err != nil {
		t.Error("after the other process has ended:", err)
	}
	if err := s.load(smallApp+"\nmax_open_zones 50%", smallSite); err != nil {
		t.Error("reload:", err)
	}
	if data, _ := os.ReadFile(path + ".lock"); !strings.Contains(string(data), fmt.Sprintf(`"pid":%d,`, os.Getpid())) {
		t.Errorf("the lock says %s", data)
	}
}

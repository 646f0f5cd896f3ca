package recovery_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
)

// TestWhatAKillLeaves kills the process when every store has passed one of two
// checks, and changes what is on disk.
func TestWhatAKillLeaves(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*world)
		checks int
		told   string
	}{
		"all of it": {func(*world) {}, 2, ""},
		"the clock was put back": {func(w *world) {
			w.eachJob(func(data []byte) []byte { return bytes.ReplaceAll(data, []byte(`"l":"2000`), []byte(`"l":"2001`)) })
		}, 2, ""},
		"after hours":          {func(*world) { time.Sleep(2 * time.Hour) }, 3, "the last of them passed 2h0m"},
		"the machine restarts": {func(w *world) { w.losePower(0) }, 3, "the machine was restarted"},
		"no journal":           {func(w *world) { w.removeJournals() }, 3, "it has no journal"},
		"an empty journal":     {func(w *world) { w.eachJournal(func([]byte) []byte { return []byte{} }) }, 3, "damaged or of another format"},
		"a damaged line": {func(w *world) {
			w.eachJournal(func(data []byte) []byte { return append(data, "00000000 {}\n"...) })
		}, 3, "a line of its journal is damaged"},
		"half a line": {func(w *world) {
			w.eachJournal(func(data []byte) []byte { return append(data, "00000000 {"...) })
		}, 2, ""},
		"a file of an older version": {func(w *world) {
			w.removeJournals()
			w.eachJob(func(data []byte) []byte {
				return regexp.MustCompile(`,"(journal|k)":\d+|,"l":"[^"]*"`).ReplaceAll(data, nil)
			})
		}, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, 10, config.StoreCheck{}, func(w *world) {
				w.isolate()
				id := w.recover(recovery.Request{}).ID
				time.Sleep(2 * time.Second)
				w.kill(func() { tt.change(w) })
				told := ""
				for len(w.life.jobs.Events()) > 0 {
					if e := <-w.life.jobs.Events(); e.Kind == recovery.EventAnew && e.Count == 10 {
						told = e.Detail
					}
				}
				if !strings.Contains(told, tt.told) || (tt.told == "") != (told == "") {
					t.Errorf("told %q, want %q", told, tt.told)
				}
				time.Sleep(4900 * time.Millisecond)
				if v := w.view(id); v.Released > 0 || v.PassedOnce != 10 {
					t.Errorf("sooner than a check may come: %+v", v)
				}
				w.until(id, recovery.Done, 20*time.Second)
				for name, n := range w.checks {
					if n != tt.checks {
						t.Errorf("store %s was checked %d times, want %d", name, n, tt.checks)
					}
				}
			})
		})
	}
}

// eachJob changes the files of jobs.
func (w *world) eachJob(f func([]byte) []byte) {
	names, _ := filepath.Glob(filepath.Join(w.dir, "*.ndjson"))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, f(data), 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) removeJournals() {
	names, _ := filepath.Glob(filepath.Join(w.dir, "*.journal"))
	for _, name := range names {
		_ = os.Remove(name)
	}
}

// TestDiskFull: a failure cannot be written down. After a kill it must not seem
// as if there had been none.
func TestDiskFull(t *testing.T) {
	inTime(t, 3, config.StoreCheck{Every: every(200 * time.Millisecond), Retries: ptr(9)}, func(w *world) {
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(100 * time.Millisecond) // everybody has passed once
		w.fillDisk()
		w.mu.Lock()
		w.sick["s001"] = "damaged"
		w.mu.Unlock()
		time.Sleep(300 * time.Millisecond) // the job's file is not written yet
		if v := w.view(id); v.Released != 2 || v.Failing != 1 {
			t.Errorf("with a full disk: %+v", v)
		}
		w.mu.Lock()
		clear(w.sick)
		w.mu.Unlock()
		w.kill()
		w.until(id, recovery.Done, 20*time.Second)
	})
}

// fillDisk makes the process' journal a file that has no room.
func (w *world) fillDisk() {
	w.t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer full.Close()
	found := 0
	for fd := 3; fd < 256; fd++ {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && filepath.Dir(name) == w.dir && strings.HasSuffix(name, ".journal") {
			found++
			if err := syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if found != 1 {
		w.t.Fatalf("%d journals are open", found)
	}
}

// TestPutBackMeanwhile: the process is killed when the first stores are
// released, and before it is back a person puts them back into maintenance.
// What they passed before does not count.
func TestPutBackMeanwhile(t *testing.T) {
	inTime(t, 4, config.StoreCheck{Every: every(time.Second)}, func(w *world) {
		reached := make(chan struct{}, 9)
		w.mu.Lock()
		w.step = func() {
			w.mu.Lock()
			hit := len(w.released) > 0
			w.mu.Unlock()
			if hit {
				reached <- struct{}{}
				time.Sleep(time.Millisecond) // until it is killed
			}
		}
		w.mu.Unlock()
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		<-reached
		w.kill(func() {
			w.mu.Lock()
			w.step = nil
			clear(w.earned)
			clear(w.released)
			w.mu.Unlock()
			person := maintenance.New(maintenance.Options{Backend: w.backend})
			if err := person.Load(w.t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := person.Change(w.t.Context(), maintenance.Author{By: "ann"}, &maintenance.Edit{Set: []maintenance.Switch{{Target: zoneZ1}}}); err != nil {
				t.Fatal(err)
			}
		})
		if v := w.until(id, recovery.Done, time.Minute); v.Released != 4 {
			t.Errorf("it ended as %+v", v)
		}
	})
}

// TestKilledWhenPaused: the job has paused itself a moment ago.
func TestKilledWhenPaused(t *testing.T) {
	inTime(t, 400, config.StoreCheck{Every: every(time.Second), Parallel: 1}, func(w *world) {
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(3010 * time.Millisecond)
		w.isolate()
		why := w.until(id, recovery.Paused, time.Second).PausedWhy
		w.kill()
		if v := w.view(id); v.State != recovery.Paused || v.PausedWhy != why || v.PassedOnce != 0 {
			t.Errorf("after a kill it is %+v", v)
		}
	})
}

// TestKilledWhileSaving: the job goes on in a new journal already, but its file
// still names the one before.
func TestKilledWhileSaving(t *testing.T) {
	inTime(t, 4, config.StoreCheck{Every: every(600 * time.Millisecond)}, func(w *world) {
		w.kills = true
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(300 * time.Millisecond) // all have passed once, and the file is written after 500 ms
		before := make(map[string][]byte)
		for _, name := range []string{id + ".ndjson", id + ".1.journal"} {
			data, err := os.ReadFile(filepath.Join(w.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			before[name] = data
		}
		time.Sleep(330 * time.Millisecond) // all have passed twice, and none is released yet
		w.kill(func() {
			for name, data := range before {
				if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
		if v := w.until(id, recovery.Done, time.Second); v.Released != 4 {
			t.Errorf("it ended as %+v", v)
		}
	})
}

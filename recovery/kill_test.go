package recovery_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/recovery"
)

// TestKilledAtEveryStep kills the process at every check and before and after
// every change of the switches, each in a run of its own: no store is released
// unearned or twice, no check is repeated whose answer the process had, none is
// lost, and the job ends as if nothing had been.
func TestKilledAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		more := false
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			inTime(t, 6, config.StoreCheck{Every: every(time.Second), Retries: ptr(1), Parallel: 2}, func(w *world) {
				w.sick["s002"], w.kills = "status 500", true
				w.isolate()
				more = playKill(w, at)
			})
		})
		if !more || t.Failed() {
			t.Logf("%d kills", at-1)
			return
		}
	}
}

// playKill kills the process at a step, and reports whether there was one.
func playKill(w *world, at int) bool {
	steps, reached := 0, make(chan struct{}, 1)
	w.mu.Lock()
	w.step = func() {
		w.mu.Lock()
		steps++
		hit := steps == at
		w.mu.Unlock()
		if hit {
			reached <- struct{}{}
			time.Sleep(time.Millisecond) // until it is killed
		}
	}
	w.mu.Unlock()
	id := w.recover(recovery.Request{By: "ann"}).ID
	killed := false
	for range 600 {
		select {
		case <-reached:
			w.kill()
			killed = true
		case <-time.After(100 * time.Millisecond):
		}
		if w.view(id).State == recovery.Done {
			break
		}
	}
	v := w.view(id)
	if v.State != recovery.Done || v.Released != 5 || v.Failing != 1 || v.By != "ann" || v.Failures[0].Reason != "status 500" {
		w.t.Errorf("killed at step %d: it ended as %+v", at, v)
	}
	equal(w.t, "in maintenance", w.inMaintenance(), []string{"s002"})
	return killed
}

// TestInvariants lets anything happen to jobs of any settings.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		play(t, rt, false, rapid.SampledFrom([]string{"pause", "resume", "kill", "power", "flip", "sicken", "heal", "hang", "away", "backend", "release", "wait", "wait"}))
	})
}

// TestKillsRepeatNothing kills jobs of any settings at any time, while stores
// fall ill and get well: no check is made again whose answer had come, and no
// failure is forgotten.
func TestKillsRepeatNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		play(t, rt, true, rapid.SampledFrom([]string{"kill", "torn", "sicken", "heal", "hang", "wait"}))
	})
}

// play lets things happen to a job of any settings.
func play(t *testing.T, rt *rapid.T, kills bool, verb *rapid.Generator[string]) {
	n := rapid.IntRange(1, 20).Draw(rt, "stores")
	check := config.StoreCheck{
		Times: rapid.IntRange(1, 3).Draw(rt, "times"), Parallel: rapid.IntRange(1, 6).Draw(rt, "parallel"),
		Retries: ptr(rapid.IntRange(0, 2).Draw(rt, "retries")), Every: every(time.Duration(rapid.IntRange(0, 3).Draw(rt, "every")) * time.Second),
		Batch: rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(rt, "batch"), Watch: config.Duration(2 * time.Second),
	}
	verbs := rapid.SliceOfN(verb, 0, 25).Draw(rt, "verbs")
	which := rapid.SliceOfN(rapid.IntRange(0, n-1), len(verbs), len(verbs)).Draw(rt, "which")
	waits := rapid.SliceOfN(rapid.IntRange(1, 3000), len(verbs), len(verbs)).Draw(rt, "ms")
	var wrong []string
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, check)
		w.kills = kills
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		for i, verb := range verbs {
			w.act(id, verb, store(which[i]), waits[i])
			time.Sleep(time.Duration(waits[i]) * time.Millisecond)
		}
		wrong = w.settle(id, check.Parallel)
		w.end()
		time.Sleep(time.Minute)
		synctest.Wait()
	})
	for _, text := range wrong {
		rt.Error(text)
	}
}

// act does one of the things that may happen; at is which byte is meant, where
// files suffer.
func (w *world) act(id, verb, store string, at int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch verb {
	case "sicken":
		w.sick[store] = "damaged"
	case "heal":
		clear(w.sick)
		clear(w.hang)
	case "hang":
		w.hang[store] = true
	case "away":
		w.away = !w.away
	case "backend":
		w.backend.mu.Lock()
		w.backend.away = !w.backend.away
		w.backend.mu.Unlock()
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	switch verb {
	case "pause":
		synctest.Wait() // no store is being released
		if v, _ := w.life.jobs.Pause(id, "", ""); v.State == recovery.Paused {
			w.mu.Lock()
			clear(w.earned)
			w.mu.Unlock()
		}
	case "resume":
		_, _ = w.life.jobs.Resume(id, "", "")
	case "kill":
		w.kill()
	case "torn":
		w.kill(func() { w.tear(at) })
	case "power":
		w.kill(func() { w.losePower(at) })
	case "flip":
		w.kill(func() { w.flip(at) })
	}
}

// eachJournal calls f for the journals, the latest first, with what they hold; it
// returns what they are to hold instead, nil: the same.
func (w *world) eachJournal(f func(data []byte) []byte) {
	w.t.Helper()
	names, _ := filepath.Glob(filepath.Join(w.dir, "*.journal"))
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(b, a)) })
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		if data = f(data); data == nil {
			continue
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// tear leaves half a line in a journal, as if the process had been killed while
// it wrote what a check had found: that answer never came.
func (w *world) tear(at int) {
	w.eachJournal(func(data []byte) []byte {
		lines := bytes.SplitAfter(data, []byte("\n"))
		if len(lines) < 3 { // a header, and what is behind the last end
			return nil
		}
		last := lines[len(lines)-2]
		var l struct {
			Of struct{ S, R, To string }
		}
		if err := json.Unmarshal(last[9:], &l); err != nil {
			w.t.Error(err)
		}
		if l.Of.S == "" || l.Of.R != "" || l.Of.To != "" {
			return nil // something else
		}
		before := w.before[l.Of.S]
		w.earned[l.Of.S], w.failed[l.Of.S] = before[0], before[1]
		return data[:len(data)-2-at%(len(last)-1)] // without its end alone it would be whole
	})
}

// losePower leaves the journals as a machine may that was cut off its power.
func (w *world) losePower(at int) {
	w.eachJournal(func(data []byte) []byte {
		data = regexp.MustCompile(`"boot":"[^"]*"`).ReplaceAll(data, []byte(`"boot":"another"`))
		return data[:len(data)-at%len(data)]
	})
}

// flip damages a byte of a journal's lines.
func (w *world) flip(at int) {
	w.eachJournal(func(data []byte) []byte {
		lines := bytes.IndexByte(data, '\n') + 1
		if n := len(data) - 1 - lines; n > 0 {
			data[lines+at%n] ^= 1 << (at % 8)
		}
		return data
	})
}

// settle lets the job come to its end and says what is wrong then.
func (w *world) settle(id string, parallel int) (wrong []string) {
	w.mu.Lock()
	w.away = false
	w.mu.Unlock()
	w.backend.mu.Lock()
	w.backend.away = false
	w.backend.mu.Unlock()
	_, _ = w.life.jobs.Resume(id, "", "")
	var v recovery.View
	for range 6000 {
		if v = w.view(id); v.State == recovery.Done {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(2 * time.Second) // the board may have had no backend so far
	w.mu.Lock()
	wrong = append(wrong, w.wrong...)
	if w.worst > parallel {
		wrong = append(wrong, fmt.Sprintf("%d checks at a time, want at most %d", w.worst, parallel))
	}
	w.mu.Unlock()
	if v.State != recovery.Done || v.Released+v.GivenUp != v.Total || v.Remaining != 0 {
		wrong = append(wrong, fmt.Sprintf("it did not end: %+v", v))
	}
	if left := len(w.inMaintenance()); left != v.GivenUp {
		wrong = append(wrong, fmt.Sprintf("%d stores are in maintenance, but %d were given up", left, v.GivenUp))
	}
	return wrong
}

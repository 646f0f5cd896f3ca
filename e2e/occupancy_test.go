//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// occupancy is the truth about the pool: what its workers say they work on,
// read every 20 ms.
type occupancy struct {
	dir   string
	files map[int]*os.File // by pid

	mu      sync.Mutex // guards below
	samples []sample
}

// sample is how many workers each zone and each store occupied at one moment.
type sample struct {
	at     time.Time
	total  int
	zones  map[string]int
	stores map[string]int
}

func watchOccupancy(t *testing.T, dir string) *occupancy {
	o := &occupancy{dir: dir, files: map[int]*os.File{}}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				o.look(n)
			}
		}
	})
	t.Cleanup(func() { close(stop); watching.Wait() })
	return o
}

func (o *occupancy) look(n int) {
	if n%10 == 0 {
		o.findWorkers()
	}
	s := sample{at: time.Now(), zones: map[string]int{}, stores: map[string]int{}}
	record := make([]byte, 64)
	for pid, f := range o.files {
		n, _ := f.ReadAt(record, 0)
		zone, store, busy := strings.Cut(strings.TrimSpace(string(record[:n])), " ")
		if !busy || !runs(pid) {
			continue // idle, or killed in the middle of its work
		}
		s.total++
		s.zones[zone]++
		s.stores[store]++
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.samples = append(o.samples, s)
}

// runs tells whether a process exists and has not ended: what waits only to be
// reaped by its parent occupies nothing.
func runs(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

func (o *occupancy) findWorkers() {
	entries, _ := os.ReadDir(o.dir)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || o.files[pid] != nil {
			continue
		}
		if f, err := os.Open(filepath.Join(o.dir, e.Name())); err == nil {
			o.files[pid] = f
		}
	}
}

// between returns the samples from one moment to another.
func (o *occupancy) between(from, to time.Time) []sample {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found []sample
	for _, s := range o.samples {
		if !s.at.Before(from) && s.at.Before(to) {
			found = append(found, s)
		}
	}
	return found
}

// worst is the largest number of workers that one zone occupied.
func worst(samples []sample, zone string) int {
	most := 0
	for _, s := range samples {
		most = max(most, s.zones[zone])
	}
	return most
}

// worstOf is the largest number of workers that some stores occupied together.
func worstOf(samples []sample, stores []string) int {
	most := 0
	for _, s := range samples {
		sum := 0
		for _, store := range stores {
			sum += s.stores[store]
		}
		most = max(most, sum)
	}
	return most
}

// worstTotal is the largest number of occupied workers.
func worstTotal(samples []sample) int {
	most := 0
	for _, s := range samples {
		most = max(most, s.total)
	}
	return most
}

// full returns how long after from all workers were occupied, and false if
// that never happened.
func full(samples []sample, from time.Time) (time.Duration, bool) {
	for _, s := range samples {
		if s.total >= workers {
			return s.at.Sub(from), true
		}
	}
	return 0, false
}

package virtual_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/replay/virtual"
)

// job is a request that takes its time.
type job struct {
	store    string
	takes    time.Duration
	patience time.Duration
	results  *[]string
}

func (j *job) Request() breaker.Request { return breaker.Request{Zone: "z1", Store: j.store} }
func (j *job) Patience() time.Duration  { return j.patience }
func (j *job) Start() (time.Duration, breaker.Outcome) {
	return j.takes, breaker.OK
}

func (j *job) Done(r virtual.Result) {
	how := r.Outcome.String()
	if r.Refusal != nil {
		how = string(r.Refusal.Reason)
	}
	*j.results = append(*j.results, fmt.Sprintf("%s %s %s/%s", j.store, how, r.Waited, r.Took))
}

func world(t *testing.T, zone config.Zone) *virtual.World {
	t.Helper()
	zone.Name, zone.Timeout = "*", config.Duration(2*time.Second)
	policy, err := (&config.App{Workers: 4, Zones: []config.Zone{zone}}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	return virtual.New(policy, []string{"z1"}, time.Unix(0, 0), 1, nil)
}

// TestWorldLives: each way a request can go ends with what its client got, and
// with a worker that is free again.
func TestWorldLives(t *testing.T) {
	hour := config.Duration(time.Hour)
	short := config.Duration(100 * time.Millisecond)
	for _, c := range []struct {
		name string
		zone config.Zone
		jobs []job
		want []string
	}{
		{"answered", config.Zone{}, []job{{store: "a", takes: time.Second}}, []string{"a ok 0s/1s"}},
		{"hangs", config.Zone{}, []job{{store: "a", takes: 9 * time.Second}}, []string{"a hung 0s/2s"}},
		{"cancelled", config.Zone{OnTimeout: config.OnTimeoutCancel}, []job{{store: "a", takes: time.Hour}}, []string{"a hung 0s/2s"}},
		{"leaves", config.Zone{}, []job{{store: "a", takes: 9 * time.Second, patience: time.Second}}, []string{"a gone 0s/1s"}},
		{
			"waits and is served",
			config.Zone{MaxInflight: config.Count(1), MaxWait: &hour},
			[]job{{store: "a", takes: time.Second}, {store: "b", takes: time.Second}},
			[]string{"a ok 0s/1s", "b ok 1s/2s"},
		},
		{
			"waits and gives up",
			config.Zone{MaxInflight: config.Count(1), MaxWait: &short},
			[]job{{store: "a", takes: time.Second}, {store: "b", takes: time.Second}},
			[]string{"b busy 100ms/100ms", "a ok 0s/1s"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := world(t, c.zone)
			var results []string
			for _, j := range c.jobs {
				j.results = &results
				w.At(time.Second, func() { w.Send(&j) })
			}
			w.Run(time.Minute)
			if !slices.Equal(results, c.want) {
				t.Errorf("got %v, want %v", results, c.want)
			}
			if busy, s := w.Busy("z1"), w.Guard().Status(); busy != 0 || s.Occupied != 0 || s.Waiting != 0 {
				t.Errorf("%d workers are busy, the guard has %d slots and %d that wait", busy, s.Occupied, s.Waiting)
			}
			if w.Now() != time.Minute {
				t.Errorf("it is %s", w.Now())
			}
		})
	}
}

// TestAbandonedWorkersAreBusy: to close the connection of a hung request frees no
// worker, so the guard keeps it on its books, and admits nothing in its place.
func TestAbandonedWorkersAreBusy(t *testing.T) {
	w := world(t, config.Zone{AbandonAfter: config.Duration(3 * time.Second)})
	var results []string
	for i := range 600 {
		w.At(time.Duration(i)*time.Second, func() {
			w.Send(&job{store: fmt.Sprint("s", i), takes: time.Hour, results: &results})
		})
	}
	w.Run(11 * time.Minute)
	if n := w.Busy("z1"); n != 3 || w.Worst("") != 3 {
		t.Errorf("%d workers are busy, %d were at worst; want 3 of 4", n, w.Worst(""))
	}
	z, _ := w.Guard().Zone("z1")
	if s := w.Guard().Status(); s.Occupied != 3 || z.Abandoned != 3 {
		t.Errorf("the guard has %d slots, and %d were abandoned; want the 3 workers that are busy", s.Occupied, z.Abandoned)
	}
	hung, refused := 0, 0
	for _, r := range results {
		switch {
		case strings.Contains(r, " hung "):
			hung++
		case strings.Contains(r, " busy "), strings.Contains(r, " zone_open "):
			refused++
		}
	}
	if len(results) != 600 || hung != 3 || refused != 597 {
		t.Errorf("%d of %d hung, %d were refused; want 3, and all others refused", hung, len(results), refused)
	}
}

// TestPlain: first come, first served, to clients that are gone, too, as long as
// there is room to wait.
func TestPlain(t *testing.T) {
	p := virtual.NewPlain(1, 2)
	var results []string
	for i, j := range []job{
		{store: "a", takes: 3 * time.Second},
		{store: "b", takes: time.Second, patience: 2 * time.Second},
		{store: "c", takes: time.Second},
		{store: "d", takes: time.Second},
	} {
		j.results = &results
		p.At(time.Duration(i), func() { p.Send(&j) })
	}
	p.Run(time.Minute)
	want := []string{"b gone 2s/2s", "a ok 0s/3s", "d no_upstream 3s/3s", "c ok 3.999999998s/4.999999998s"}
	if !slices.Equal(results, want) || p.Worst("z1") != 1 {
		t.Errorf("got %v with %d workers, want %v with one", results, p.Worst("z1"), want)
	}
}

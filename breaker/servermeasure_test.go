package breaker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// measured is a reading of a server without requests of an earlier process.
func measured(workers int, exact bool, next int) breaker.Measured {
	return breaker.Measured{Source: "kernel", Workers: workers, Exact: exact, Next: next, At: time.Now()}
}

// kinds are the events about a server that are told since.
func (p *pool) kinds() (list []string) {
	for len(p.guard.Events()) > 0 {
		if e := <-p.guard.Events(); e.Server != "" {
			list = append(list, e.Kind+" "+e.Server+" "+e.Write)
		}
	}
	return list
}

// mustAdmit admits a request that is under way until its slot is ended.
func (p *pool) mustAdmit(zone, store string) *breaker.Slot {
	p.t.Helper()
	slot, refusal := p.guard.Admit(p.t.Context(), breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		p.t.Fatal(refusal)
	}
	return slot
}

// TestMeasured: a wrong setting is an event once, and so is that it is right.
func TestMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		tell := func(m breaker.Measured, want ...string) {
			t.Helper()
			p.guard.Measure("api2", m)
			if got := p.kinds(); len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
				t.Errorf("events %q, want %q", got, want)
			}
		}
		m := measured(4, true, 0)
		tell(m)
		m.Wrong, m.Write = "workers is 8, but the server has 4", "workers 4 per_server"
		tell(m, "server_workers_wrong api2 workers 4 per_server")
		tell(m)
		if got := p.server("api2"); got.Measured == nil || got.Measured.Write != m.Write || got.Workers != 8 {
			t.Errorf("the server is %+v", got)
		}
		m.Problem = "no answer"
		tell(m)
		m.Wrong, m.Write, m.Problem = "", "", ""
		tell(m, "server_workers_right api2 ")
		m.Wrong = "wrong again"
		tell(m, "server_workers_wrong api2 ")
		tell(breaker.Measured{}) // it is no longer asked
		p.guard.Measure("nobody", m)
		if got := p.server("api2"); got.Measured != nil {
			t.Errorf("the server is %+v", got)
		}
	})
}

// TestWorkersFound: with workers auto a server has as many workers as were found,
// and gets one request more while nothing hangs.
func TestWorkersFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, config.App{WorkersAuto: true, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}})
		defer p.close()
		p.guard.SetServers("handler", []string{"api1", "api2"})
		want := func(when string, workers, room int) {
			t.Helper()
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			if got := p.guard.Status().Workers; got != workers {
				t.Errorf("%s: %d workers, want %d", when, got, workers)
			}
			if got := breaker.Capacity(p.guard); got != room {
				t.Errorf("%s: room for %d, want %d", when, got, room)
			}
		}
		want("nothing is known", 16, 16)
		p.guard.Measure("api1", measured(3, false, 4))
		want("at least 3 are known", 16, 16)
		p.guard.Measure("api1", measured(9, false, 10))
		want("at least 9 are known", 17, 18)
		p.guard.Measure("api1", measured(4, true, 4))
		want("there are 4", 12, 12)
		p.guard.Measure("api1", measured(4, true, 5))
		want("there were 4 a while ago", 12, 13)
		p.guard.Measure("api1", measured(0, false, 1))
		want("the server was restarted", 12, 12)
		snapshot := p.guard.Snapshot()
		p.guard.SetServers("handler", nil)
		p.guard.SetServers("handler", []string{"api1", "api2"})
		want("they are new servers", 16, 16)
		p.guard.Restore(snapshot)
		want("it is known from an earlier process", 12, 12)

		p.guard.Measure("api1", measured(4, true, 5))
		slot := p.mustAdmit("z1", "s1")
		slot.Sent("api1")
		want("one is under way", 12, 13)
		time.Sleep(3 * time.Second)
		want("one hangs", 12, 12)
		slot.Track()
		slot.End(breaker.OK)
	})
}

// TestServersAreFilled: if many requests are under way, the server whose workers are
// to be found out gets as many as it takes, and the others the rest.
func TestServersAreFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		servers := []string{"api1", "api2", "api3", "api4"}
		send := func(n int) (slots []*breaker.Slot) {
			for range n {
				slot := p.mustAdmit("z1", "s1")
				slot.Track()
				slot.PickServer(breaker.NewCandidates(servers), func(int) bool { return true })
				slots = append(slots, slot)
			}
			return slots
		}
		for _, s := range servers {
			p.guard.Measure(s, measured(5, false, 6))
		}
		time.Sleep(50 * time.Millisecond)
		few := send(4)
		time.Sleep(50 * time.Millisecond)
		for _, s := range servers {
			if got := p.server(s).Occupied; got != 1 {
				t.Errorf("with few requests %s gets %d, want 1", s, got)
			}
		}
		many := send(4)
		time.Sleep(50 * time.Millisecond)
		many = append(many, send(4)...)
		if got := p.server("api1").Occupied; got != 6 {
			t.Errorf("the server to be filled gets %d, want 6", got)
		}
		p.guard.Measure("api1", measured(5, true, 0))
		time.Sleep(50 * time.Millisecond)
		many = append(many, send(4)...)
		if one, two := p.server("api1").Occupied, p.server("api2").Occupied; one != 6 || two < 5 {
			t.Errorf("api1 is known, and gets %d; api2 gets %d", one, two)
		}
		for _, slot := range append(few, many...) {
			slot.Answer(breaker.OK)
			slot.End(breaker.OK)
		}
	})
}

// TestLeftBehind: workers that hung when firebreak was restarted are busy for as long
// as readings say so, and no longer.
func TestLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		p.load(3*time.Second, 300, allZones)
		p.freeze("z7")
		p.load(4*time.Second, 300, allZones)
		snapshot := p.guard.Snapshot()
		guard := breaker.New(p.guard.Policy(), breaker.Options{})
		defer guard.Close()
		guard.SetServers("handler", []string{"api1", "api2", "api3", "api4"})
		guard.Restore(snapshot)
		on1, api := 0, ""
		for _, s := range guard.Servers() {
			if s.Occupied > on1 {
				on1, api = s.Occupied, s.Address
			}
		}
		z, _ := guard.Zone("z7")
		if on1 == 0 || z.Remembered == 0 {
			t.Fatalf("%d workers are remembered, %d of them on %q", z.Remembered, on1, api)
		}
		left := func(left int) int {
			for range 3 {
				time.Sleep(time.Second)
				m := measured(8, true, 0)
				m.LeftBehind = left
				guard.Measure(api, m)
			}
			for _, s := range guard.Servers() {
				if s.Address == api {
					return s.Occupied
				}
			}
			return -1
		}
		for range 30 { // longer than hung_hold
			if got := left(on1); got != on1 {
				t.Fatalf("%d are busy, and %d on the books", on1, got)
			}
		}
		if z, _ := guard.Zone("z7"); z.Remembered != on1 {
			t.Errorf("%d are remembered; those of servers that nobody reads are known for hung_hold: want %d", z.Remembered, on1)
		}
		if got := left(on1 - 1); got != on1-1 {
			t.Errorf("one is free, and %d of %d are on the books", got, on1)
		}
		if got := left(0); got != 0 {
			t.Errorf("all are free, and %d are on the books", got)
		}
	})
}

package incidents_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/incidents"
)

// serverRig is a real guard in front of four API servers, of which some stand still,
// and a log that is told of it. It lives in a synctest bubble.
type serverRig struct {
	*rig
	addresses  []string
	candidates *breaker.Candidates
	lost       uint64 // requests that had no answer, by its own count; guarded by mu
}

func newServerRig(t *testing.T, dir string) *serverRig {
	t.Helper()
	r := &serverRig{rig: newRig(t, dir)}
	policy, err := (&config.App{WorkersPerServer: 8, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(timeout)}}}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	r.guard.Apply(policy, []string{"z1", "z2", "z3", "z4"})
	for n := range 4 {
		r.addresses = append(r.addresses, fmt.Sprintf("10.0.0.%d:9000", n+1))
	}
	r.candidates = breaker.NewCandidates(r.addresses)
	r.guard.SetServers("test", r.addresses)
	r.log.Attach(incidents.Source{Zone: r.guard.Zone, Servers: r.guard.Servers, Switches: r.inForce})
	return r
}

// load sends requests for d, two hundred a second.
func (r *serverRig) load(d time.Duration) {
	for n := range int(d.Seconds() * 200) {
		r.work.Go(func() { r.send(fmt.Sprintf("z%d", n%4+1), fmt.Sprintf("s%d", n%37)) })
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *serverRig) send(zone, store string) {
	slot, refusal := r.guard.Admit(context.Background(), breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		r.t.Errorf("refused: %s", refusal.Detail)
		return
	}
	slot.Track()
	server := r.addresses[slot.PickServer(r.candidates, func(int) bool { return true })]
	r.mu.Lock()
	frozen := r.healed[server]
	r.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-time.After(timeout):
			slot.Hang()
			r.mu.Lock()
			r.lost++
			r.mu.Unlock()
			<-frozen
		}
	}
	time.Sleep(20 * time.Millisecond)
	slot.Answer(breaker.OK)
	slot.End(breaker.OK)
}

// TestFrozenServer: the record of a server that stands still for five minutes has how
// many requests were lost by the clients' own count, and when it was.
func TestFrozenServer(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newServerRig(t, dir)
		defer r.close()
		r.load(10 * time.Second)
		const server = "10.0.0.3:9000"
		froze := time.Now()
		r.freeze(server)
		r.load(30 * time.Second)
		ongoing := list(t, r.log)
		if len(ongoing) != 1 || !ongoing[0].Ongoing || ongoing[0].Server != server || ongoing[0].Zone != "" {
			t.Fatalf("while it stands still: %+v", ongoing)
		}
		r.load(270 * time.Second)
		r.heal(server)
		healed := time.Now()
		r.load(30 * time.Second)
		all := list(t, r.log)
		if len(all) != 1 || all[0].Ongoing {
			t.Fatalf("%d incidents, want one that is over: %+v", len(all), all)
		}
		i, err := r.log.Get(all[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if i.Lost != r.lost || i.Lost == 0 || i.Lost > 4 {
			t.Errorf("%d requests lost, the clients have lost %d", i.Lost, r.lost)
		}
		if d := i.Began.Sub(froze); !near(d, 0, 100*time.Millisecond) {
			t.Errorf("it began %s after the server stood still", d)
		}
		if d := i.Ended.Sub(healed); !near(d, 0, 500*time.Millisecond) || !i.Recovered.Equal(i.Ended) {
			t.Errorf("it ended %s after the server was back, recovered %s", d, i.Recovered)
		}
		wantWhats(t, i, "first_wrong", "server_out", "server_back")
		if page := i.Markdown(); !strings.Contains(page, fmt.Sprintf("%d requests were lost", i.Lost)) || !strings.Contains(page, "# Server "+server) {
			t.Errorf("the page: %s", page)
		}
		for query, want := range map[incidents.Query]int{{Server: server}: 1, {Server: "10.0.0.1:9000"}: 0, {Zone: "z1"}: 0} {
			if found, _, err := r.log.List(query); err != nil || len(found) != want {
				t.Errorf("%+v: %d incidents, %v, want %d", query, len(found), err, want)
			}
		}
	})
}

// TestServerComesAndGoes: a server that is restarted without a loss is no incident,
// one that leaves while it is out ends its own, and a restart of firebreak breaks the
// record off.
func TestServerComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newServerRig(t, dir)
		defer r.close()
		tell := func(kind, server string, lost uint64) {
			r.log.Tell(&breaker.Event{Kind: kind, Server: server, At: time.Now(), Lost: lost, Evidence: "no connection can be made"})
		}
		tell(breaker.EventServerOut, "10.0.0.1:9000", 0)
		time.Sleep(3 * time.Second)
		tell(breaker.EventServerBack, "10.0.0.1:9000", 0)
		time.Sleep(15 * time.Second)
		if all := list(t, r.log); len(all) != 0 {
			t.Errorf("a restart of 3 s without a loss: %+v", all)
		}
		tell(breaker.EventServerOut, "10.0.0.9:9000", 0) // the guard does not know it
		time.Sleep(40 * time.Second)
		if all := list(t, r.log); len(all) != 0 {
			t.Errorf("a server that has left: %+v", all)
		}
		tell(breaker.EventServerOut, "10.0.0.2:9000", 0)
		time.Sleep(time.Second)
		tell(breaker.EventServerBack, "10.0.0.2:9000", 2)
		r.log.Close()
		r.log.Wait()
		r.open()
		time.Sleep(time.Second)
		all := list(t, r.log)
		if len(all) != 1 || all[0].Ongoing || all[0].Interrupted == "" || all[0].Lost != 2 {
			t.Errorf("after a restart: %+v", all)
		}
	})
}

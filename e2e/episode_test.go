//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/internal/loopback"
	"github.com/firebreak-proxy/firebreak/maintenance"
	firebreakredis "github.com/firebreak-proxy/firebreak/redis"
)

// freezable is an API server that answers at once, but for the stores of a zone that
// is frozen.
type freezable struct {
	addr string

	mu     sync.Mutex // guards below
	frozen string     // what the names of its stores begin with; "": none
	healed chan struct{}
}

func startFreezable(t *testing.T) *freezable {
	t.Helper()
	return startFreezableOn(t, freeAddr(t))
}

func startFreezableOn(t *testing.T, addr string) *freezable {
	t.Helper()
	f := &freezable{addr: addr, healed: make(chan struct{})}
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { f.heal(); _ = server.Close() })
	return f
}

// ServeHTTP blocks as a worker does: also if its client has left.
func (f *freezable) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	frozen, healed := f.frozen, f.healed
	f.mu.Unlock()
	if frozen != "" && strings.HasPrefix(r.URL.Query().Get("key"), frozen) {
		<-healed
	}
}

func (f *freezable) freeze(stores string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen, f.healed = stores, make(chan struct{})
}

func (f *freezable) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen != "" {
		f.frozen = ""
		close(f.healed)
	}
}

// hooks receives webhooks.
type hooks struct {
	addr string

	mu  sync.Mutex // guards below
	got []hook
}

// hook is what was posted, and by which sidecar.
type hook struct {
	From     string
	Event    string
	Incident string
	Zone     string
	Server   string
	Sidecars int
	Lost     uint64
	Refused  uint64
	Hung     uint64
	Table    string
	At       time.Time
}

func startHooks(t *testing.T) *hooks {
	t.Helper()
	h := &hooks{addr: freeAddr(t)}
	listener, err := net.Listen("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return h
}

func (h *hooks) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	posted := hook{From: r.URL.Query().Get("from")}
	_ = json.Unmarshal(body, &posted)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, posted)
}

func (h *hooks) of(event string) []hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.got), func(p hook) bool { return p.Event != "firebreak.episode_"+event })
}

// one waits for an event and for a while longer, and returns it if it came once. n is
// how many have come before it.
func (h *hooks) one(t *testing.T, event string, limit time.Duration, n int) hook {
	t.Helper()
	first := h.first(t, event, limit, n)
	time.Sleep(6 * time.Second) // the others beat meanwhile
	h.no(t, event, n+1)
	return first
}

// first waits for an event. n is how many have come before it.
func (h *hooks) first(t *testing.T, event string, limit time.Duration, n int) hook {
	t.Helper()
	eventually(t, limit, event+" is told of", func() bool { return len(h.of(event)) > n })
	return h.of(event)[n]
}

// no wants n of an event, and no more.
func (h *hooks) no(t *testing.T, event string, n int) {
	t.Helper()
	if all := h.of(event); len(all) != n {
		t.Errorf("%s was told of %d times, want %d: %+v", event, len(all), n, all)
	}
}

// trickle sends a sidecar requests to all zones until the test ends.
func (p *proxy) trickle(t *testing.T, every time.Duration) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	tick, stop, asking := time.NewTicker(every), make(chan struct{}), sync.WaitGroup{}
	asking.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			zone := 3
			if n%3 == 0 {
				zone = n / 3 % zones
			}
			asking.Go(func() {
				resp, err := client.Get("http://" + p.addr + "/search?key=" + url.QueryEscape(storeName(zone, 1+n%40)))
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
	})
	t.Cleanup(func() { tick.Stop(); close(stop); asking.Wait(); client.CloseIdleConnections() })
}

// bound is the option that has a sidecar post its episodes.
func (h *hooks) bound() string {
	on := "\tevents {\n"
	for _, kind := range []string{"began", "worsened", "merged", "ended"} {
		on += fmt.Sprintf("\t\ton firebreak.episode_%s firebreak_webhook http://%s/?from={env.SIDECAR}\n", kind, h.addr)
	}
	return on + "\t}\n"
}

// hookedFleet starts sidecars that share one Redis and one receiver of webhooks, under
// traffic; those of even numbers the first server.
func hookedFleet(t *testing.T, sidecars int, redis *redisServer, receiver *hooks, servers ...*freezable) []*proxy {
	t.Helper()
	ports, err := loopback.Ports(2 * sidecars)
	if err != nil {
		t.Fatal(err)
	}
	fleet := make([]*proxy, sidecars)
	for i := range fleet {
		s := site{
			pool: workers, app: "state redis " + redis.addr, servers: receiver.bound(),
			handlers: guard + "\n\treverse_proxy " + servers[i%len(servers)].addr + " {\n\t\ttransport firebreak\n\t}",
		}
		fleet[i] = newProxy(t, s, fmt.Sprintf("127.0.0.1:%d", ports[2*i]), fmt.Sprintf("127.0.0.1:%d", ports[2*i+1]),
			"GOMAXPROCS=1", "GOMEMLIMIT=64MiB", fmt.Sprintf("SIDECAR=%d", i))
		fleet[i].start(t)
		if i >= 4 {
			fleet[i-4].listening(t)
		}
	}
	for _, p := range fleet {
		p.listening(t)
		p.trickle(t, 120*time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	return fleet
}

// TestOneEpisode: one zone freezes for fifty sidecars that share one Redis. People
// are told of its beginning once and of its end once, with one id and the figures of
// all; also if the sidecar that told of the beginning is killed before the end.
func TestOneEpisode(t *testing.T) {
	const sidecars = 50
	redis, server, receiver := startRedis(t), startFreezable(t), startHooks(t)
	fleet := hookedFleet(t, sidecars, redis, receiver, server)

	froze := time.Now()
	server.freeze("s04")
	opened(t, fleet)
	figure(t, "%d sidecars had cut the zone off after %.1f s", sidecars, time.Since(froze).Seconds())
	began := receiver.first(t, "began", 10*time.Second, 0)
	figure(t, "told of by sidecar %s %.1f s after the freeze", began.From, began.At.Sub(froze).Seconds())
	same(t, fleet, began.Incident)
	server.heal()
	healed := time.Now()
	ended := receiver.first(t, "ended", 60*time.Second, 0)
	receiver.no(t, "began", 1) // more than ten seconds later
	figure(t, "its end was told of %.1f s after the heal, by sidecar %s, of %d sidecars: %d refused, %d hung", ended.At.Sub(healed).Seconds(), ended.From, ended.Sidecars, ended.Refused, ended.Hung)
	if ended.Incident != began.Incident || ended.Sidecars != sidecars || ended.Refused == 0 {
		t.Errorf("ended: %+v\nbegan: %+v", ended, began)
	}
	sums(t, fleet, ended)
	receiver.no(t, "ended", 1) // all have had the figures of all since

	// Again, and the one that tells of the beginning is killed.
	server.freeze("s04")
	opened(t, fleet)
	again := receiver.one(t, "began", 10*time.Second, 1)
	if again.Incident == began.Incident {
		t.Errorf("two episodes have the id %s", again.Incident)
	}
	var teller int
	if _, err := fmt.Sscan(again.From, &teller); err != nil {
		t.Fatal(err)
	}
	killGroup(fleet[teller].cmd)
	server.heal()
	last := receiver.one(t, "ended", 60*time.Second, 1)
	figure(t, "sidecar %d told of the beginning and was killed; sidecar %s told of the end", teller, last.From)
	if last.Incident != again.Incident || last.From == again.From {
		t.Errorf("ended: %+v\nbegan: %+v", last, again)
	}
	if n := len(receiver.of("worsened")) + len(receiver.of("merged")); n > 0 {
		t.Errorf("%d other events", n)
	}
}

// opened waits until all have cut the zone off.
func opened(t *testing.T, fleet []*proxy) {
	t.Helper()
	eventually(t, 40*time.Second, "all sidecars have cut the zone off", func() bool {
		return !slices.ContainsFunc(fleet, func(p *proxy) bool {
			state := p.zone(t, "z04").State
			return state != "open" && state != "half_open"
		})
	})
}

// same checks that all sidecars give the episode one id, and find their incident by it.
func same(t *testing.T, fleet []*proxy, id string) {
	t.Helper()
	eventually(t, 10*time.Second, "all sidecars call it "+id, func() bool {
		for _, p := range fleet {
			list := p.incidentsOf(t, "z04")
			if len(list) == 0 || list[0].Episode == nil || list[0].Episode.ID != id {
				return false
			}
		}
		return true
	})
	for _, p := range fleet {
		var i incidents.Incident
		if p.get(t, "/firebreak/incidents/"+id, &i); i.Zone != "z04" {
			t.Errorf("by the episode's id: %+v", i)
		}
	}
}

// sums checks that what was told of all sidecars is the sum of what each says.
func sums(t *testing.T, fleet []*proxy, ended hook) {
	t.Helper()
	var refused, hung uint64
	for _, p := range fleet {
		i := p.incidentsOf(t, "z04")[0]
		part := i.Part("")
		refused, hung = refused+part.Refused, hung+part.Hung
	}
	if refused != ended.Refused || hung != ended.Hung {
		t.Errorf("all told: %d refused, %d hung; the sidecars say %d and %d", ended.Refused, ended.Hung, refused, hung)
	}
	if lines := strings.Count(ended.Table, "\n"); lines != len(fleet) {
		t.Errorf("the table has %d lines:\n%s", lines, ended.Table)
	}
	eventually(t, 15*time.Second, "each sidecar has the figures of all", func() bool {
		return !slices.ContainsFunc(fleet, func(p *proxy) bool {
			e := p.incidentsOf(t, "z04")[0].Episode
			return e.Sum == nil || e.Sum.Refused != refused || e.Sum.Hung != hung || !e.Ended
		})
	})
	page := string(fleet[0].page(t, "/firebreak/incidents/"+ended.Incident+"?format=markdown"))
	if _, rest, ok := strings.Cut(page, "## All sidecars"); !ok || strings.Count(rest, "\n| ") != len(fleet)+2 {
		t.Errorf("the draft of the postmortem:\n%s", page)
	}
}

// TestEpisodeWithoutRedis: while Redis hangs, each sidecar tells of the episode by
// itself, at once; when it is back, they agree, and people are told of one end.
func TestEpisodeWithoutRedis(t *testing.T) {
	const sidecars = 4
	redis, server, later, receiver := startRedis(t), startFreezable(t), startFreezable(t), startHooks(t)
	fleet := hookedFleet(t, sidecars, redis, receiver, server, later)
	redis.signal(t, syscall.SIGSTOP)
	server.freeze("s04")
	time.Sleep(2 * time.Second) // so that ids differ
	later.freeze("s04")
	opened(t, fleet)
	froze := time.Now()
	eventually(t, 10*time.Second, "all tell of it", func() bool { return len(receiver.of("began")) == sidecars })
	figure(t, "without Redis, all %d sidecars had told of the episode %.1f s after the last had cut the zone off", sidecars, time.Since(froze).Seconds())
	redis.signal(t, syscall.SIGCONT)
	var id string
	eventually(t, 15*time.Second, "all agree", func() bool {
		id = ""
		for _, p := range fleet {
			e := p.incidentsOf(t, "z04")[0].Episode
			if id == "" {
				id = e.ID
			}
			if e.ID != id || e.Told == 0 {
				return false
			}
		}
		return true
	})
	time.Sleep(6 * time.Second)
	server.heal()
	later.heal()
	ended := receiver.one(t, "ended", 60*time.Second, 0)
	told := make(map[string]bool)
	for _, b := range receiver.of("began") {
		told[b.Incident] = true
	}
	delete(told, ended.Incident)
	merged := receiver.of("merged")
	figure(t, "%d other ids had been told of; %d ends of these", len(told), len(merged))
	for _, m := range merged {
		delete(told, m.Incident)
	}
	if len(merged) == 0 || len(told) > 0 || ended.Incident != id || len(receiver.of("began")) != sidecars {
		t.Errorf("never ended: %v; %+v", told, receiver.got)
	}
}

// TestFleetPage: what the dashboard and the command line show of a fleet of which one
// sidecar sees a frozen zone otherwise. Nothing in a name becomes a part of the page.
func TestFleetPage(t *testing.T) {
	const hostile = `<b onclick=window.pwned=7>z"4</b>`
	redis, ill, well := startRedis(t), startFreezable(t), startFreezable(t)
	fleet := make([]*proxy, 4)
	for i := range fleet {
		server := ill
		if i == 3 {
			server = well
		}
		s := site{
			pool: workers, browsers: true, app: "state redis " + redis.addr,
			handlers: guard + "\n\treverse_proxy " + server.addr + " {\n\t\ttransport firebreak\n\t}",
		}
		fleet[i] = startProxy(t, s)
		fleet[i].trickle(t, 100*time.Millisecond)
	}
	b := openDashboard(t, fleet[3])
	b.visit(t, "#/fleet", "Fleet")
	b.wait(t, "a calm fleet", `document.getElementById('main').textContent.includes('All zones are calm on all sidecars')`)
	b.accessible(t, "a calm fleet")
	ill.freeze("s04")
	b.wait(t, "the zone", `document.querySelector('main .tile')?.textContent.includes('open on 3 of 4, calm on 1')`)
	b.wait(t, "who sees it otherwise", fmt.Sprintf(`document.querySelector('main .differ').textContent.includes(':%d calm')`, fleet[3].cmd.Process.Pid))
	b.wait(t, "the workers of all", `document.getElementById('main').textContent.includes('of 128 workers occupied on 4 sidecars')`)
	publish(t, redis, maintenance.Instance{
		ID: hostile, Host: hostile, Stale: true, ZoneCount: 1,
		Zones:      []maintenance.InstanceZone{{Zone: hostile, State: hostile, Since: time.Now(), Evidence: hostile + strings.Repeat("very_long", 30), Stores: []string{hostile}}},
		ServersOut: []maintenance.InstanceServer{{Server: hostile, State: hostile, Since: time.Now(), Evidence: hostile}},
	})
	b.wait(t, "another sidecar", fmt.Sprintf(`[...document.querySelectorAll('main .tile h3')].some((h) => h.textContent === %s)`, quoted(hostile)))
	b.wait(t, "its store and its server", fmt.Sprintf(`[...document.querySelectorAll('main .tile')].some((z) => z.textContent.includes(%s + ' (on 1)')) && [...document.querySelectorAll('main tr')].some((r) => r.textContent.startsWith(%[1]s) && r.textContent.includes('on 1 of 1'))`, quoted(hostile)))
	for _, scheme := range []string{"light", "dark"} {
		b.look(t, scheme, 1440, 1000)
		b.accessible(t, "the fleet, "+scheme)
		b.shoot(t, "fleet-"+scheme)
		b.look(t, scheme, 360, 740)
		b.inert(t, "the fleet, "+scheme)
		b.look(t, scheme, 390, 844)
		b.accessible(t, "the fleet on a phone, "+scheme)
		b.shoot(t, "fleet-phone-"+scheme)
	}
	out := fleet[0].mustCommand(t, "status", "--fleet")
	t.Logf("on the command line:\n%s", out)
	wantText(t, "status --fleet", out, "open on 3 of 5, calm on 2", "DIFFERS", "STORE", "in quarantine on 1 of 5", "SERVER", fmt.Sprintf(":%d ", fleet[3].cmd.Process.Pid), "workers of all: ")
	redis.signal(t, syscall.SIGSTOP)
	b.wait(t, "what it says without Redis", `document.getElementById('main').textContent.includes('cannot be read') && document.querySelector('.behind').textContent.includes('Stale or behind')`)
	redis.signal(t, syscall.SIGCONT)
}

// publish puts the record of a sidecar into Redis, as one of a later or a broken version may.
func publish(t *testing.T, redis *redisServer, i maintenance.Instance) {
	t.Helper()
	record, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := firebreakredis.New(firebreakredis.Options{Addresses: []string{redis.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	if _, err := backend.Publish(t.Context(), i.ID, record, time.Minute); err != nil {
		t.Fatal(err)
	}
}

//go:build e2e

package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// phase is a part of a run.
type phase struct {
	name     string
	away     bool // Redis is
	from, to time.Duration
}

// TestRedisTrouble takes Redis away in every way while a zone is in maintenance
// and clients ask at a constant rate: no request notices, the switch stays, the
// status says so, and all heals by itself. A sidecar beside it, which knows no
// Redis, serves the same requests at the same time, and tells what is noise.
func TestRedisTrouble(t *testing.T) {
	t.Parallel()
	pool, network := gunicorn(t), newNamespace(t)
	redis := startRedisIn(t, network)
	switched := gunicornSite(pool, "")
	switched.app = "state redis " + redis.addr
	p, peer := startProxy(t, switched), startProxy(t, switched)
	run := startTrouble(t, p, startProxy(t, gunicornSite(pool, "")))
	eventually(t, time.Second, "the peer knows", func() bool { return peer.inMaintenance(t, storeName(11, 0)) })
	run.phase("well", func() { time.Sleep(5 * time.Second) })
	run.phase("paused", func() {
		redis.signal(t, syscall.SIGSTOP)
		run.away(3500*time.Millisecond, "no answer in time")
		run.refusesChanges()
	})
	run.phase("continued", func() { redis.signal(t, syscall.SIGCONT); run.healed(2 * time.Second) })
	run.phase("killed", func() {
		redis.kill()
		run.away(4*time.Second, "connection refused")
	})
	wantText(t, "metrics", string(p.page(t, "/metrics")), "\ncaddy_firebreak_state_stale 1\n")
	wantText(t, "status", p.mustCommand(t, "status"), "the state backend cannot be read", "the last known switches (revision 1) are in force")
	newcomer := startProxy(t, switched) // it knows nothing, and there is no source to ask
	if newcomer.inMaintenance(t, storeName(11, 0)) || !newcomer.status(t).Maintenance.Stale {
		t.Error("a newcomer should know of no switch, and say that it is stale")
	}
	run.phase("restarted empty", func() {
		redis.empty(t)
		redis.start(t)
		run.healed(2 * time.Second)
	})
	wantSwitches(t, redis, p, peer, newcomer)
	run.phase("cut off", func() {
		network.pull(t)
		run.away(4*time.Second, "no answer in time")
	})
	run.phase("joined again", func() { network.plug(t); run.healed(2 * time.Second) })
	run.phase("well again", func() { time.Sleep(4 * time.Second) })
	wantSwitches(t, redis, p, peer, newcomer)
	run.judge()
}

// besides marks the zones of requests to the sidecar beside.
const besides = "beside "

// pairs sends every request to two sidecars in turn.
func pairs(p, beside *proxy) func(n int) load.Target {
	one, other := shoppers{proxy: p.addr, path: "/search"}.pick(), shoppers{proxy: beside.addr, path: "/search"}.pick()
	return func(n int) load.Target {
		if n%2 == 0 {
			return one(n / 2)
		}
		to := other(n / 2)
		to.Zone = besides + to.Zone
		return to
	}
}

// wantSwitches wants the switch to be kept by Redis and applied by all.
func wantSwitches(t *testing.T, redis *redisServer, all ...*proxy) {
	t.Helper()
	if got := redis.switches(t); !slices.Equal(got, []string{"zone/z12"}) {
		t.Errorf("Redis keeps the switches %v", got)
	}
	for _, p := range all {
		eventually(t, 5*time.Second, "the sidecar applies the fleet's switch", func() bool {
			m := p.status(t).Maintenance
			return !m.Stale && m.Revision == 1 && p.inMaintenance(t, storeName(11, 0))
		})
	}
}

// troubleRun is a run under load, in phases.
type troubleRun struct {
	t       *testing.T
	p       *proxy
	traffic *traffic
	phases  []phase
}

// startTrouble puts a zone into maintenance and starts the load.
func startTrouble(t *testing.T, p, beside *proxy) *troubleRun {
	t.Helper()
	warm(t, p, "/search")
	p.mustChange(t, http.MethodPut, "maintenance/zones/z12", `{"reason": "disk full"}`)
	plan := everyday(p, "/search", 2*time.Minute)
	plan.Pick = pairs(p, beside)
	return &troubleRun{t: t, p: p, traffic: drive(t, plan)}
}

func (r *troubleRun) phase(name string, during func()) {
	from := r.traffic.now()
	r.phases = append(r.phases, phase{name: name, from: from})
	during()
	r.phases[len(r.phases)-1].to = r.traffic.now()
}

// away waits until the sidecar says that it cannot read the state, and why, and
// until a time has passed since Redis went away.
func (r *troubleRun) away(whole time.Duration, why string) {
	r.t.Helper()
	began := time.Now()
	r.phases[len(r.phases)-1].away = true
	eventually(r.t, 5*time.Second, "the status says stale", func() bool { return r.p.status(r.t).Maintenance.Stale })
	problem := r.p.status(r.t).Maintenance.Problem
	figure(r.t, "stale %.1f s after Redis went away: %s", time.Since(began).Seconds(), problem)
	wantText(r.t, "the problem", problem, why)
	time.Sleep(time.Until(began.Add(whole)))
}

// refusesChanges wants a change to fail while the state cannot be written.
func (r *troubleRun) refusesChanges() {
	r.t.Helper()
	began := time.Now()
	status, answer, err := r.p.change(http.MethodPut, "maintenance/zones/z11", `{"reason": "disk full too"}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(answer, "nothing was changed") {
		r.t.Errorf("a change while Redis is away: %d, %v: %s", status, err, answer)
	}
	figure(r.t, "a change was refused after %.1f s", time.Since(began).Seconds())
}

// healed waits until the sidecar is in step with Redis, which answers again, and
// a time longer.
func (r *troubleRun) healed(longer time.Duration) {
	r.t.Helper()
	began := time.Now()
	eventually(r.t, 10*time.Second, "the status says that all is well", func() bool { return !r.p.status(r.t).Maintenance.Stale })
	figure(r.t, "in step again %.1f s after Redis came back", time.Since(began).Seconds())
	time.Sleep(longer)
}

// judge compares the sidecar with the one beside it, which has no Redis to miss.
func (r *troubleRun) judge() {
	r.t.Helper()
	r.traffic.stop()
	rs := load.Filter(r.traffic.wait(r.t), func(r load.Result) bool { return r.Err != load.ErrCanceled })
	others, control := unswitched(rs, false), unswitched(rs, true)
	var away, awayControl []load.Result
	for _, ph := range r.phases {
		here, there := due(others, ph.from, ph.to), due(control, ph.from, ph.to)
		figure(r.t, "%-15s %.1f s, %d requests, p99 %s, beside it %s", ph.name, (ph.to - ph.from).Seconds(), len(here),
			ms(load.Percentile(here, 99)), ms(load.Percentile(there, 99)))
		if ph.away {
			away, awayControl = append(away, here...), append(awayControl, there...)
		}
	}
	p99, usual := load.Percentile(away, 99), load.Percentile(awayControl, 99)
	figure(r.t, "with Redis away p99 %s, beside it %s: %.2f of it; p50 %s and %s", ms(p99), ms(usual), float64(p99)/float64(usual),
		ms(load.Percentile(away, 50)), ms(load.Percentile(awayControl, 50)))
	promise(r.t, p99 <= usual*11/10+2*time.Millisecond, p99 <= 2*usual+5*time.Millisecond, "p99 is %s with Redis away, beside it %s", p99, usual)
	wantOK(r.t, "other zones", others, 100)
	switched := inZone(rs, "z12")
	kept := load.Filter(switched, func(r load.Result) bool { return r.Refusal == "maintenance" })
	figure(r.t, "%d of %d requests of other zones ok; %d of %d of the switched zone refused",
		len(load.Filter(others, load.Result.OK)), len(others), len(kept), len(switched))
	if len(kept) < len(switched) {
		r.t.Errorf("the switch did not hold for %d of %d requests", len(switched)-len(kept), len(switched))
	}
}

// unswitched are the requests of zones without a switch, to the sidecar or to
// the one beside it.
func unswitched(rs []load.Result, beside bool) []load.Result {
	return load.Filter(rs, func(r load.Result) bool {
		return strings.HasPrefix(r.Zone, besides) == beside && strings.TrimPrefix(r.Zone, besides) != "z12"
	})
}

// TestRestartWithBackendAway: a sidecar that starts while Redis is away knows
// the switches from before, and applies them to the first request.
func TestRestartWithBackendAway(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, p *proxy){
		"killed":  func(_ *testing.T, p *proxy) { killGroup(p.cmd) },
		"stopped": func(t *testing.T, p *proxy) { figure(t, "stopped in %.1f s", p.stop(t).Seconds()) },
	} {
		t.Run(name, func(t *testing.T) {
			redis := startRedis(t)
			p := startProxy(t, answering("state redis "+redis.addr))
			p.mustChange(t, http.MethodPut, "maintenance/zones/z07", `{"reason": "disk full"}`)
			time.Sleep(500 * time.Millisecond) // so that the sidecar has kept it
			redis.kill()
			end(t, p)
			firstAnswer(t, p, "Redis gone")
			redis.start(t)
			eventually(t, 5*time.Second, "all is well again", func() bool { return !p.status(t).Maintenance.Stale })
			redis.signal(t, syscall.SIGSTOP)
			end(t, p)
			firstAnswer(t, p, "Redis paused")
			redis.signal(t, syscall.SIGCONT)
			eventually(t, 5*time.Second, "all is well again", func() bool { return !p.status(t).Maintenance.Stale })
			if !p.inMaintenance(t, storeName(6, 1)) {
				t.Error("the switch is lost")
			}
		})
	}
}

// firstAnswer starts the proxy and wants the first request that is answered to
// be refused.
func firstAnswer(t *testing.T, p *proxy, what string) {
	t.Helper()
	began := time.Now()
	p.start(t)
	var first asked
	eventually(t, 20*time.Second, "a request is answered", func() (answered bool) {
		var err error
		first, err = p.ask(storeName(6, 1))
		return err == nil
	})
	took := time.Since(began)
	if first.refusal != "maintenance" {
		t.Errorf("%s: the first request got %+v", what, first)
	}
	var stale bool
	eventually(t, 5*time.Second, "the admin API answers", func() bool {
		stale = listens(p.admin) && p.status(t).Maintenance.Stale
		return stale
	})
	figure(t, "%s: the first request was answered %.1f s after the start: %d %s", what, took.Seconds(), first.status, first.refusal)
}

package breaker

import (
	"context"
	"time"
)

// askServer asks a server something off the path of requests, one question at a
// time. The answer is taken in with servers.mu held.
func (g *Guard) askServer(v *server, timeout time.Duration, ask func(context.Context) error, take func(err error, now int64)) {
	if !v.asking.CompareAndSwap(false, true) {
		return
	}
	g.done.Go(func() {
		defer v.asking.Store(false)
		defer g.survive()
		ctx, cancel := context.WithTimeout(g.life, timeout)
		defer cancel()
		err := ask(ctx)
		if g.life.Err() != nil {
			return // it says nothing of the server
		}
		g.servers.mu.Lock()
		defer g.servers.mu.Unlock()
		take(err, g.now())
	})
}

// checkServer asks a server that is out of service whether it is well, and takes
// it back if so. A server that answers errors is not asked: its check is answered
// too, and says nothing of what requests would get.
func (g *Guard) checkServer(v *server, now int64) {
	c := g.policy.Load().ServerCheck
	if c == nil || g.opts.CheckServer == nil || v.sick || now-v.asked < int64(c.Every) || v.asking.Load() {
		return
	}
	v.asked = now
	check := func(ctx context.Context) error { return g.opts.CheckServer(ctx, v.address, c) }
	g.askServer(v, c.Timeout, check, func(err error, at int64) {
		if !v.is(OutOfService) || now <= v.since {
			return
		}
		if v.checked = err; err == nil && at >= v.trustAt {
			v.broughtAt = at
			g.cameBack(v, at, "its server_check passes")
		}
	})
}

// distrustFor is how soon after a check has brought a server back it must not go
// out of service again, for the check to be believed at once.
const distrustFor = time.Minute

// trustCheck decides from when on a check that passes brings the server back: at
// once, or later and later if requests then had no answer all the same, as where
// something else answers the check than requests.
func (g *Guard) trustCheck(v *server, now int64) {
	if v.broughtAt == 0 || now-v.broughtAt > int64(distrustFor) {
		v.distrust, v.trustAt = 0, now
		return
	}
	v.distrust++
	v.trustAt = now + int64(g.openTime(tryServer, time.Hour, v.distrust+1))
}

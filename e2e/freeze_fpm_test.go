//go:build e2e

package e2e_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// fpmSite serves examples/php-fpm with the given last directive.
func fpmSite(t *testing.T, zoneOptions, handler string) site {
	t.Helper()
	return site{pool: workers, zone: zoneOptions, handlers: fmt.Sprintf("\n\troot %s%s\n\t%s", phpRoot(t), guard, handler)}
}

// fpmTransport sends requests to PHP-FPM over firebreak's own transport.
func fpmTransport(t *testing.T, servers ...*pool) string {
	t.Helper()
	return fmt.Sprintf(`reverse_proxy %s {
		transport firebreak fastcgi {
			root %s
			split .php
		}
		lb_policy firebreak
	}`, addressesOf(servers), phpRoot(t))
}

// phpRoot is where search.php lies.
func phpRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "examples", "php-fpm"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestFreezeFPMTransport: PHP-FPM behind firebreak's own transport, which sees
// every worker come back.
func TestFreezeFPMTransport(t *testing.T) {
	inRounds(t, func(t *testing.T, calm time.Duration) findings {
		pool := fpm(t, 0)
		f, replaced := playFPM(t, pool, calm, briefFreeze(), 2*time.Second, "", fpmTransport(t, pool))
		if replaced > 0 {
			t.Errorf("%d children ended, want none", replaced)
		}
		return f
	})
}

// TestFreezePHPFastCGI: Caddy's own php_fastcgi, which does not return at the
// deadline; firebreak counts a hung worker for hung_hold.
func TestFreezePHPFastCGI(t *testing.T) {
	// PHP-FPM kills what runs for 45 to 60 s: no request of the freeze.
	t.Run("stuck", func(t *testing.T) {
		inRounds(t, func(t *testing.T, calm time.Duration) findings {
			pool := fpm(t, 45*time.Second)
			f, replaced := playFPM(t, pool, calm, briefFreeze(), 2*time.Second, "hung_hold 60s", "php_fastcgi "+pool.addr)
			if replaced > 0 {
				t.Errorf("%d children ended, want none", replaced)
			}
			return f
		})
	})
	// PHP-FPM kills what runs for 15 to 20 s. Nothing that hangs comes back by
	// itself then, and a store waits for its next probe: the zone is well after
	// the open time in force (5 s, give or take a fifth) and 2 s.
	t.Run("killed", func(t *testing.T) {
		pool := fpm(t, 15*time.Second) // every request that is stuck from the first moments on
		options := "hung_hold 20s\n\t\t\topen_time_max 5s"
		if _, replaced := playFPM(t, pool, shortCalm, briefFreeze(), 8*time.Second, options, "php_fastcgi "+pool.addr); replaced == 0 {
			t.Error("no child was killed")
		}
	})
}

// briefFreeze is as long as a freeze has to be where others have shown more
// already; 40 s if figures count.
func briefFreeze() time.Duration {
	if strict {
		return aFreeze
	}
	return 25 * time.Second
}

// playFPM freezes a zone behind PHP-FPM and also returns how many children were
// replaced meanwhile. What that costs is part of the promise.
func playFPM(t *testing.T, pool *pool, calm, freeze, whole time.Duration, zoneOptions, handler string) (f findings, replaced int) {
	t.Helper()
	connectAll(t, pool)
	p := startProxy(t, fpmSite(t, zoneOptions, handler))
	warm(t, p, "/search.php")
	old := map[string]bool{}
	for _, pid := range children(pool.cmd.Process.Pid) {
		old[strconv.Itoa(pid)] = true
	}
	o := outage{
		pool: pool, proxy: p, plan: everyday(p, "/search.php", 0),
		calm: calm, freeze: freeze, heal: whole + 8*time.Second,
		whole: whole, opensIn: slowAfter + 300*time.Millisecond,
	}
	f = o.play(t)
	o.check(t, f)
	return f, replacements(t, f.during, old)
}

// replacements counts the workers that are not among the old ones, and says what
// they cost: each opens its connections anew.
func replacements(t *testing.T, rs []load.Result, old map[string]bool) int {
	t.Helper()
	rs = load.Filter(rs, func(r load.Result) bool { return r.Worker != "" })
	byOld := load.Filter(rs, func(r load.Result) bool { return old[r.Worker] })
	byNew := load.Filter(rs, func(r load.Result) bool { return !old[r.Worker] })
	fresh, connections := map[string]bool{}, map[string]bool{}
	for _, r := range byNew {
		fresh[r.Worker], connections[r.Worker+" "+r.Zone] = true, true
	}
	if len(fresh) > 0 {
		figure(t, "%d children were replaced, the new ones opened %d connections; p99 of their %d requests %s, of the %d others %s",
			len(fresh), len(connections), len(byNew), ms(load.Percentile(byNew, 99)), len(byOld), ms(load.Percentile(byOld, 99)))
	}
	return len(fresh)
}

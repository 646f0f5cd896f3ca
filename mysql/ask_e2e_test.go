//go:build e2e

package mysql_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	_ "github.com/firebreak-proxy/firebreak/mysql"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

const (
	shareLock = "SELECT 1 FROM stores WHERE id = ? LOCK IN SHARE MODE"
	slowAfter = time.Second
)

// ask asks the database once, and tries these stores.
func ask(t *testing.T, zone string, c *config.Check, calm bool, stores ...string) (listed breaker.Findings, verdicts map[string]breaker.Verdict, err error) {
	t.Helper()
	var mu sync.Mutex
	verdicts = make(map[string]breaker.Verdict)
	q := &breaker.Inquiry{Calm: calm, SlowAfter: slowAfter, Next: func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(stores) == 0 {
			return "", false
		}
		next := stores[0]
		stores = stores[1:]
		return next, true
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = zonecheck.Ask(ctx, zone, c, q, func(f breaker.Findings) {
		mu.Lock()
		defer mu.Unlock()
		if f.Listed {
			listed = f
		}
		if f.Tried != "" {
			verdicts[f.Tried] = f.Verdict
		}
	})
	return listed, verdicts, err
}

// TestMariaDB: what a real MariaDB says, to a role with the documented privileges.
func TestMariaDB(t *testing.T) {
	s := startServer(t)
	t.Run("check", func(t *testing.T) { testCheck(t, s) })
	t.Run("who blocks whom", func(t *testing.T) { testBlocked(t, s) })
	t.Run("metadata lock", func(t *testing.T) { testMetadataLock(t, s) })
	t.Run("calm", func(t *testing.T) { testCalm(t, s) })
	t.Run("cannot be asked", func(t *testing.T) { testCannotBeAsked(t, s) })
	t.Run("frozen", func(t *testing.T) { testFrozen(t, s) })
	t.Run("culprits", func(t *testing.T) {
		for _, k := range []int{1, 12, 30, 50} {
			t.Run(fmt.Sprint(k), func(t *testing.T) { testCulprits(t, s, k) })
		}
	})
}

func testCheck(t *testing.T, s *server) {
	if err := zonecheck.Check(t.Context(), "z1", s.check("firebreak:secret")); err != nil {
		t.Error(err)
	}
	err := zonecheck.Check(t.Context(), "z1", s.check("firebreak:wrong"))
	if err == nil || !strings.Contains(err.Error(), "Access denied") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong password: %v", err)
	}
}

// testBlocked: queries of stores that wait in a chain, and the session at its end.
func testBlocked(t *testing.T, s *server) {
	unlock := s.lock(t, 3)
	defer unlock()
	app := s.open(t, "app")
	for _, store := range []string{"s0000", "s0000", "s0001"} {
		go func() {
			_, _ = app.ExecContext(t.Context(), "/*store='"+store+"'*/ UPDATE shop.stores SET v = 'y' WHERE id = ?", store)
		}()
	}
	go func() { _, _ = app.ExecContext(t.Context(), "/*store='s0050'*/ SELECT SLEEP(15)") }()
	time.Sleep(slowAfter + time.Second)
	c := s.check("firebreak:secret")
	c.StoreIn, c.StoreProbe = []string{"comment"}, shareLock
	f, verdicts, err := ask(t, "z1", c, false, "s0000", "s0002", "s0050", "s0099")
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(map[string]int)
	for _, q := range f.Hanging {
		if q.Blocked {
			blocked[q.Store]++
		}
		if q.For < slowAfter || q.For > 20*time.Second || q.Blocked != (q.Store != "s0050") {
			t.Errorf("the query %+v", q)
		}
	}
	if len(f.Hanging) != 4 || blocked["s0000"] != 2 || blocked["s0001"] != 1 {
		t.Errorf("hanging: %+v", f.Hanging)
	}
	if len(f.Blockers) != 1 || f.Blockers[0].Blocks != 3 || f.Blockers[0].State != "idle in transaction" || f.Blockers[0].App != "root" || f.Blockers[0].Age < 0.5 {
		t.Errorf("blockers: %+v", f.Blockers)
	}
	for store, want := range map[string]breaker.Verdict{"s0000": breaker.Failed, "s0002": breaker.Failed, "s0050": breaker.Passed, "s0099": breaker.Passed} {
		if verdicts[store] != want {
			t.Errorf("the verdict on %s is %d, want %d", store, verdicts[store], want)
		}
	}
}

// testMetadataLock: a query behind ALTER TABLE is blocked.
func testMetadataLock(t *testing.T, s *server) {
	unlock := s.lock(t, 1)
	defer unlock()
	root, app := s.open(t, "root"), s.open(t, "app")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() { _, _ = root.ExecContext(ctx, "ALTER TABLE shop.stores ADD COLUMN w int") }()
	time.Sleep(200 * time.Millisecond)
	go func() { _, _ = app.ExecContext(ctx, "/*store='s0070'*/ SELECT v FROM shop.stores WHERE id = 's0070'") }()
	c := s.check("firebreak:secret")
	c.StoreIn = []string{"id = '(?P<store>[^']+)'"}
	for {
		f, _, err := ask(t, "z2", c, false)
		if err == nil && len(f.Hanging) == 1 && f.Hanging[0].Store == "s0070" && f.Hanging[0].Blocked {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%v, hanging: %+v", err, f.Hanging)
		}
		time.Sleep(150 * time.Millisecond)
	}
}

// testCalm: one statement, over one held connection.
func testCalm(t *testing.T, s *server) {
	c := s.check("firebreak:secret")
	c.StoreIn = []string{"comment"}
	connections := func() (n int) {
		if err := s.root.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'firebreak'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := connections()
	for range 3 {
		if _, _, err := ask(t, "calm", c, true); err != nil {
			t.Fatal(err)
		}
	}
	if got := connections() - before; got != 1 {
		t.Errorf("%d connections are held, want 1", got)
	}
}

// testCannotBeAsked: an error in bounded time and memory that says why.
func testCannotBeAsked(t *testing.T, s *server) {
	s.run(t, "CREATE USER blind", "GRANT SELECT ON shop.stores TO blind", "CREATE USER small WITH MAX_USER_CONNECTIONS 1", "GRANT PROCESS ON *.* TO small", "GRANT SELECT ON shop.* TO small")
	full, err := s.open(t, "small").Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, test := range []struct{ name, user, probe, want string }{
		{"no role", "nobody_there", "", "Access denied"},
		{"no connection", "small", "", "max_user_connections"},
		{"blind", "blind", "", "PROCESS"},
		{"no privilege", "firebreak:secret", "SELECT 1 FROM mysql.user WHERE user = ?", "denied"},
		{"many rows", "firebreak:secret", "SELECT ?, REPEAT('x', 1000) FROM stores a, stores b, stores c, stores d", "too large"},
		{"a large row", "firebreak:secret", "SELECT ?, REPEAT('x', 15000000)", "too large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := s.check(test.user)
			c.StoreIn, c.StoreProbe = []string{"comment"}, test.probe
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, verdicts, err := ask(t, test.name, c, false, "s0001")
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), test.want) || verdicts["s0001"] != breaker.Unknown {
				t.Errorf("%v, verdict %d; want an error with %q, and no verdict", err, verdicts["s0001"], test.want)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 || took > 10*time.Second {
				t.Errorf("it took %s and %d MB", took, got>>20)
			}
		})
	}
}

// testFrozen: no answer in time, no verdict, and all is well after the thaw.
func testFrozen(t *testing.T, s *server) {
	c := s.check("firebreak:secret")
	c.StoreIn, c.StoreProbe = []string{"comment"}, shareLock
	if _, _, err := ask(t, "frozen", c, true); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	began := time.Now()
	_, verdicts, err := ask(t, "frozen", c, false, "s0001")
	if err == nil || !strings.Contains(err.Error(), "no answer in time") || verdicts["s0001"] != breaker.Unknown || time.Since(began) > 15*time.Second {
		t.Errorf("frozen: %v, verdict %d, after %s", err, verdicts["s0001"], time.Since(began))
	}
	if err := zonecheck.Check(t.Context(), "frozen", c); err == nil {
		t.Error("the check of a frozen database passes")
	}
	s.signal(syscall.SIGCONT)
	_, verdicts, err = ask(t, "frozen", c, false, "s0001")
	if err != nil || verdicts["s0001"] != breaker.Passed {
		t.Errorf("after the thaw: %v, verdict %d", err, verdicts["s0001"])
	}
}

//go:build e2e

package mysql_test

import (
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// TestCancelQuery: six of 100 stores are locked. The queries of their requests are
// cancelled once the clients were answered, and those of no other request; without the
// privilege firebreak says which one is missing.
func TestCancelQuery(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	policy, err := breaker.NewPolicy(workers, deadline)
	if err != nil {
		t.Fatal(err)
	}
	check := s.check("firebreak:secret")
	check.StoreIn = []string{"comment"}
	check.OnHung = &config.OnHung{Action: config.CancelQuery, Methods: []string{"GET"}, PerMinute: 600, MaxShare: 100}
	policy.Default.Check = check
	guard := breaker.New(policy, breaker.Options{Check: zonecheck.Check, Ask: zonecheck.Ask})
	defer guard.Close()
	p := &pool{guard: guard, zone: t.Name(), app: s.open(t, "app"), tags: true, asked: make(map[string]bool), named: make(map[string]time.Duration)}
	p.app.SetMaxIdleConns(workers)
	p.play(t, 0, time.Second)
	const locked = 6
	unlock := s.lock(t, locked)
	defer unlock()
	p.play(t, locked, 4*time.Second)
	z, _ := guard.Zone(p.zone)
	if z.Cancelled != 0 || !strings.Contains(z.DatabaseTrouble, "CONNECTION ADMIN") {
		t.Errorf("without the privilege %d queries are cancelled, and the trouble is %q", z.Cancelled, z.DatabaseTrouble)
	}
	s.run(t, "GRANT CONNECTION ADMIN ON *.* TO firebreak", "KILL USER firebreak")
	p.ok, p.bad, p.most = 0, 0, 0
	p.play(t, locked, 6*time.Second)
	time.Sleep(deadline + 2*time.Second)
	p.note(0, locked, locked)
	z, _ = guard.Zone(p.zone)
	t.Logf("%d queries cancelled, %d workers hung at worst, %d at the end; innocents %d ok, %d not; %s", z.Cancelled, p.most, p.hung, p.ok, p.bad, z.DatabaseTrouble)
	if z.Cancelled == 0 || p.hung > 0 {
		t.Errorf("%d queries were cancelled, %d workers hang", z.Cancelled, p.hung)
	}
	if p.bad > p.ok/20 {
		t.Errorf("of the innocent stores' requests %d were answered and %d not", p.ok, p.bad)
	}
	var killed struct {
		name string
		n    int
	}
	if err := s.root.QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Com_kill'").Scan(&killed.name, &killed.n); err != nil || killed.n < int(z.Cancelled) {
		t.Errorf("the database was told to kill %d queries (%v)", killed.n, err)
	}
	unlock()
	p.under.Wait()
}

//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// TestKill9 kills a sidecar at random moments while operators set one switch
// after another through its admin API: each that was acknowledged is there
// after the restart.
func TestKill9(t *testing.T) {
	t.Parallel()
	const wanted, kills = 200, 6
	p := startProxy(t, answering("state storage"))
	// What a store's switch may say: the last that was acknowledged, and what
	// was under way when the sidecar was killed, which may be there or not.
	acknowledged, inDoubt := map[string]string{}, map[string]string{}
	writes, killed := 0, 0
	for ; killed < kills || len(acknowledged) < wanted; killed++ {
		timer := time.AfterFunc(time.Duration(100+rand.IntN(400))*time.Millisecond, func() { killGroup(p.cmd) })
		for {
			n := writes % (zones * storesPerZone)
			store, reason := storeName(n/storesPerZone, n%storesPerZone), fmt.Sprintf("write %d", writes)
			writes++
			status, _, err := p.change(http.MethodPut, "maintenance/stores/"+store, fmt.Sprintf(`{"reason": %q}`, reason))
			if err != nil {
				inDoubt[store] = reason
				break
			}
			if status != http.StatusCreated && status != http.StatusOK {
				t.Fatalf("write %d: %d", writes, status)
			}
			acknowledged[store] = reason
			delete(inDoubt, store)
		}
		timer.Stop()
		killGroup(p.cmd)
		p.start(t)
		p.listening(t)
	}
	there := p.reasons(t)
	lost := 0
	for store, reason := range acknowledged {
		if got := there[store]; (got != reason && got != inDoubt[store]) || !p.inMaintenance(t, store) {
			lost++
		}
	}
	figure(t, "%d kills, %d stores switched by %d writes, %d there, %d lost", killed, len(acknowledged), writes, len(there), lost)
	if lost > 0 {
		t.Errorf("%d of %d acknowledged switches are lost", lost, len(acknowledged))
	}
}

// reasons are the reasons of all stores' switches.
func (p *proxy) reasons(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for after := ""; ; {
		var page struct {
			Switches []struct{ Scope, Name, Reason string }
			Corrupt  []any
			Next     string
		}
		body := p.page(t, "/firebreak/maintenance?after="+url.QueryEscape(after))
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if len(page.Corrupt) > 0 {
			t.Errorf("records cannot be read: %v", page.Corrupt)
		}
		for _, sw := range page.Switches {
			all[sw.Name] = sw.Reason
		}
		if page.Next == "" {
			return all
		}
		after = page.Next
	}
}

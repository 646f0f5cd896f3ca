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
	const wanted, kills = 200, 6
	p := startProxy(t, answering("state storage"))
	acknowledged := map[string]string{}
	next, killed := 0, 0
	for ; killed < kills || len(acknowledged) < wanted; killed++ {
		timer := time.AfterFunc(time.Duration(100+rand.IntN(400))*time.Millisecond, func() { killGroup(p.cmd) })
		for ; ; next++ {
			store, reason := storeName(next/storesPerZone, next%storesPerZone), fmt.Sprintf("write %d", next)
			if next >= zones*storesPerZone {
				t.Fatalf("%d writes and only %d kills", next, killed)
			}
			status, _, err := p.change(http.MethodPut, "maintenance/stores/"+store, fmt.Sprintf(`{"reason": %q}`, reason))
			if err != nil {
				break
			}
			if status != http.StatusCreated {
				t.Fatalf("write %d: %d", next, status)
			}
			acknowledged[store] = reason
		}
		next++ // that one may be there or not
		timer.Stop()
		killGroup(p.cmd)
		p.start(t)
		p.listening(t)
	}
	there := p.reasons(t)
	lost := 0
	for store, reason := range acknowledged {
		if there[store] != reason || !p.inMaintenance(t, store) {
			lost++
		}
	}
	figure(t, "%d kills, %d of %d writes acknowledged, %d there, %d lost", killed, len(acknowledged), next, len(there), lost)
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

//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestDashboardRecovery: a recovery that is started on a zone's page moves its
// bar until all stores are back.
func TestDashboardRecovery(t *testing.T) {
	t.Parallel()
	pool := gunicorn(t)
	s := gunicornSite(pool, "")
	s.browsers = true
	s.app = fmt.Sprintf("check GET /internal/check?key={store} {\n\t\t\tto %s\n\t\t\ttimes 2\n\t\t\tevery 1s\n\t\t\tparallel 2\n\t\t}", pool.addr)
	p := startProxy(t, s)
	zone := zoneName(6)
	p.mustChange(t, http.MethodPut, "maintenance/zones/"+zone, `{"reason": "damaged data"}`)
	b := openDashboard(t, p)
	b.visit(t, "#/zones/"+zone, "Zone "+zone)
	const start = "[...document.querySelectorAll('main button')].find((x) => x.textContent === 'Check and release…')"
	b.wait(t, "the button", start+" && !"+start+".hidden")
	b.run(t, start+".click()")
	b.wait(t, "the dialog", "document.activeElement.id === 'field-reason'")
	b.run(t, `window.seen = new Set();
		new MutationObserver(() => window.seen.add(document.querySelector('progress')?.value)).observe(document.body, { subtree: true, childList: true, attributes: true }); undefined`)
	b.do(t, chromedp.SendKeys("#field-reason", "repaired"), chromedp.Click("#dialog button[type=submit]"))
	b.wait(t, "the recovery's page", "document.title.includes('Recoveries')")
	b.wait(t, "the recovery", "document.querySelector('progress')")
	b.accessible(t, "recoveries")
	b.shoot(t, "recovery-light")
	b.wait(t, "all stores are back", "document.querySelector('progress').value === 100 && document.querySelector('.card').textContent.includes('Done')")
	if steps := value[int](t, b, "window.seen.size"); steps < 3 {
		t.Errorf("the bar had only %d places", steps)
	}
	if got := p.mustAsk(t, storeName(6, 50)); got.status != http.StatusOK {
		t.Errorf("a request got %d %s", got.status, got.refusal)
	}
}

// TestDashboardWork: the stores that a recovery gave up are listed, and can be
// claimed and marked as done.
func TestDashboardWork(t *testing.T) {
	t.Parallel()
	pool := gunicorn(t)
	s := gunicornSite(pool, "")
	s.browsers = true
	s.app = fmt.Sprintf("check GET /internal/check?key={store} {\n\t\t\tto %s\n\t\t\ttimes 1\n\t\t\tevery 100ms\n\t\t\tretries 0\n\t\t\tbody_contains \"no such text\"\n\t\t}", pool.addr)
	p := startProxy(t, s)
	store := storeName(6, 50)
	p.mustChange(t, http.MethodPut, "maintenance/stores/"+store, `{"reason": "damaged data"}`)
	p.mustChange(t, http.MethodPost, "recoveries", fmt.Sprintf(`{"stores": [%q]}`, store))
	b := openDashboard(t, p)
	b.visit(t, "#/recoveries", "Recoveries")
	b.wait(t, "the work list", fmt.Sprintf("document.querySelector('main section')?.textContent.includes(%q)", store))
	b.accessible(t, "work list")
	b.shoot(t, "work-light")
	for _, step := range []struct{ button, then string }{
		{"Claim…", "Claimed by ann"},
		{"Mark as done…", "checked again and still failing"},
	} {
		press := fmt.Sprintf("[...document.querySelectorAll('main section button')].find((x) => x.textContent === %q)", step.button)
		b.run(t, press+".click()")
		b.wait(t, "the dialog", "document.activeElement.id === 'field-reason'")
		b.run(t, "document.querySelector('#field-by').value = 'ann'")
		b.do(t, chromedp.SendKeys("#field-reason", "row 12"), chromedp.Click("#dialog button[type=submit]"))
		b.wait(t, "the dialog is closed", "!document.getElementById('dialog').open")
		b.wait(t, step.then, fmt.Sprintf("document.querySelector('main section').textContent.includes(%q)", step.then))
	}
}

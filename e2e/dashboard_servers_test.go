//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestDashboardServers: several API servers have a section of their own, which says
// which one is out of service and since when, and drains one by click; one alone
// has none.
func TestDashboardServers(t *testing.T) {
	servers := startRow(t, 3).servers
	several, one := serversSite(servers, "lb_policy firebreak"), gunicornSite(servers[2], "")
	several.browsers, one.browsers = true, true
	p := startProxy(t, several)
	b := openDashboard(t, p)
	frozen, drained := servers[0], servers[1]
	tr := drive(t, everyday(p, "/search", 60*time.Second))
	tile := func(p *pool) string { return fmt.Sprintf("document.querySelector('[data-server=%q]')", p.addr) }
	b.wait(t, "three servers are in service", "document.querySelectorAll('.server[data-state=in_service]').length === 3")
	time.Sleep(3 * time.Second)
	frozen.signal(t, syscall.SIGSTOP)
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			frozen.signal(t, syscall.SIGCONT)
		}
	}
	t.Cleanup(thaw)
	b.wait(t, "the frozen one is out of service", tile(frozen)+".dataset.state === 'out_of_service'")
	b.wait(t, "the headline says so", "document.querySelector('h1').textContent.includes('1 server out of service')")
	if text := value[string](t, b, tile(frozen)+".textContent"); !strings.Contains(text, "no answer for over") || !strings.Contains(text, "since") {
		t.Errorf("the tile says %q", text)
	}
	if first := value[string](t, b, "document.querySelector('.server').dataset.server"); first != frozen.addr {
		t.Errorf("the first server is %s, want the frozen one", first)
	}
	b.do(t, chromedp.Click(fmt.Sprintf(".server[data-server=%q] .act", drained.addr)))
	b.wait(t, "the dialog", "document.getElementById('dialog').open")
	b.accessible(t, "the dialog of a drain")
	b.do(t, chromedp.SendKeys("#field-reason", "deploy 42"), chromedp.SendKeys("#field-by", "ada"), chromedp.Click("#dialog button[type=submit]"))
	b.wait(t, "it is drained, and says why", tile(drained)+".dataset.state === 'drained' && "+tile(drained)+".textContent.includes('deploy 42')")
	for _, scheme := range []string{"light", "dark"} {
		b.look(t, scheme, 1440, 1000)
		b.accessible(t, "servers, "+scheme)
		b.shoot(t, "servers-"+scheme)
	}
	b.look(t, "light", 390, 844)
	b.accessible(t, "servers, phone")
	b.shoot(t, "servers-phone")
	if width := value[int](t, b, "document.documentElement.scrollWidth"); width > 390 {
		t.Errorf("on a phone the page is %d pixels wide", width)
	}
	b.look(t, "light", 1440, 1000)
	b.visit(t, "#/switches", "Maintenance")
	b.wait(t, "the switch is listed", "document.querySelector('tbody').textContent.includes('deploy 42')")
	b.visit(t, "#/", "Zones")
	b.wait(t, "the drained one can be taken back", tile(drained)+"?.querySelector('.act').textContent === 'Undrain…'")
	b.do(t, chromedp.Click(fmt.Sprintf(".server[data-server=%q] .act", drained.addr)))
	b.wait(t, "the dialog", "document.getElementById('dialog').open")
	b.do(t, chromedp.SendKeys("#field-reason", "done"), chromedp.Click("#dialog button[type=submit]"))
	b.wait(t, "it is in service again", tile(drained)+".dataset.state === 'in_service'")
	thaw()
	b.wait(t, "the frozen one is back", tile(frozen)+".dataset.state === 'in_service'")
	tr.stop()
	tr.wait(t)
	b.wait(t, "what happened names the server", fmt.Sprintf("document.querySelector('.log').textContent.includes(%q)", frozen.addr))

	single := openDashboard(t, startProxy(t, one))
	single.wait(t, "the overview", "document.querySelector('.figures').textContent !== ''")
	if n := value[int](t, single, "document.querySelectorAll('.server').length"); n > 0 || value[bool](t, single, "!document.getElementById('servers-title').closest('section').hidden") {
		t.Errorf("one server has a section of its own, with %d tiles", n)
	}
}

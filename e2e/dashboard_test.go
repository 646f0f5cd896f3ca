//go:build e2e

package e2e_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// tile is the tile of a zone, in a script.
func tile(zone string) string {
	return fmt.Sprintf("document.querySelector('.tile[data-zone=\"%s\"]')", zone)
}

// TestDashboard is an outage as the person on call sees it.
func TestDashboard(t *testing.T) {
	pool := gunicorn(t)
	s := gunicornSite(pool, "")
	s.browsers = true
	p := startProxy(t, s)
	tr := drive(t, load.Plan{Rate: 100, Duration: time.Minute, Timeout: 10 * time.Second, Pick: shoppers{proxy: p.addr, path: "/search"}.pick()})
	b := openDashboard(t, p)
	b.wait(t, "all tiles are there", `document.querySelectorAll('.tile[data-state="calm"]').length === 12`)
	sick := world.databases[6]

	// The page itself notes when the tile turns red: asking it takes time.
	b.run(t, fmt.Sprintf(`new MutationObserver(() => {
		const tile = %s;
		if (tile?.dataset.state === 'open') window.opened ??= Date.now();
		if (document.getElementById('connection').dataset.state === 'lost') window.lost ??= Date.now();
	}).observe(document.body, { subtree: true, childList: true, attributes: true });
	window.marker = 'not loaded again'; undefined`, tile(sick.zone)))
	time.Sleep(time.Until(tr.start.Add(4 * time.Second)))
	sick.freeze()
	b.wait(t, "the tile turns red", "window.opened")
	seen, z := time.UnixMilli(int64(value[float64](t, b, "window.opened"))), p.zone(t, sick.zone)
	if z.Turn == 1 {
		late := seen.Sub(z.OpenedAt)
		figure(t, "the tile turned red %s after the opening", ms(late))
		promise(t, late <= time.Second, late <= 5*time.Second, "the tile turned red %s after the opening, want 1 s", late)
	}
	if colour := value[string](t, b, "getComputedStyle("+tile(sick.zone)+").borderLeftColor"); colour != "rgb(179, 38, 26)" {
		t.Errorf("an open zone's tile is %s", colour)
	}
	if first := value[string](t, b, "document.querySelector('.tile').dataset.zone"); first != sick.zone {
		t.Errorf("the first tile is of zone %s", first)
	}
	if headline := value[string](t, b, "document.querySelector('h1').textContent"); !strings.Contains(headline, sick.zone) {
		t.Errorf("the headline is %q", headline)
	}
	t.Run("accessible", func(t *testing.T) { b.tour(t, sick.zone) })
	t.Run("maintenance by click", func(t *testing.T) { b.switchOn(t, p, sick.zone) })
	b.reloaded(t, p, s) // no test of its own, with which the new process would end
	sick.heal()
	t.Run("maintenance off by keyboard", func(t *testing.T) { b.switchOff(t, p, sick.zone) })
	b.wait(t, "the tile is calm again", tile(sick.zone)+`.dataset.state === 'calm'`)
	tr.stop()
	tr.wait(t)
}

// tour looks at every page in both colour schemes.
func (b *browser) tour(t *testing.T, zone string) {
	for _, scheme := range []string{"light", "dark"} {
		b.look(t, scheme, 1440, 1000)
		b.visit(t, "#/", "Zones")
		b.wait(t, "tiles", "document.querySelector('.tile')")
		b.accessible(t, "overview, "+scheme)
		b.shoot(t, "overview-"+scheme)
	}
	b.visit(t, "#/zones/"+zone, "Zone "+zone)
	b.wait(t, "stores", "document.querySelectorAll('tbody tr').length > 20")
	b.accessible(t, "a zone, dark")
	b.shoot(t, "zone-dark")
	b.look(t, "light", 1440, 1000)
	b.accessible(t, "a zone, light")
	for hash, title := range map[string]string{"#/stores/s0701": "Store s0701", "#/switches": "Maintenance", "#/recoveries": "Recoveries", "#/incidents": "Incidents", "#/fleet": "Fleet"} {
		b.visit(t, hash, title)
		b.wait(t, "no more loading", "!document.getElementById('main').textContent.includes('Loading')")
		b.accessible(t, title)
	}
	b.visit(t, "#/zones/z77", "Zone z77")
	b.wait(t, "it says that there is no such zone", "document.querySelector('main').textContent.includes('did you mean z07?')")
	b.accessible(t, "no such zone")
	b.visit(t, "#/incidents", "Incidents")
	b.wait(t, "the incident", "document.querySelector('tbody th a')")
	b.run(t, "document.querySelector('tbody th a').click()")
	b.wait(t, "its page, with its timeline", `document.querySelector('h1').textContent === "Incident of zone `+zone+`" && document.querySelectorAll('.log li').length > 1`)
	b.accessible(t, "an incident")
	b.shoot(t, "incident-light")
	b.look(t, "light", 360, 740)
	b.visit(t, "#/", "Zones")
	b.wait(t, "tiles", "document.querySelector('.tile')")
	if n := value[int](t, b, "[...document.querySelectorAll('.tile[data-state=\"calm\"] button')].filter((b) => b.offsetParent).length"); n > 0 {
		t.Errorf("%d calm zones offer an action", n)
	}
	if first := value[string](t, b, "document.querySelector('.hero .first').textContent"); first != "Maintenance on: zone "+zone+"…" {
		t.Errorf("the first action is %q", first)
	}
	for _, want := range []string{"Next: Look at the database of zone " + zone, "no answer"} {
		if hero := value[string](t, b, "document.querySelector('.hero').textContent"); !strings.Contains(hero, want) {
			t.Errorf("the headline's part does not say %q: %s", want, hero)
		}
	}
	b.wait(t, "how long answers take", "/p50 .* p99 /.test(document.querySelector('.figures').textContent)")
	b.run(t, "window.scrollTo(0, document.body.scrollHeight)")
	if y := value[float64](t, b, "document.querySelector('#nav a').getBoundingClientRect().bottom"); y < 0 || y > 740 {
		t.Errorf("at the end of the page the navigation is at %.0f of 740 pixels", y)
	}
	b.accessible(t, "overview, phone")
	b.shoot(t, "overview-phone")
	if width := value[int](t, b, "document.documentElement.scrollWidth"); width > 360 {
		t.Errorf("on a phone the page is %d pixels wide", width)
	}
	b.look(t, "light", 1440, 1000)
}

// switchOn puts a zone into maintenance the way a person does.
func (b *browser) switchOn(t *testing.T, p *proxy, zone string) {
	b.do(t, chromedp.Click(`.tile[data-zone="`+zone+`"] .act`))
	b.wait(t, "the dialog", "document.getElementById('dialog').open")
	b.wait(t, "what the server foresees", "document.getElementById('dialog').textContent.includes('the zone has 100 stores')")
	b.accessible(t, "the dialog")
	b.shoot(t, "dialog-light")
	b.do(t, chromedp.Click("#dialog button[type=submit]"))
	b.wait(t, "a reason is asked for", "document.querySelector('#dialog .problem').textContent.includes('reason')")
	if status := p.status(t); status.Maintenance.InForce != 0 {
		t.Error("it was switched without a reason")
	}
	b.do(t, chromedp.SendKeys("#field-reason", "disk full <b>"), chromedp.SendKeys("#field-by", "ada"), chromedp.Click("#dialog button[type=submit]"))
	b.wait(t, "the dialog is closed", "!document.getElementById('dialog').open")
	if got := p.mustAsk(t, storeName(6, 50)); got.status != http.StatusServiceUnavailable || got.refusal != "maintenance" {
		t.Errorf("the next request got %d %s", got.status, got.refusal)
	}
	b.wait(t, "the tile says so", tile(zone)+`.textContent.includes('disk full <b>')`)
	b.visit(t, "#/switches", "Maintenance")
	b.wait(t, "the switch is listed", `document.querySelector('tbody').textContent.includes('ada')`)
	b.shoot(t, "maintenance-light")
	b.visit(t, "#/", "Zones")
}

// reloaded reloads Caddy and wants the page live again, without a load of its
// own.
func (b *browser) reloaded(t *testing.T, p *proxy, s site) {
	b.run(t, "window.lost = undefined")
	s.handlers += "\n\theader X-Reloaded yes"
	began := time.Now()
	p.reload(t, s)
	b.wait(t, "the connection was lost", "window.lost")
	b.wait(t, "it is live again", "document.getElementById('connection').dataset.state === 'live'")
	figure(t, "live again %s after a reload of Caddy", ms(time.Since(began)))
	if marker := value[string](t, b, "String(window.marker)"); marker != "not loaded again" {
		t.Error("the page was loaded again")
	}
	// An end that lasts is shown.
	killGroup(p.cmd)
	b.wait(t, "the page says since when it is disconnected", "document.getElementById('lost').textContent.startsWith('Disconnected since ')")
	b.accessible(t, "disconnected")
	b.shoot(t, "disconnected-light")
	p.start(t)
	b.wait(t, "it is live again after a new start", "document.getElementById('connection').dataset.state === 'live'")
}

// switchOff ends maintenance without a mouse.
func (b *browser) switchOff(t *testing.T, p *proxy, zone string) {
	b.wait(t, "the button", tile(zone)+`?.querySelector('.act').textContent.includes('off')`)
	b.run(t, tile(zone)+".querySelector('.act').focus()")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.wait(t, "the dialog, with the focus in it", "document.activeElement.id === 'field-reason'")
	b.do(t, chromedp.KeyEvent("repaired"), chromedp.KeyEvent(kb.Enter))
	b.wait(t, "the dialog is closed", "!document.getElementById('dialog').open")
	b.wait(t, "the focus is at the zone", "document.activeElement.closest('.tile')?.dataset.zone === '"+zone+"'")
	if status := p.status(t); status.Maintenance.InForce != 0 {
		t.Errorf("%d switches are in force", status.Maintenance.InForce)
	}
}

// hostileStores are ids that would like to be markup.
var hostileStores = []string{
	`<script>window.pwned=1</script>`,
	`"><img src=x onerror=window.pwned=2>`,
	`'onmouseover='window.pwned=3`,
	`javascript:window.pwned=4`,
	"\u202eexe.txt\u2066\u200f",
	`../../maintenance/all?x=#/y%2F`,
	strings.Repeat("W", 128),
}

// TestDashboardHostile shows stores, reasons and messages that are made to
// become scripts, and wants nothing but text.
func TestDashboardHostile(t *testing.T) {
	t.Parallel()
	stores := filepath.Join(t.TempDir(), "stores.csv")
	text := "store,zone\n"
	for i := range 40 {
		text += fmt.Sprintf("calm%d,z1\n", i)
	}
	for _, store := range hostileStores {
		text += `"` + strings.ReplaceAll(store, `"`, `""`) + "\",z1\n"
	}
	if err := os.WriteFile(stores, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, site{pool: workers, stores: stores, browsers: true, handlers: guard + "\n\t@calm query calm=1\n\trespond @calm ok\n\trespond 500"})
	for range 16 { // errors in a row, for long enough to be named
		for i := range 40 {
			p.mustAsk(t, fmt.Sprintf("calm%d&calm=1", i))
		}
		for _, store := range hostileStores {
			p.mustAsk(t, url.QueryEscape(store))
		}
		time.Sleep(150 * time.Millisecond)
	}
	reason := `<script>window.pwned=5</script><img src=x onerror=window.pwned=6> ` + "\u202e" + strings.Repeat("very long ", 20)
	p.mustChange(t, http.MethodPut, "maintenance/zones/z1", fmt.Sprintf(`{"reason": %q, "by": %q, "message": %q}`, reason[:60], hostileStores[1], reason[:60]))
	b := openDashboard(t, p)
	b.look(t, "dark", 360, 740)
	b.wait(t, "the tile", tile("z1")+`.textContent.includes('aintenance')`)
	b.inert(t, "overview")
	b.shoot(t, "hostile-phone")
	b.visit(t, "#/zones/z1", "Zone z1")
	b.wait(t, "all culprits and stores", fmt.Sprintf("document.querySelectorAll('tbody tr').length >= %d", 40+2*len(hostileStores)))
	b.inert(t, "zone")
	for i, store := range hostileStores {
		// The way there is a link, as for a person.
		if i > 0 {
			b.visit(t, "#/zones/z1", "Zone z1")
		}
		script := fmt.Sprintf("[...document.querySelectorAll('tbody a')].find((a) => a.textContent === %s)", quoted(store))
		b.wait(t, "the link to "+store, script)
		b.run(t, script+".click()")
		b.wait(t, "the page of "+store, fmt.Sprintf("document.querySelector('h1').textContent === 'Store ' + %s && document.querySelector('.verdict').textContent.includes('refused')", quoted(store)))
		b.inert(t, store)
	}
	b.visit(t, "#/switches", "Maintenance")
	b.wait(t, "the switch", "document.querySelectorAll('tbody tr').length > 0")
	b.inert(t, "switches")
}

func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	b.WriteByte('"')
	return b.String()
}

// inert wants no script to have run, no foreign element, and a page that stays
// within the window.
func (b *browser) inert(t *testing.T, what string) {
	t.Helper()
	if pwned := value[string](t, b, "String(window.pwned)"); pwned != "undefined" {
		t.Errorf("%s: script %s ran", what, pwned)
	}
	if n := value[int](t, b, "document.querySelectorAll('main script, main img, main iframe, main [onerror], main [onmouseover], a[href^=\"javascript\"]').length"); n > 0 {
		t.Errorf("%s: %d elements came from text", what, n)
	}
	if width := value[int](t, b, "document.documentElement.scrollWidth"); width > 360 {
		t.Errorf("%s: the page is %d pixels wide on a phone", what, width)
	}
}

// TestDashboardThousandZones: a thousand zones with a million stores under
// traffic are as quick to look at as twelve.
func TestDashboardThousandZones(t *testing.T) {
	const zones = 1000
	stores := filepath.Join(t.TempDir(), "stores.csv")
	f, err := os.Create(stores)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "store,zone")
	for store := range 1_000_000 {
		fmt.Fprintf(w, "s%d,shard%d\n", store, store%zones)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	p := startProxy(t, site{pool: 1000, stores: stores, browsers: true, handlers: guard + "\n\t@bad query bad=1\n\trespond @bad 500\n\trespond ok"})
	tr := drive(t, load.Plan{Rate: 1000, Duration: 40 * time.Second, Timeout: 5 * time.Second, Pick: func(n int) load.Target {
		store := n * 7919 % 1_000_000
		target := fmt.Sprintf("http://%s/search?key=s%d", p.addr, store)
		if store%zones < 60 {
			target += "&bad=1"
		}
		return load.Target{Zone: fmt.Sprintf("shard%d", store%zones), Store: fmt.Sprintf("s%d", store), URL: target}
	}})
	b := openDashboard(t, p)
	b.wait(t, "zones in trouble come first", `document.querySelector('.tile')?.dataset.state !== 'calm' && document.querySelectorAll('.tile').length === 24`)
	perSecond := measureFeed(t, p, 8*time.Second)
	figure(t, "1,000 zones under traffic: the stream has %.1f KB/s", perSecond/1000)
	if perSecond > 50_000 {
		t.Errorf("the stream has %.0f bytes a second, want 50,000", perSecond)
	}
	took := value[map[string]float64](t, b, `(() => {
		const of = (name) => performance.getEntriesByName(name).map((e) => e.duration).sort((x, y) => x - y);
		const [updates, draws] = [of('firebreak-update'), of('firebreak-draw')];
		const at = (list, share) => list[Math.min(list.length - 1, Math.floor(list.length * share))];
		return { n: updates.length, median: at(updates, .5), worst: at(updates, 1), draw: at(draws, 1) };
	})()`)
	figure(t, "1,000 zones: %.0f updates, script time %.1f ms at the median, %.1f ms at worst; plots %.1f ms a frame at worst", took["n"], took["median"], took["worst"], took["draw"])
	if took["n"] < 5 {
		t.Errorf("only %.0f updates", took["n"])
	}
	promise(t, took["worst"] <= 50 && took["draw"] <= 50, took["median"] <= 50, "an update took %.1f ms, plots %.1f ms; want 50", took["worst"], took["draw"])
	b.shoot(t, "thousand-light")
	b.do(t, chromedp.SendKeys("#filter", "shard999"))
	b.wait(t, "one zone is found", `document.querySelectorAll('.tile').length === 1 && document.querySelector('.tile').dataset.zone === 'shard999'`)
	b.visit(t, "#/zones/shard999", "Zone shard999")
	b.wait(t, "a page of its stores", `document.querySelectorAll('tbody tr').length === 50 && document.body.textContent.includes('1,000 in the zone')`)
	tr.stop()
	tr.wait(t)
}

// measureFeed is how many bytes a second the dashboard's stream has.
func measureFeed(t *testing.T, p *proxy, d time.Duration) float64 {
	t.Helper()
	res, err := http.Get("http://" + p.admin + "/firebreak/ui/feed")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(d, func() { res.Body.Close() })
	buffer, total := make([]byte, 64<<10), 0
	for {
		n, err := res.Body.Read(buffer)
		total += n
		if err != nil {
			return float64(total) / d.Seconds()
		}
	}
}

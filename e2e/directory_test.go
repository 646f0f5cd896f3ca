//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// storesDB is a PostgreSQL with a table of stores, in a network namespace, so
// that it can be cut off.
type storesDB struct {
	*database
	network *namespace
}

// shopsTable is a table with the trigger of docs/directories.md. Each store
// has a key beside its id.
const shopsTable = `
	CREATE TABLE shops(store text PRIMARY KEY, zone text NOT NULL, keys text[]);
	CREATE FUNCTION shops_changed() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN NOTIFY shops_changed; RETURN NULL; END $$;
	CREATE TRIGGER shops_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON shops
		FOR EACH STATEMENT EXECUTE FUNCTION shops_changed();`

func startStoresDB(t *testing.T) *storesDB {
	t.Helper()
	parent := filepath.Join(world.dir, "shops")
	t.Cleanup(func() { os.RemoveAll(parent) })
	db := &storesDB{&database{zone: "shops", dir: filepath.Join(parent, "db"), port: 5432}, newNamespace(t)}
	if err := initCluster(parent, db.dir); err != nil {
		t.Fatal(err)
	}
	add := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(db.dir, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	add("postgresql.conf", fmt.Sprintf(dbConfig, db.port)+"listen_addresses = '*'\n")
	add("pg_hba.conf", "host all all "+testNet+" trust\n")
	db.start(t)
	fill := shopsTable
	for z := range zones {
		fill += fmt.Sprintf("INSERT INTO shops SELECT 's%02d' || lpad(n::text, 2, '0'), '%s', ARRAY['key-s%02d' || n] FROM generate_series(0, %d) n;",
			z+1, zoneName(z), z+1, storesPerZone-1)
	}
	db.sql(t, fill+"CHECKPOINT")
	return db
}

// start runs the server, again if it has ended, and waits until it answers.
func (db *storesDB) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(db.network.enter()[0], append(db.network.enter()[1:],
		"setpriv", "--reuid", dbUser, "--regid", dbUser, "--clear-groups", pgProgram("postgres"), "-D", db.dir)...)
	logTo(t, cmd, "shops.log")
	if err := as(cmd, "root"); err != nil {
		t.Fatal(err)
	}
	if err := startBehind(cmd); err != nil {
		t.Fatal(err)
	}
	db.server = cmd
	t.Cleanup(func() { db.kill() })
	eventually(t, 20*time.Second, "the stores' database answers", func() bool {
		return db.psql("-c", "SELECT 1").Run() == nil
	})
}

func (db *storesDB) kill() {
	if db.server.ProcessState == nil {
		db.signal(syscall.SIGKILL)
		_ = db.server.Wait()
	}
}

func (db *storesDB) dsn() string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=disable gssencmode=disable", db.network.inside, db.port, dbUser)
}

func (db *storesDB) psql(args ...string) *exec.Cmd {
	cmd := exec.Command("psql", append([]string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", db.dsn()}, args...)...)
	cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=2")
	return cmd
}

func (db *storesDB) sql(t *testing.T, text string) {
	t.Helper()
	if out, err := db.psql("-c", text).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// strictly is guard for tests in which no request of a store may be taken for
// that of an unknown one.
const strictly = `
	firebreak {
		key query key
		key json key
		unknown refuse
	}`

func strictSite(p *pool, source string) site {
	s := gunicornSite(p, "")
	s.source = source
	s.handlers = strings.Replace(s.handlers, guard, strictly, 1)
	return s
}

// directoryDown is what the metrics say.
func (p *proxy) directoryDown(t *testing.T) bool {
	t.Helper()
	// The line itself, not its help.
	return strings.Contains(string(p.page(t, "/metrics")), "\ncaddy_firebreak_directory_down 1\n")
}

// zoneOfStore is where the proxy thinks that a store lives: "" if nowhere.
func (p *proxy) zoneOfStore(t *testing.T, store string) string {
	t.Helper()
	resp, err := adminClient.Get("http://" + p.admin + "/firebreak/stores/" + store)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return ""
	}
	var answer struct {
		Zone string `json:"zone"`
	}
	p.get(t, "/firebreak/stores/"+store, &answer)
	return answer.Zone
}

// directoryRun is a run under load with a sidecar beside that has its stores
// from a file.
type directoryRun struct {
	t       *testing.T
	p       *proxy
	traffic *traffic
	phases  []phase
}

// driveBeside asks the first five stores of every zone, each several times a
// second.
func driveBeside(t *testing.T, p, beside *proxy) *directoryRun {
	t.Helper()
	plan := everyday(p, "/search", 2*time.Minute)
	plan.Pick = func(n int) load.Target {
		z, s := n/2%zones, n/2/zones%5
		if n%2 == 0 {
			return shoppers{proxy: p.addr, path: "/search"}.target(z, s, false)
		}
		to := shoppers{proxy: beside.addr, path: "/search"}.target(z, s, false)
		to.Zone = besides + to.Zone
		return to
	}
	return &directoryRun{t: t, p: p, traffic: drive(t, plan)}
}

// phase is a part of the run; away: the directory's source is.
func (r *directoryRun) phase(name string, away bool, during func()) {
	r.t.Helper()
	from := r.traffic.now()
	during()
	r.phases = append(r.phases, phase{name: name, away: away, from: from, to: r.traffic.now()})
}

// away waits until the sidecar says that the source is down.
func (r *directoryRun) away(whole time.Duration) {
	r.t.Helper()
	began := time.Now()
	eventually(r.t, 8*time.Second, "the metrics say that the source is down", func() bool { return r.p.directoryDown(r.t) })
	figure(r.t, "said to be down after %.1f s", time.Since(began).Seconds())
	time.Sleep(time.Until(began.Add(whole)))
}

func (r *directoryRun) healed(longer time.Duration) {
	r.t.Helper()
	began := time.Now()
	eventually(r.t, 20*time.Second, "the source is found to be back", func() bool { return !r.p.directoryDown(r.t) })
	figure(r.t, "found to be back after %.1f s", time.Since(began).Seconds())
	time.Sleep(longer)
}

// judge wants no request lost and none slower than beside.
func (r *directoryRun) judge() {
	r.t.Helper()
	r.traffic.stop()
	rs := load.Filter(r.traffic.wait(r.t), func(r load.Result) bool { return r.Err != load.ErrCanceled })
	split := func(beside bool) []load.Result {
		return load.Filter(rs, func(r load.Result) bool { return strings.HasPrefix(r.Zone, besides) == beside })
	}
	own, control := split(false), split(true)
	var away, awayControl []load.Result
	for _, ph := range r.phases {
		here, there := due(own, ph.from, ph.to), due(control, ph.from, ph.to)
		figure(r.t, "%-12s %.1f s, %d requests, p99 %s, beside it %s", ph.name, (ph.to - ph.from).Seconds(), len(here),
			ms(load.Percentile(here, 99)), ms(load.Percentile(there, 99)))
		if ph.away {
			away, awayControl = append(away, here...), append(awayControl, there...)
		}
	}
	p99, usual := load.Percentile(away, 99), load.Percentile(awayControl, 99)
	figure(r.t, "while it is away p99 %s, beside it %s: %.2f of it; p50 %s and %s; %d of %d requests ok", ms(p99), ms(usual),
		float64(p99)/float64(usual), ms(load.Percentile(away, 50)), ms(load.Percentile(awayControl, 50)),
		len(load.Filter(own, load.Result.OK)), len(own))
	promise(r.t, p99 <= usual*11/10+2*time.Millisecond, p99 <= 2*usual+5*time.Millisecond, "p99 is %s with the source away, beside it %s", p99, usual)
	wantOK(r.t, "known stores", own, 100)
	for _, result := range own {
		if result.Refusal == "unknown_store" {
			r.t.Fatalf("at %s store %s was unknown", result.At, result.Store)
		}
	}
}

// TestPostgresDirectory takes the stores' database away in every way under
// load: no request of a known store is lost or slowed down.
func TestPostgresDirectory(t *testing.T) {
	t.Parallel()
	db, pool := startStoresDB(t), gunicorn(t)
	source := fmt.Sprintf("postgres %q {\n\t\t\ttable shops\n\t\t\tnotify shops_changed\n\t\t\trefresh 1s\n\t\t\ttimeout 2s\n\t\t}", db.dsn())
	p, beside := startProxy(t, strictSite(pool, source)), startProxy(t, strictSite(pool, ""))
	second := answering("")
	// What it learns in time it was told.
	second.source, second.handlers = strings.Replace(source, "refresh 1s", "refresh 1m", 1), strictly+"\n\trespond ok"
	restarted := startProxy(t, second)
	if got := p.zoneOfStore(t, "key-s017"); got != "z01" {
		t.Errorf("a key leads to zone %q", got)
	}
	warm(t, p, "/search")
	run := driveBeside(t, p, beside)
	run.phase("well", false, func() {
		db.notices(t, restarted)
		db.refusesBroken(t, p)
	})
	run.phase("frozen", true, func() { db.freeze(); run.away(4 * time.Second) })
	run.phase("continued", false, func() { db.heal(); run.healed(time.Second) })
	run.phase("killed", true, func() {
		db.kill()
		run.away(2 * time.Second)
		killGroup(restarted.cmd)
		wantKnown(t, restarted, "key-s017", storeName(11, 99))
	})
	run.phase("restarted", false, func() { db.start(t); run.healed(time.Second) })
	run.phase("cut off", true, func() { db.network.pull(t); run.away(4 * time.Second) })
	run.phase("joined again", false, func() { db.network.plug(t); run.healed(time.Second) })
	run.judge()
	db.notices(t, p)
}

// wantKnown starts a proxy and wants the first answers to be those of known
// stores.
func wantKnown(t *testing.T, p *proxy, stores ...string) {
	t.Helper()
	began := time.Now()
	p.start(t)
	p.listening(t)
	for _, store := range stores {
		if a := p.mustAsk(t, store); a.status != http.StatusOK {
			t.Errorf("after a restart with the source away %s got %d %s", store, a.status, a.refusal)
		}
	}
	figure(t, "restarted with the source away: all is known, %.1f s after the start", time.Since(began).Seconds())
}

// notices measures the time from a change to its effect.
func (db *storesDB) notices(t *testing.T, p *proxy) {
	t.Helper()
	var worst time.Duration
	store := storeName(0, 99)
	for n := range 6 {
		zone := zoneName(n % 2)
		db.sql(t, fmt.Sprintf("UPDATE shops SET zone = '%s' WHERE store = '%s'", zone, store))
		began := time.Now()
		eventually(t, 5*time.Second, "the store has moved", func() bool { return p.zoneOfStore(t, store) == zone })
		worst = max(worst, time.Since(began))
	}
	figure(t, "a change is seen within %s", ms(worst))
	promise(t, worst <= time.Second, worst <= 3*time.Second, "a change was seen after %s", worst)
}

// refusesBroken: a table with one wrong row, or with none, changes nothing.
func (db *storesDB) refusesBroken(t *testing.T, p *proxy) {
	t.Helper()
	for name, sql := range map[string]string{
		"a wrong zone": "UPDATE shops SET zone = 'zone 1' WHERE store = 's0101'; INSERT INTO shops VALUES ('fresh', 'z01')",
		"a key twice":  "UPDATE shops SET keys = ARRAY['s0102'] WHERE store = 's0101'; INSERT INTO shops VALUES ('fresh', 'z01')",
		"no row":       "CREATE TABLE kept AS SELECT * FROM shops; DELETE FROM shops",
	} {
		db.sql(t, sql)
		time.Sleep(500 * time.Millisecond)
		if got := p.zoneOfStore(t, "fresh"); got != "" {
			t.Errorf("%s: the table is in force", name)
		}
		if got := p.zoneOfStore(t, "s0101"); got != "z01" {
			t.Errorf("%s: s0101 lives in %q", name, got)
		}
		if strings.HasPrefix(sql, "CREATE") {
			db.sql(t, "INSERT INTO shops SELECT * FROM kept; DROP TABLE kept")
			continue
		}
		db.sql(t, "DELETE FROM shops WHERE store = 'fresh'; UPDATE shops SET zone = 'z01', keys = NULL WHERE store = 's0101'")
	}
}

// lookupService runs testdata/lookup.py.
type lookupService struct {
	addr string
	cmd  *exec.Cmd
}

func (s *lookupService) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", "testdata/lookup.py", s.addr, world.storesCSV)
	logTo(t, cmd, "lookup.log")
	if err := as(cmd, "root"); err != nil {
		t.Fatal(err)
	}
	if err := startBehind(cmd); err != nil {
		t.Fatal(err)
	}
	s.cmd = cmd
	t.Cleanup(func() { killGroup(cmd) })
	eventually(t, 10*time.Second, "the lookup service listens", func() bool { return listens(s.addr) })
}

// TestHTTPDirectory freezes and kills the lookup service under load: no request
// of a known store is lost or slowed down, and new stores wait no longer than
// the timeout, then not at all.
func TestHTTPDirectory(t *testing.T) {
	t.Parallel()
	service := &lookupService{addr: freeAddr(t)}
	service.start(t)
	pool := gunicorn(t)
	source := fmt.Sprintf("http http://%s/stores/{key} {\n\t\t\tttl 3s\n\t\t\ttimeout 300ms\n\t\t}", service.addr)
	p, beside := startProxy(t, strictSite(pool, source)), startProxy(t, strictSite(pool, ""))
	second := answering("")
	second.source, second.handlers = source, strictly+"\n\trespond ok"
	restarted := startProxy(t, second)
	restarted.mustAsk(t, storeName(3, 3))
	for z := range zones {
		for s := range 5 {
			p.mustAsk(t, storeName(z, s))
		}
	}
	run := driveBeside(t, p, beside)
	run.phase("well", false, func() { time.Sleep(3 * time.Second) })
	run.phase("frozen", true, func() {
		_ = service.cmd.Process.Signal(syscall.SIGSTOP)
		run.away(2 * time.Second)
		wantAtOnce(t, p)
		time.Sleep(2 * time.Second)
	})
	run.phase("continued", false, func() {
		_ = service.cmd.Process.Signal(syscall.SIGCONT)
		run.healed(time.Second)
	})
	run.phase("killed", true, func() {
		killGroup(service.cmd)
		run.away(3 * time.Second)
		restarted.stop(t)
		wantKnown(t, restarted, storeName(3, 3))
	})
	run.phase("restarted", false, func() { service.start(t); run.healed(time.Second) })
	run.judge()
	if a := p.mustAsk(t, storeName(7, 77)); a.status != http.StatusOK {
		t.Errorf("a new store got %d after all", a.status)
	}
}

// wantAtOnce wants stores that no source can be asked for to be refused without a
// wait.
func wantAtOnce(t *testing.T, p *proxy) {
	t.Helper()
	var worst time.Duration
	for s := range 20 {
		began := time.Now()
		if a := p.mustAsk(t, storeName(5, 50+s)); a.refusal != "unknown_store" {
			t.Errorf("a store that no source can be asked for got %d %s", a.status, a.refusal)
		}
		worst = max(worst, time.Since(began))
	}
	figure(t, "with the service known to be down a new store is answered within %s", ms(worst))
	promise(t, worst < 50*time.Millisecond, worst < 300*time.Millisecond, "it took %s", worst)
}

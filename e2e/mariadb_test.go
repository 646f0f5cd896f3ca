//go:build e2e

package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// maria is a MariaDB with the stores of the sick zone.
type maria struct {
	addr string
	dir  string
}

// startMaria starts it.
func startMaria(t *testing.T, more ...string) *maria {
	t.Helper()
	m := &maria{addr: freeAddr(t), dir: t.TempDir()}
	data := filepath.Join(m.dir, "data")
	install := exec.Command("mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v: %s", err, out)
	}
	_, port, _ := strings.Cut(m.addr, ":")
	server := exec.Command("mariadbd", append([]string{
		"--no-defaults", "--user=root", "--datadir=" + data, "--socket=" + filepath.Join(m.dir, "s"), "--port=" + port,
		"--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0",
	}, more...)...)
	logTo(t, server, "mariadbd.log")
	if err := as(server, "root"); err != nil {
		t.Fatal(err)
	}
	if err := startBehind(server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	eventually(t, 30*time.Second, "MariaDB answers", func() bool { return m.client("-e", "SELECT 1").Run() == nil })
	fill := fmt.Sprintf(`CREATE DATABASE shop; CREATE TABLE shop.stores(id varchar(20) PRIMARY KEY, v text);
		INSERT INTO shop.stores SELECT CONCAT('%s', LPAD(seq, 2, '0')), 'x' FROM mysql.seq_0_to_%d;
		CREATE USER app; GRANT ALL ON shop.* TO app;
		CREATE USER firebreak IDENTIFIED BY 'secret'; GRANT PROCESS ON *.* TO firebreak; GRANT SELECT ON shop.stores TO firebreak`,
		strings.TrimSuffix(storeName(sickZone, 0), "00"), storesPerZone-1)
	if out, err := m.client("-e", fill).CombinedOutput(); err != nil {
		t.Fatalf("filling MariaDB: %v: %s", err, out)
	}
	return m
}

func (m *maria) client(args ...string) *exec.Cmd {
	return exec.Command("mariadb", append([]string{"--no-defaults", "-u", "root", "-S", filepath.Join(m.dir, "s"), "-N", "-n"}, args...)...)
}

// lockRows locks the rows of stores in one session, until release is called.
func (m *maria) lockRows(t *testing.T, stores []string) (release func()) {
	t.Helper()
	client := m.client("shop")
	stdin, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		stdin.Close()
		_ = client.Wait()
	})
	t.Cleanup(release)
	fmt.Fprintln(stdin, "BEGIN;")
	for _, store := range stores { // a range would lock the row behind it, too
		fmt.Fprintf(stdin, "UPDATE stores SET v = 'y' WHERE id = '%s';\n", store)
	}
	fmt.Fprintln(stdin, "SELECT 'locked';")
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatalf("locking %d rows: got %q, %v", len(stores), line, err)
	}
	go io.Copy(io.Discard, stdout)
	return release
}

// TestMariaDBNamesCulprits: the tags of PyMySQL behind gunicorn, and of PDO behind
// PHP-FPM, name the stores whose rows are locked.
func TestMariaDBNamesCulprits(t *testing.T) {
	m := startMaria(t)
	t.Setenv("MARIADB", m.addr)
	root, err := filepath.Abs(filepath.Join("testdata", "mariadb"))
	if err != nil {
		t.Fatal(err)
	}
	zone := fmt.Sprintf("}\nzone %s {\ncheck mysql mysql://firebreak:secret@%s/shop {\nstore_in comment\n}", zoneName(sickZone), m.addr)
	t.Run("gunicorn", func(t *testing.T) {
		pool := gunicornAt(t, freeAddr(t), "shop:application", workers, "PYTHONPATH="+root, "CONNECT_EARLY=")
		m.play(t, pool, startProxy(t, gunicornSite(pool, zone)), "/search")
	})
	t.Run("PHP-FPM", func(t *testing.T) {
		if _, err := os.Stat("/usr/lib/php"); err != nil {
			t.Fatal("PHP is not installed (apt-get install php-fpm php-mysql)")
		}
		pool := fpm(t, 0)
		p := startProxy(t, site{pool: workers, zone: zone, handlers: fmt.Sprintf(`
	root %s%s
	reverse_proxy %s {
		transport firebreak fastcgi {
			root %s
			split .php
		}
	}`, root, guard, pool.addr, root)})
		m.play(t, pool, p, "/shop.php")
	})
}

// play locks six stores of a hundred.
func (m *maria) play(t *testing.T, pool *pool, p *proxy, path string) {
	const culprits = 6
	names, sick := []string(nil), map[string]bool{}
	for i := range culprits {
		names = append(names, storeName(sickZone, 5+i*16))
		sick[storeName(sickZone, 5+i*16)] = true
	}
	plan := everyday(p, path, 30*time.Second)
	plan.Rate = 100
	plan.Pick = func(n int) load.Target {
		return shoppers{proxy: p.addr, path: path}.target(sickZone, n*37%storesPerZone, false)
	}
	seen := p.watch(t)
	tr := drive(t, plan)
	tr.sleepUntil(2 * time.Second)
	broke, brokeAt := time.Now(), tr.now()
	release := m.lockRows(t, names)
	tr.sleepUntil(brokeAt + 2500*time.Millisecond)
	var status struct {
		Trouble  string `json:"database_trouble"`
		Blockers []struct{ PID, Blocks int }
	}
	p.get(t, "/firebreak/zones/"+zoneName(sickZone), &status)
	tr.sleepUntil(brokeAt + 4500*time.Millisecond)
	until := tr.now()
	stuck := worstOf(pool.busy.between(broke, time.Now()), names)
	tr.stop()
	release()
	rs := tr.wait(t)
	innocents := ofStores(due(rs, brokeAt, until-timeout), sick, false)
	named, last := 0, time.Duration(0)
	for store, q := range seen.quarantines(zoneName(sickZone), broke) {
		if !sick[store] {
			t.Errorf("innocent store %s was in quarantine", store)
			continue
		}
		named, last = named+1, max(last, q.first)
	}
	figure(t, "%d of %d named, the last after %.1f s; %d workers stuck at worst; innocents %.2f %% ok of %d; blockers %+v",
		named, culprits, last.Seconds(), stuck, load.OKPercent(innocents), len(innocents), status.Blockers)
	if named != culprits || stuck > culprits || len(status.Blockers) != 1 || status.Trouble != "" {
		t.Errorf("%d of %d named, %d workers stuck; %+v", named, culprits, stuck, status)
	}
	promise(t, last <= 3*time.Second, last <= 4*time.Second, "the last was named after %s", last)
	wantOK(t, "innocents", innocents, 99.5)
}

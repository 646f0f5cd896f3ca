//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// zones is the number of zone databases, storesPerZone that of stores in each,
// workers the size of every pool.
const (
	zones         = 12
	storesPerZone = 100
	workers       = 32
)

// world is what all tests share: the databases and the files that describe
// them to the API servers and to firebreak.
var world struct {
	firebreak string // the binary
	dir       string // temporary, readable by everyone
	databases []*database
	storesCSV string
	zonesCSV  string
}

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	if err := requirePrograms(); err != nil {
		return 1, err
	}
	if world.firebreak, err = binary(); err != nil {
		return 1, err
	}
	if world.dir, err = os.MkdirTemp("", "firebreak-e2e-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(world.dir)
	// The databases and PHP run as users of their own.
	if err := os.Chmod(world.dir, 0o755); err != nil {
		return 1, err
	}
	began := time.Now()
	world.databases, err = startDatabases(filepath.Join(world.dir, "databases"))
	defer stopDatabases(world.databases)
	if err != nil {
		return 1, err
	}
	if err := writeTables(); err != nil {
		return 1, err
	}
	fmt.Printf("%d PostgreSQL zones started in %.1f s\n", zones, time.Since(began).Seconds())
	return m.Run(), nil
}

// requirePrograms fails with the line that installs what is missing.
func requirePrograms() error {
	packages := map[string]string{
		"/usr/bin/python3":  "python3-psycopg2",
		"gunicorn":          "gunicorn",
		"psql":              "postgresql-client",
		phpFPM():            "php-fpm php-pgsql php-mysql",
		"wrk":               "wrk",
		"h2load":            "nghttp2-client",
		"prometheus":        "prometheus",
		"promtool":          "prometheus",
		"amtool":            "prometheus-alertmanager",
		"curl":              "curl",
		pgProgram("initdb"): "postgresql",
		"redis-server":      "redis-server",
		"ip":                "iproute2",
		"chromium":          "chromium",
		"sudo":              "sudo",
		"systemd-analyze":   "systemd",
		"/usr/sbin/sshd":    "openssh-server",
		"ssh":               "openssh-client",
		"node":              "nodejs node-express",
	}
	for program, deb := range packages {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: apt-get install -y gunicorn python3-psycopg2 postgresql "+
				"php-fpm php-pgsql php-mysql python3-pymysql wrk nghttp2-client prometheus prometheus-alertmanager chromium curl redis-server iproute2 sudo systemd openssh-server openssh-client nodejs node-express python3-flask python3-django (it comes with %s)", program, deb)
		}
	}
	for module, deb := range map[string]string{"psycopg2": "python3-psycopg2", "flask": "python3-flask", "django": "python3-django"} {
		if out, err := exec.Command("/usr/bin/python3", "-c", "import "+module).CombinedOutput(); err != nil {
			return fmt.Errorf("python has no %s: apt-get install -y %s (%s)", module, deb, out)
		}
	}
	if _, err := os.Stat("/usr/share/nodejs/express"); err != nil {
		return fmt.Errorf("node has no express: apt-get install -y node-express (%w)", err)
	}
	return nil
}

// writeTables writes the CSV files that say where the stores and zones are.
func writeTables() error {
	stores, dsns := "store,zone\n", "zone,dsn\n"
	for z, db := range world.databases {
		dsns += db.zone + "," + db.dsn() + "\n"
		for s := range storesPerZone {
			stores += storeName(z, s) + "," + db.zone + "\n"
		}
	}
	world.storesCSV = filepath.Join(world.dir, "stores.csv")
	world.zonesCSV = filepath.Join(world.dir, "zones.csv")
	if err := os.WriteFile(world.storesCSV, []byte(stores), 0o644); err != nil {
		return err
	}
	return os.WriteFile(world.zonesCSV, []byte(dsns), 0o644)
}

func zoneName(z int) string { return fmt.Sprintf("z%02d", z+1) }

// storeName names the s-th store of the z-th zone, both counted from 0.
func storeName(z, s int) string { return fmt.Sprintf("s%02d%02d", z+1, s) }

// figure prints what a test found.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	fmt.Printf("FIGURE %s: %s\n", t.Name(), fmt.Sprintf(format, args...))
}

//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

// database is one zone: a PostgreSQL cluster with its own postmaster.
type database struct {
	zone   string
	dir    string
	port   int
	server *exec.Cmd
}

// dbUser owns the databases: PostgreSQL refuses to run as root.
const dbUser = "postgres"

// Small, fast and without any durability: nothing here outlives the tests.
// Without the connection check the backend of a killed worker would wait for
// its row lock until the lock is free, and use up max_connections.
const dbConfig = `
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
port = %d
max_connections = 200
client_connection_check_interval = 2s
shared_buffers = 4MB
dynamic_shared_memory_type = posix
wal_level = minimal
max_wal_senders = 0
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
jit = off
`

func pgProgram(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return name
	}
	return slices.Max(found)
}

func (d *database) dsn() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable gssencmode=disable", d.port, dbUser)
}

// startDatabases makes one cluster, copies it for every zone and starts all.
// It returns those that were started also when it fails.
func startDatabases(dir string) ([]*database, error) {
	ports, err := loopback.Ports(zones)
	if err != nil {
		return nil, err
	}
	first := filepath.Join(dir, zoneName(0))
	if err := initCluster(dir, first); err != nil {
		return nil, err
	}
	all := make([]*database, zones)
	for z := range all {
		all[z] = &database{zone: zoneName(z), dir: filepath.Join(dir, zoneName(z)), port: ports[z]}
		if z > 0 {
			if out, err := exec.Command("cp", "-a", first, all[z].dir).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("copying a database: %w: %s", err, out)
			}
		}
	}
	failures := make(chan error, zones)
	for z, d := range all {
		go func() { failures <- d.start(z) }()
	}
	var failed error
	for range all {
		if err := <-failures; err != nil {
			failed = err
		}
	}
	return all, failed
}

func initCluster(parent, dir string) error {
	if err := os.Mkdir(parent, 0o755); err != nil {
		return err
	}
	initdb := exec.Command(pgProgram("initdb"), "-D", dir, "-U", dbUser,
		"-A", "trust", "-N", "--locale=C", "--no-instructions")
	if err := as(initdb, dbUser); err != nil {
		return err
	}
	if attr := initdb.SysProcAttr.Credential; attr != nil {
		if err := os.Chown(parent, int(attr.Uid), int(attr.Gid)); err != nil {
			return err
		}
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// start runs the server and fills in the stores of the z-th zone.
func (d *database) start(z int) error {
	conf, err := os.OpenFile(filepath.Join(d.dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(conf, dbConfig, d.port)
	if err := conf.Close(); err != nil {
		return err
	}
	if err := d.run(); err != nil {
		return err
	}
	return d.fill(z)
}

// run starts the server's process.
func (d *database) run() error {
	logs, err := os.OpenFile(d.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logs.Close()
	d.server = exec.Command(pgProgram("postgres"), "-D", d.dir)
	d.server.Stdout, d.server.Stderr = logs, logs
	if err := as(d.server, dbUser); err != nil {
		return err
	}
	if err := startBehind(d.server); err != nil {
		return fmt.Errorf("starting postgres: %w", err)
	}
	return nil
}

// shutDown ends the server: from then on its port refuses connections.
func (d *database) shutDown(t *testing.T) {
	t.Helper()
	if err := d.server.Process.Signal(syscall.SIGINT); err != nil { // "fast": clients are not waited for
		t.Fatal(err)
	}
	_ = d.server.Wait()
}

// startUp starts a server that was shut down, and waits until it answers queries.
func (d *database) startUp(t *testing.T) {
	t.Helper()
	if err := d.run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, d.zone+" answers queries", func() bool {
		return listens(fmt.Sprintf("127.0.0.1:%d", d.port)) && d.psql("-c", "SELECT 1").Run() == nil
	})
}

func (d *database) fill(z int) error {
	create := fmt.Sprintf(`CREATE TABLE stores(id text PRIMARY KEY, v text, cost float DEFAULT 0);
		INSERT INTO stores SELECT 's%02d' || lpad(n::text, 2, '0'), repeat('x', 200), 0
		FROM generate_series(0, %d) n; ANALYZE stores;`, z+1, storesPerZone-1)
	var out []byte
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		out, err = d.psql("-c", create).CombinedOutput()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("filling %s: %w: %s%s", d.zone, err, out, tail(d.dir+".log", 20))
}

// psql is a client of the zone, not yet started.
func (d *database) psql(args ...string) *exec.Cmd {
	return exec.Command("psql", append([]string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", d.dsn()}, args...)...)
}

// setCost sets how long a search takes in a store, or in all ("%").
func (d *database) setCost(t *testing.T, store string, cost time.Duration) {
	t.Helper()
	set := fmt.Sprintf("UPDATE stores SET cost = %g WHERE id LIKE '%s'", cost.Seconds(), store)
	if out, err := d.psql("-c", set).CombinedOutput(); err != nil {
		t.Fatalf("setting the cost in %s: %v: %s", d.zone, err, out)
	}
}

// signal sends sig to the postmaster and to every process it forked. Each of
// them leads a session of its own, so there is no group to send it to.
func (d *database) signal(sig syscall.Signal) {
	pid := d.server.Process.Pid
	// The parent first: what does not run forks no more children.
	_ = syscall.Kill(pid, sig)
	for _, child := range children(pid) {
		_ = syscall.Kill(child, sig)
	}
}

// freeze makes the zone hang the way a host without power does: connections
// are still taken by the kernel, but not answered.
func (d *database) freeze() { d.signal(syscall.SIGSTOP) }

// heal ends a freeze. Healing a zone that is well does nothing.
func (d *database) heal() { d.signal(syscall.SIGCONT) }

func stopDatabases(all []*database) {
	var stopping sync.WaitGroup
	for _, d := range all {
		if d == nil || d.server == nil || d.server.Process == nil {
			continue
		}
		stopping.Go(func() {
			d.signal(syscall.SIGKILL)
			_ = d.server.Wait()
		})
	}
	stopping.Wait()
}

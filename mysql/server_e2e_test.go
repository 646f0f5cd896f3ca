//go:build e2e

package mysql_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/firebreak-proxy/firebreak/config"
)

// server is a MariaDB of the test's own, with 100 stores in shop.stores and a role
// that may do what the documentation says and no more.
type server struct {
	address string
	root    *sql.DB
	process *exec.Cmd
}

// startServer starts a MariaDB.
func startServer(t *testing.T, more ...string) *server {
	t.Helper()
	dir := t.TempDir()
	install := exec.Command("mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+filepath.Join(dir, "data"),
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v (apt-get install mariadb-server)\n%s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: listener.Addr().String()}
	listener.Close()
	_, port, _ := net.SplitHostPort(s.address)
	s.process = exec.Command("mariadbd", append([]string{
		"--no-defaults", "--user=root", "--datadir=" + filepath.Join(dir, "data"), "--socket=" + filepath.Join(dir, "s"), "--port=" + port,
		"--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--max-connections=200",
	}, more...)...)
	var log bytes.Buffer
	s.process.Stdout, s.process.Stderr = &log, &log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	s.root = s.open(t, "root")
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = s.root.PingContext(t.Context()); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("MariaDB does not answer: %v\n%s", err, log.String())
		}
	}
	s.run(t, "CREATE DATABASE shop", "CREATE TABLE shop.stores(id varchar(20) PRIMARY KEY, v text)",
		"INSERT INTO shop.stores SELECT CONCAT('s', LPAD(seq, 4, '0')), 'x' FROM mysql.seq_0_to_99",
		"CREATE USER app", "GRANT ALL ON shop.* TO app",
		"CREATE USER firebreak IDENTIFIED BY 'secret'", "GRANT PROCESS ON *.* TO firebreak", "GRANT SELECT ON shop.stores TO firebreak")
	return s
}

func (s *server) open(t *testing.T, user string) *sql.DB {
	t.Helper()
	c := driver.NewConfig()
	c.Net, c.Addr, c.User, c.InterpolateParams, c.Logger = "tcp", s.address, user, true, &driver.NopLogger{}
	connector, err := driver.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (s *server) run(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := s.root.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// lock locks the first n stores in one session, until the function is called.
func (s *server) lock(t *testing.T, n int) (unlock func()) {
	t.Helper()
	tx, err := s.open(t, "root").BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for store := range n { // a range would lock the row behind it, too
		if _, err := tx.ExecContext(t.Context(), "UPDATE shop.stores SET v = 'secret' WHERE id = ?", storeName(store)); err != nil {
			t.Fatal(err)
		}
	}
	return func() { _ = tx.Rollback() }
}

func (s *server) signal(sig syscall.Signal) { _ = s.process.Process.Signal(sig) }

// check is a check of the server.
func (s *server) check(user string) *config.Check {
	return &config.Check{
		Protocol: "mysql", Address: "mysql://" + user + "@" + s.address + "/shop",
		Every: config.Duration(time.Second), Timeout: config.Duration(time.Second),
	}
}

func storeName(n int) string { return fmt.Sprintf("s%04d", n) }

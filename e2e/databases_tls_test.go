//go:build e2e

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// authority makes a certificate authority, and with it a certificate for a server on
// 127.0.0.1.
func authority(t *testing.T, dir, name string) {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "database"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyText, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, data []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	data, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	write(name+".pem", "CERTIFICATE", data, err)
	data, err = x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	write(name+"-server.pem", "CERTIFICATE", data, err)
	write(name+"-server.key", "PRIVATE KEY", keyText, nil)
}

// useTLS makes the server take connections with TLS, with files of dir.
func (d *database) useTLS(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for _, name := range []string{"ours-server.pem", "ours-server.key"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(d.dir, name), data, 0o600)
		}
		if err == nil && os.Geteuid() == 0 {
			err = os.Chown(filepath.Join(d.dir, name), int(owner.Uid), int(owner.Gid))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run := func(statements ...string) {
		for _, statement := range statements {
			if out, err := d.psql("-c", statement).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", statement, err, out)
			}
		}
	}
	t.Cleanup(func() { run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()") })
	run("ALTER SYSTEM SET ssl_cert_file = 'ours-server.pem'", "ALTER SYSTEM SET ssl_key_file = 'ours-server.key'", "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
}

// TestDatabaseOverTLS: a database whose certificate is not of the given authority, or
// is for another host, is not asked, with a warning, and requests are served.
func TestDatabaseOverTLS(t *testing.T) {
	dir := t.TempDir()
	authority(t, dir, "ours")
	authority(t, dir, "other")
	db := world.databases[sickZone]
	db.useTLS(t, dir)
	m := startMaria(t, "--ssl-cert="+filepath.Join(dir, "ours-server.pem"), "--ssl-key="+filepath.Join(dir, "ours-server.key"))
	if out, err := m.client("-e", "ALTER USER firebreak REQUIRE SSL").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, port, _ := strings.Cut(m.addr, ":")
	postgres := func(host, ca string) string {
		return fmt.Sprintf("postgres \"host=%s port=%d user=%s dbname=postgres sslmode=verify-full sslrootcert=%s\"", host, db.port, dbUser, filepath.Join(dir, ca))
	}
	mysql := func(host, ca string) string {
		return fmt.Sprintf("mysql mysql://firebreak:secret@%s:%s/shop?tls_ca=%s", host, port, filepath.Join(dir, ca))
	}
	checks := []struct{ check, want string }{
		{postgres("127.0.0.1", "ours.pem"), ""},
		{postgres("127.0.0.1", "other.pem"), "unknown authority"},
		{postgres("localhost", "ours.pem"), "match localhost"},
		{mysql("127.0.0.1", "ours.pem"), ""},
		{mysql("127.0.0.1", "other.pem"), "unknown authority"},
		{mysql("localhost", "ours.pem"), "match localhost"},
	}
	var zones strings.Builder
	for z, c := range checks {
		fmt.Fprintf(&zones, "}\nzone %s {\ncheck %s {\nevery 1s\nstore_in comment\n}\n", zoneName(z), c.check)
	}
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, zones.String()))
	for z, c := range checks {
		if a, err := p.ask(storeName(z, 1)); err != nil || a.status != http.StatusOK {
			t.Errorf("%s: %+v, %v", c.check, a, err)
		}
	}
	trouble := func(z int) string {
		var status struct {
			Trouble string `json:"database_trouble"`
		}
		p.get(t, "/firebreak/zones/"+zoneName(z), &status)
		return status.Trouble
	}
	time.Sleep(1500 * time.Millisecond) // every database was asked
	log, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	for z, c := range checks {
		said := trouble(z)
		if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%s: the trouble is %q, want %q", c.check, said, c.want)
		}
		warned := false
		for line := range strings.Lines(string(log)) {
			warned = warned || strings.Contains(line, "cannot be asked") && strings.Contains(line, `"zone":"`+zoneName(z)+`"`)
		}
		if warned != (c.want != "") {
			t.Errorf("%s: warned %v", c.check, warned)
		}
	}
	figure(t, "another authority: %s; another host: %s; %s; %s", trouble(1), trouble(2), trouble(4), trouble(5))
	out, err := db.psql("-A", "-t", "-c", "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'firebreak'").Output()
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("connections of firebreak with TLS: %q, %v", out, err)
	}
}

//go:build e2e

package mysql_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/mysql"
)

// TestDirectory: a table of a real MariaDB, its changes, what is refused, and a
// database that is frozen and comes back.
func TestDirectory(t *testing.T) {
	s := startServer(t)
	s.run(t, "CREATE TABLE shop.places(store varchar(64) PRIMARY KEY, zone varchar(64) NOT NULL, `keys` json, large longtext, updated_at timestamp(6) NOT NULL DEFAULT NOW(6) ON UPDATE NOW(6))",
		`INSERT INTO shop.places(store, zone, `+"`keys`"+`) VALUES ('s1', 'z1', '["k1", 17]'), ('s2', 'z2', NULL)`,
		"GRANT SELECT ON shop.places TO firebreak")
	soon := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within 20 s: %s", what)
			}
		}
	}
	options := &mysql.Directory{
		DSN: s.check("firebreak:secret").Address, Table: "places", Version: "updated_at",
		Poll: config.Duration(100 * time.Millisecond), Timeout: config.Duration(2 * time.Second),
	}
	snapshot := filepath.Join(t.TempDir(), "stores.csv")
	d, stop := mysql.RunDirectory(t, options, snapshot)
	zoneOf := func(key string) string { r, _ := d.Lookup(key); return r.Zone }
	soon("the table is read", func() bool {
		return d.Len() == 2 && zoneOf("k1") == "z1" && zoneOf("17") == "z1" && zoneOf("s2") == "z2"
	})
	s.run(t, "UPDATE shop.places SET zone = 'z3' WHERE store = 's2'")
	soon("a change is seen", func() bool { return zoneOf("s2") == "z3" })
	s.run(t, "DELETE FROM shop.places WHERE store = 's1'")
	soon("a row that is gone is seen", func() bool { return d.Len() == 1 })
	for statement, why := range map[string]string{
		"UPDATE shop.places SET zone = 'z 3'": `zone "z 3"`,
		"DELETE FROM shop.places":             "there are no rows, but 1 stores before",
	} {
		s.run(t, statement)
		soon("it is told: "+why, func() bool { return strings.Contains(d.Told(), why) })
		if zoneOf("s2") != "z3" {
			t.Error("a table that was refused is in force")
		}
		s.run(t, "REPLACE INTO shop.places(store, zone) VALUES ('s2', 'z3')")
	}
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	soon("the freeze is noticed", func() bool { return d.Report().Down })
	if zoneOf("s2") != "z3" {
		t.Error("the table is gone with the database")
	}
	stop()
	d, _ = mysql.RunDirectory(t, options, snapshot)
	if zoneOf("s2") != "z3" {
		t.Error("the table is not there after a restart")
	}
	s.signal(syscall.SIGCONT)
	s.run(t, "INSERT INTO shop.places(store, zone) VALUES ('s4', 'z4')")
	soon("a change after the thaw is seen", func() bool { return zoneOf("s4") == "z4" })
	options.Table, options.Query = "", "SELECT store, zone, updated_at FROM places WHERE store = 's4'"
	d, _ = mysql.RunDirectory(t, options, "")
	soon("a query is read", func() bool { return d.Len() == 1 && zoneOf("s4") == "z4" })
	options.Query = "SELECT store, updated_at FROM places"
	d, _ = mysql.RunDirectory(t, options, "")
	soon("a column that is missing is told", func() bool { return strings.Contains(d.Told(), "the columns are store, updated_at") })
}

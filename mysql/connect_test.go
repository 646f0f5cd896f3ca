package mysql

import (
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	for address, want := range map[string]string{
		"mysql://firebreak:se%2Fcret@db7/shop":                 "tcp db7:3306 firebreak se/cret shop",
		"mariadb://firebreak@[::1]:3307/shop":                  "tcp [::1]:3307 firebreak  shop",
		"firebreak@unix(/run/mysqld/mysqld.sock)/shop":         "unix /run/mysqld/mysqld.sock firebreak  shop",
		"firebreak:secret@tcp(db7)/shop?timeout=1s":            "tcp db7:3306 firebreak secret shop",
		"mysql://firebreak:canary@db7:x/shop":                  "error: no URL",
		"postgres://firebreak:canary@db7/shop":                 "error: no URL",
		"firebreak:canary@db7":                                 "error: neither",
		"mysql://u:canary@db7/shop?tls=sometimes":              "error: sometimes",
		"mysql://u:canary@db7/shop?tls_ca=/nowhere/ca.pem":     "error: tls_ca",
		"mysql://u:canary@db7/shop?tls_ca=/dev/null":           "error: no certificate",
		"mysql://u:canary@db7/shop?tls_cert=/nowhere/cert.pem": "error: tls_cert",
	} {
		c, err := Config(address)
		if why, bad := strings.CutPrefix(want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v, want %q", address, err, why)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if got := strings.Join([]string{c.Net, c.Addr, c.User, c.Passwd, c.DBName}, " "); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

package caddymodule_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/caddymodule"
)

// person is an operator with a certificate.
type person struct {
	certificate tls.Certificate
	der         string // base64, as Caddy wants it
}

func newPerson(t *testing.T, name string) person {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return person{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.StdEncoding.EncodeToString(der)}
}

// TestRemoteAdmin lets people in from afar by path and method.
func TestRemoteAdmin(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", caddymodule.TempHome(t))
	t.Setenv("XDG_CONFIG_HOME", caddymodule.TempHome(t))
	watcher, operator, stranger := newPerson(t, "watcher"), newPerson(t, "operator"), newPerson(t, "stranger")
	remote := freeAddress(t)
	config := fmt.Sprintf(`{
	"admin": {
		"listen": %q,
		"config": {"persist": false},
		"identity": {"identifiers": ["localhost"], "issuers": [{"module": "internal"}]},
		"remote": {
			"listen": %q,
			"access_control": [
				{"public_keys": [%q], "permissions": [{"paths": ["/firebreak/"], "methods": ["GET"]}]},
				{"public_keys": [%q], "permissions": [
					{"paths": ["/firebreak/"], "methods": ["GET"]},
					{"paths": ["/firebreak/maintenance/"], "methods": ["PUT", "DELETE", "POST"]}
				]}
			]
		}
	},
	"storage": {"module": "file_system", "root": %q},
	"apps": {
		"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
		"firebreak": {"workers": 32, "directory": {"source": "hash", "zones": ["z1", "z2"]}}
	}
}`, freeAddress(t), remote, watcher.der, operator.der, caddymodule.TempHome(t))
	t.Cleanup(func() { _ = caddy.Stop() })
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	ask := func(who person, method, path, body string) (int, error) {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", Certificates: []tls.Certificate{who.certificate}}, //nolint:gosec // its certificate is of an authority made for this test
		}}
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+remote+path, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(res.Body)
		if res.StatusCode == http.StatusOK && !json.Valid(answer) {
			t.Errorf("%s %s: no JSON: %s", method, path, answer)
		}
		return res.StatusCode, nil
	}
	eventuallyOr(t, func() string { // the certificate is issued in the background
		if _, err := ask(watcher, http.MethodGet, "/firebreak/status", ""); err != nil {
			return err.Error()
		}
		return ""
	})
	tests := []struct {
		name   string
		who    person
		method string
		path   string
		want   int
	}{
		{"watcher reads", watcher, http.MethodGet, "/firebreak/status", 200},
		{"watcher reads one zone", watcher, http.MethodGet, "/firebreak/zones/z1", 200},
		{"watcher cannot switch", watcher, http.MethodPut, "/firebreak/maintenance/zones/z1", 403},
		{"watcher cannot hold", watcher, http.MethodPost, "/firebreak/zones/z1/isolate", 403},
		{"watcher cannot read the configuration", watcher, http.MethodGet, "/config/", 403},
		{"operator switches", operator, http.MethodPut, "/firebreak/maintenance/zones/z1", 201},
		{"operator switches many", operator, http.MethodPost, "/firebreak/maintenance/batch", 200},
		{"operator takes it back", operator, http.MethodDelete, "/firebreak/maintenance/zones/z1", 200},
		{"operator reads", operator, http.MethodGet, "/firebreak/maintenance/history", 200},
		{"operator cannot hold", operator, http.MethodPost, "/firebreak/zones/z1/isolate", 403},
		{"no way around by dots", operator, http.MethodPost, "/firebreak/maintenance/../zones/z1/isolate", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := ""
			if tt.path == "/firebreak/maintenance/batch" {
				body = `{"action": "on", "zones": ["z2"]}`
			}
			if got, err := ask(tt.who, tt.method, tt.path, body); err != nil || got != tt.want {
				t.Errorf("status %d, %v; want %d", got, err, tt.want)
			}
		})
	}
	if status, err := ask(stranger, http.MethodGet, "/firebreak/status", ""); err == nil && status == http.StatusOK {
		t.Error("a stranger was let in")
	}
}

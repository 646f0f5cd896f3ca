package bypass_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/maintenance/bypass"
)

const secret = "0123456789abcdef"

func TestParse(t *testing.T) {
	for line, want := range map[string]string{ // in the error; "": none
		"client_ip 10.0.0.0/8 192.0.2.7":                                     "",
		"client_ip private_ranges header Proxy-Authorization " + secret:      "",
		"header proxy-authorization {env.BYPASS_SECRET}":                     "",
		"client_ip header Proxy-Authorization " + secret:                     "needs at least one range",
		"client_ip 10.0.0.0/8 client_ip 192.0.2.7":                           "is no range",
		"client_ip 300.0.0.0/8":                                              "is no range",
		"header Proxy-Authorization":                                         "needs a name and a secret",
		"header X-Bypass " + secret:                                          "it must be Proxy-Authorization",
		"header Proxy-Authorization short":                                   "at least 16",
		"header Proxy-Authorization " + secret + " header X-Other " + secret: "specified twice",
		"header_up Proxy-Authorization":                                      "unrecognized",
	} {
		_, err := bypass.Parse(strings.Fields(line))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", line, err, want)
		}
	}
}

// request is a request from a client's address.
func request(t *testing.T, client string) *http.Request {
	t.Helper()
	vars := map[string]any{caddyhttp.ClientIPVarKey: client}
	r, err := http.NewRequestWithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, vars), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAllow: one rule is enough, and all conditions of a rule must hold.
func TestAllow(t *testing.T) {
	rules, err := bypass.New([]bypass.Bypass{
		{ClientIP: []string{"192.0.2.0/24"}},
		{ClientIP: []string{"10.0.0.0/8"}, Header: "Proxy-Authorization", Secret: secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		client, secret string
		want           bool
	}{
		{"192.0.2.7", "", true},
		{"::ffff:192.0.2.7", "", true},
		{"10.1.2.3", secret, true},
		{"10.1.2.3", "", false},
		{"10.1.2.3", secret + "0", false},
		{"198.51.100.1", secret, false},
		{"", secret, false},
	} {
		if got := rules.Allow(request(t, tt.client), tt.secret); got != tt.want {
			t.Errorf("client %s with secret %q: allowed is %t, want %t", tt.client, tt.secret, got, tt.want)
		}
	}
}

func TestTakeSecret(t *testing.T) {
	for value, want := range map[string]string{secret: secret, "Bearer " + secret: secret, "": ""} {
		header := http.Header{"Accept": {"*/*"}}
		if value != "" {
			header.Set("Proxy-Authorization", value)
		}
		if got := bypass.TakeSecret(header); got != want || len(header) != 1 {
			t.Errorf("%q: got %q, want %q; left are %v", value, got, want, header)
		}
	}
}

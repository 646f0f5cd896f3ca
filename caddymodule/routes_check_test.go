package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestProbablyNotMeant wants what loads and protects nothing to be told, with the
// line to write, by validate as well as by run.
func TestProbablyNotMeant(t *testing.T) {
	const (
		key       = "firebreak {\n\tkey query key\n}\n"
		missing   = "a reverse_proxy behind firebreak has another transport"
		alone     = "a reverse_proxy has the transport firebreak and no firebreak handler"
		after     = "firebreak comes after reverse_proxy"
		retry     = "lb_try_duration is not shorter than the timeout"
		lacks     = "a zone has settings, but the directory does not know it"
		nothing   = "no request is guarded"
		transport = "transport firebreak"
		policy    = "reverse_proxy chooses among several API servers"
	)
	several := func(lines string) string {
		return "reverse_proxy localhost:9000 localhost:9001 {\n" + transport + "\n" + lines + "\n}\n"
	}
	proxy := func(lines string) string { return "reverse_proxy localhost:9000 {\n" + lines + "\n}\n" }
	for _, test := range []struct {
		name, app, site string
		want, next      string // of the one warning; "": there is none
	}{
		{"as it should be", "", key + proxy(transport), "", ""},
		{"no proxy", "", key + "respond ok", "", ""},
		{"transport forgotten", "", key + proxy(""), missing, "add to reverse_proxy localhost:9000: transport firebreak"},
		{"transport forgotten in a handle", "", key + "handle /api/* {\n" + proxy("") + "}", missing, "transport firebreak"},
		{"transport forgotten in a named route", "", key + "invoke api", missing, "transport firebreak"},
		{"transport of php_fastcgi", "", "root /srv\n" + key + "php_fastcgi unix//run/php.sock", missing, "transport firebreak fastcgi"},
		{"handler forgotten", "", proxy(transport), alone, "firebreak { key header X-API-Key }"},
		{"handler in another handle", "", "handle /a {\n" + key + proxy(transport) + "}\nhandle {\n" + proxy(transport) + "}", alone, "firebreak { key header X-API-Key }"},
		{"no handler at all", "", "respond ok", nothing, "firebreak { key header X-API-Key }"},
		{"handler after the proxy", "", "route {\n" + proxy(transport) + key + "}", after, "above reverse_proxy"},
		{"handler after a proxy of some requests", "", "route {\nreverse_proxy /health localhost:9001\n" + key + proxy(transport) + "}", "", ""},
		{"forward_auth inside", "", "route {\n" + key + "forward_auth localhost:9010 {\nuri /auth\n}\n" + proxy(transport) + "}", "", ""},
		{"several servers", "", key + several("lb_policy firebreak"), "", ""},
		{"several servers by chance", "", key + several(""), policy, "localhost:9000 localhost:9001: lb_policy firebreak"},
		{"several servers by another policy", "", key + several("lb_policy least_conn"), policy, "lb_policy firebreak (instead of the policy it has)"},
		{"dynamic servers", "", key + "reverse_proxy {\ndynamic a api.internal 9000\n" + transport + "\n}", policy, "add to reverse_proxy dynamic: lb_policy firebreak"},
		{"retries as long as the timeout", "zone * {\ntimeout 2s\n}", key + proxy("lb_try_duration 2s\n"+transport), retry, "lb_try_duration 1s"},
		{"retries shorter than the timeout", "zone * {\ntimeout 2s\n}", key + proxy("lb_try_duration 1s\n"+transport), "", ""},
		{"retries longer than a zone's timeout", "zone z1 {\ntimeout 500ms\n}", key + proxy("lb_try_duration 1s\n"+transport), retry, "lb_try_duration 250ms"},
		{"retries longer than the handler's timeout", "", "firebreak {\nkey query key\ntimeout 1s\n}\n" + proxy("lb_try_duration 3s\n"+transport), retry, "lb_try_duration 500ms"},
		{"a zone that the directory lacks", "zone z11 {\nmode observe\n}", key + "respond ok", lacks, "its zones are z1, z2"},
	} {
		for _, mode := range []string{"validate", "run"} {
			t.Run(test.name+"/"+mode, func(t *testing.T) {
				log := filepath.Join(t.TempDir(), "caddy.log")
				source := fmt.Sprintf("{\nadmin off\npersist_config off\nauto_https off\nstorage file_system %s\nlog {\noutput file %s\nformat json\n}\nfirebreak {\nworkers 32\ndirectory file testdata/stores.csv\n%s\n}\n}\n&(api) {\n%s}\nhttp://%s {\n%s\n}\n",
					t.TempDir(), log, test.app, proxy(""), freeAddress(t), test.site)
				if !strings.Contains(test.site, "invoke") {
					source = strings.Replace(source, "&(api) {\n"+proxy("")+"}\n", "", 1)
				}
				text, err := adapt(source)
				if err != nil {
					t.Fatal(err)
				}
				var cfg caddy.Config
				if err := json.Unmarshal([]byte(text), &cfg); err != nil {
					t.Fatal(err)
				}
				if mode == "validate" {
					err = caddy.Validate(&cfg)
				} else {
					err = caddy.Run(&cfg)
					t.Cleanup(func() { _ = caddy.Stop() })
				}
				if err != nil {
					t.Fatal(err)
				}
				var told []string
				for _, line := range logLines(t, log, "") {
					if line["logger"] == "firebreak" && line["level"] == "warn" {
						told = append(told, fmt.Sprint(line["msg"]))
						if !strings.HasPrefix(fmt.Sprint(line["msg"]), test.want) || !strings.Contains(fmt.Sprint(line["next"]), test.next) {
							t.Errorf("told %v, want %q with next %q", line, test.want, test.next)
						}
					}
				}
				if want := min(len(test.want), 1); len(told) != want {
					t.Errorf("told %q, want %d warnings", told, want)
				}
			})
		}
	}
}

// TestTransportWithoutApp: there is not even a global option.
func TestTransportWithoutApp(t *testing.T) {
	log := filepath.Join(t.TempDir(), "caddy.log")
	text, err := adapt(fmt.Sprintf("{\nadmin off\nlog {\noutput file %s\nformat json\n}\n}\nhttp://localhost:9123 {\nreverse_proxy localhost:9000 {\ntransport firebreak\n}\n}\n", log))
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Fatal(err)
	}
	if lines := logLines(t, log, "a reverse_proxy has the transport firebreak"); len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0]["next"]), "global option firebreak { workers 32 }") {
		t.Errorf("told %v", lines)
	}
}

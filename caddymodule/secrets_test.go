package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Everything secret in the configurations and requests of TestSecretsAreNotLogged
// has this in it, and a number.
const canary = "c4n4ry"

var secret = regexp.MustCompile(canary + `\d*`)

// TestSecretsAreNotLogged runs Caddy with everything logged: debug, access and
// error logs, and the trace of handlers. It uses each thing that has a secret, while
// what it is for answers, refuses or is away.
func TestSecretsAreNotLogged(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	upstream := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for _, found := range secret.FindAllString(fmt.Sprint(r.URL, r.Header), -1) {
			seen[r.URL.Path] = true
			if strings.HasPrefix(r.URL.Path, "/search") {
				t.Errorf("the API server got %s", found)
			}
		}
		switch {
		case strings.HasPrefix(r.URL.Path, "/lookup"):
			fmt.Fprint(w, `{"store": "a", "zone": "z1"}`)
		case r.URL.Path == "/fails":
			w.WriteHeader(500)
		}
	})
	dead := deadAddress(t)
	for name, app := range map[string]string{
		"HTTP": fmt.Sprintf(`
			directory http http://user:%[2]s1@%[1]s/lookup/{key}?token=%[2]s2 {
				header Authorization "Bearer %[2]s3"
				list http://user:%[2]s4@%[1]s/list?token=%[2]s5
				list_every 100ms
				zones z1 z2
			}
			zone z1 {
				check http http://user:%[2]s6@%[1]s/fails?token=%[2]s7 {
					every 100ms
				}
			}
			check GET /check?key={store}&token=%[2]s8 {
				to %[1]s
				header Authorization "Bearer %[2]s9"
			}`, upstream, canary),
		"all away": fmt.Sprintf(`
			directory postgres postgres://user:%[2]s10@%[1]s/shop {
				table stores
				refresh 100ms
			}
			zone z1 {
				check postgres postgres://user:%[2]s11@%[1]s/shop {
					every 100ms
				}
			}
			zone z2 {
				check http http://user:%[2]s12@%[1]s/?token=%[2]s13 {
					every 100ms
				}
			}
			zone z3 {
				check mysql mysql://user:%[2]s16@%[1]s/shop {
					every 100ms
					store_in comment
				}
			}
			zone z4 {
				check redis redis://user:%[2]s17@%[1]s {
					every 100ms
				}
			}
			state redis %[1]s {
				username user
				password %[2]s14
				sync 100ms
			}`, dead, canary),
		"lookup away": fmt.Sprintf(`
			directory http http://user:%[2]s15@%[1]s/lookup/{key}?token=%[2]s16 {
				header Authorization "Bearer %[2]s17"
				list http://user:%[2]s18@%[1]s/list?token=%[2]s19
				list_every 100ms
				zones z1 z2
			}
			state redis %[1]s {
				password %[2]s20
				sentinel main user %[2]s21
			}`, dead, canary),
	} {
		t.Run(name, func(t *testing.T) {
			s := startSidecar(t, smallApp, smallSite)
			log := filepath.Join(t.TempDir(), "caddy.log")
			logTo := fmt.Sprintf("log {\n%%s\noutput file %s\n}\n", log)
			site := fmt.Sprintf(`
				log {
					output file %[1]s
				}
				firebreak {
					key query key
					bypass header Proxy-Authorization %[3]s22%[3]s22
				}
				reverse_proxy /search* %[2]s {
					transport firebreak
				}
				respond /error "no" 500
				error /broken "broken" 502
				reverse_proxy %[4]s`, log, upstream, canary, dead)
			file := s.caddyfile("workers 32\n"+app, site)
			file = strings.Replace(file, "{\n", fmt.Sprintf(`{
				debug
				%s
				servers {
					trace
				}
				events {
					on * firebreak_webhook http://user:%[3]s23@%[2]s/hook/%[3]s24 {
						header Authorization "Bearer %[3]s25"
					}
					on * firebreak_webhook http://user:%[3]s26@%[4]s/hook/%[3]s27 {
						header Authorization "Bearer %[3]s28"
						retries 0
					}
					on * firebreak_webhook http://%[4]s/hook/%[3]s29 {
						format pagerduty
						key %[3]s30
						retries 0
					}
					on * firebreak_webhook http://%[4]s/api/annotations {
						format grafana
						key %[3]s31
						retries 0
					}
				}
				`, fmt.Sprintf(logTo, ""), upstream, canary, dead), 1)
			config, err := adapt(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := caddy.Load([]byte(config), true); err != nil {
				t.Fatal(err)
			}
			s.ask(t, http.MethodGet, "/firebreak/status")
			for range 3 {
				for _, path := range []string{"/search?key=a", "/error?key=a", "/broken?key=a", "/dead?key=a"} {
					s.get(t, path, "Proxy-Authorization", canary+"22"+canary+"22")
					s.get(t, path, "Proxy-Authorization", "Bearer "+canary+"29") // a wrong one
				}
				openZone(t, s.app(t).Guard())
				s.ask(t, http.MethodPost, "/firebreak/recoveries")
				time.Sleep(300 * time.Millisecond)
				s.app(t).Guard().ResetZone("z1", "test", "")
			}
			if err := caddy.Stop(); err != nil {
				t.Error(err)
			}
			text, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(text), "\n")
			if len(lines) < 30 || !strings.Contains(string(text), `"level":"debug"`) || !strings.Contains(string(text), "handled request") || !strings.Contains(string(text), "log.error") {
				t.Fatalf("%d lines of log, which lack debug, access or error messages", len(lines))
			}
			told := map[string]bool{}
			for _, line := range lines {
				for _, found := range secret.FindAllString(line, -1) {
					if !told[found] {
						told[found] = true
						t.Errorf("%s is in the log: %.400s", found, line)
					}
				}
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if !seen["/lookup/a"] || !seen["/hook/"+canary+"24"] || !seen["/fails"] {
		t.Errorf("not everything was used: %v", seen)
	}
}

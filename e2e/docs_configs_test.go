//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	docpages "github.com/firebreak-proxy/firebreak/internal/pages"
)

// checks are how other people's programs read what the documentation shows for
// them. Caddyfiles and JSON are read by the tests of caddymodule.
var checks = map[string]func(t *testing.T, text string) *exec.Cmd{
	"promql": func(t *testing.T, text string) *exec.Cmd {
		return exec.Command("promtool", "check", "rules", recordingRules(t, []string{text}))
	},
	// In a schema of its own, and taken back.
	"sql": func(_ *testing.T, text string) *exec.Cmd {
		return world.databases[0].psql("-c", "BEGIN; CREATE SCHEMA docs; SET search_path = docs;\n"+text+"\n;ROLLBACK")
	},
	// Settings of a pool.
	"ini": func(t *testing.T, text string) *exec.Cmd {
		pool := "[global]\nerror_log = /dev/stderr\n[api]\nuser = www-data\nlisten = 127.0.0.1:9000\n" + text
		return exec.Command(phpFPM(), "--test", "--fpm-config", writeBlock(t, "pool.conf", pool))
	},
	"python": func(t *testing.T, text string) *exec.Cmd {
		return exec.Command("/usr/bin/python3", "-c", gunicornSettings, writeBlock(t, "gunicorn.conf.py", text))
	},
}

// gunicornSettings gives gunicorn each setting of a file; gunicorn --check-config
// says nothing of names that it does not know.
const gunicornSettings = `
import runpy, sys
from gunicorn.config import Config
config = Config()
for name, value in runpy.run_path(sys.argv[1]).items():
    if not name.startswith("__"):
        config.set(name, value)
config.worker_class  # is loaded when it is asked for
`

// unchecked are what no program here reads, and why.
var unchecked = map[string]string{
	"ruby": "there is no Puma here",
	"js":   "a sketch of code, and there is no Node here",
}

// TestDocsConfigs gives each block of the documentation that is for a program to
// that program.
func TestDocsConfigs(t *testing.T) {
	all, err := docpages.All("..")
	if err != nil {
		t.Fatal(err)
	}
	read := make(map[string]int)
	for _, p := range all {
		for _, b := range p.Blocks {
			check := checks[b.Kind]
			switch {
			case unchecked[b.Kind] != "":
				t.Logf("%s:%d: not read (%s)", b.Page, b.Line, unchecked[b.Kind])
			case check != nil:
				read[b.Kind]++
				t.Run(fmt.Sprintf("%s:%d", b.Page, b.Line), func(t *testing.T) {
					if out, err := check(t, b.Text).CombinedOutput(); err != nil {
						t.Errorf("%v\n%s\n%s", err, out, b.Text)
					}
				})
			case !harmless[b.Kind]:
				t.Errorf("%s:%d: no test reads blocks of the kind %q: say in e2e/docs_configs_test.go which program does", b.Page, b.Line, b.Kind)
			}
		}
	}
	for kind := range checks {
		if read[kind] == 0 {
			t.Errorf("no page has a block of the kind %q", kind)
		}
	}
}

// harmless are blocks that are read elsewhere, or shown only.
var harmless = map[string]bool{
	"": true, "sh": true, "console": true, "caddyfile": true, "json": true,
	"csv": true, "http": true, "text": true,
}

func writeBlock(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

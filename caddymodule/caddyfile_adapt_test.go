package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/firebreak-proxy/firebreak/caddymodule"
)

var update = flag.Bool("update", false, "write what the adapter says now into the golden files of testdata/adapt")

const adaptSeparator = "----------\n"

// adapt turns a Caddyfile into JSON, indented.
func adapt(caddyfile string) (string, error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	config, _, err := adapter.Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, config, "", "\t"); err != nil {
		return "", err
	}
	return out.String(), nil
}

// TestAdapt compares each golden file's Caddyfile with the JSON, or the error,
// that stands below it.
func TestAdapt(t *testing.T) {
	for _, name := range []string{"BYPASS_SECRET", "REDIS_PASSWORD", "SENTINEL_PASSWORD", "LOOKUP_TOKEN", "STORES_PASSWORD"} {
		t.Setenv(name, "0123456789abcdef")
	}
	t.Setenv("LOOKUP_URL", "http://lookup.internal")
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	var good, bad int
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		wantError := strings.HasPrefix(name, "bad_")
		if wantError {
			bad++
		} else {
			good++
		}
		t.Run(name, func(t *testing.T) { testAdapt(t, file, wantError) })
	}
	if good < 10 || bad < 30 {
		t.Errorf("found %d right and %d wrong configurations, want at least 10 and 30", good, bad)
	}
}

func testAdapt(t *testing.T, file string, wantError bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	source, want, ok := strings.Cut(string(raw), adaptSeparator)
	if !ok {
		t.Fatalf("no line %q", strings.TrimSpace(adaptSeparator))
	}
	got, err := adapt(source)
	if (err != nil) != wantError {
		t.Fatalf("got error %v, want an error: %v", err, wantError)
	}
	if err != nil {
		got = err.Error()
	}
	if *update {
		if err := os.WriteFile(file, []byte(source+adaptSeparator+got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.TrimSpace(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !wantError {
		validates(t, got)
	}
}

// validates makes sure that what the parser lets through loads, too.
func validates(t *testing.T, config string) {
	t.Helper()
	t.Chdir("testdata")
	var cfg caddy.Config
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Errorf("adapts, but does not validate: %v", err)
	}
}

func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		source, _, _ := strings.Cut(string(raw), adaptSeparator)
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "import") {
			return // reads files
		}
		text, err := adapt(source)
		if err != nil {
			if ours.MatchString(err.Error()) && !atLine.MatchString(err.Error()) {
				t.Errorf("the error does not say where: %v", err)
			}
			return
		}
		checkSettings(t, text)
	})
}

var (
	ours   = regexp.MustCompile(`(unrecognized firebreak|firebreak (zone|store|check|directory|option))`)
	atLine = regexp.MustCompile(`Caddyfile:\d+`)
)

// checkSettings makes sure that what the parser lets through is right by the
// rules for JSON, too.
func checkSettings(t *testing.T, text string) {
	var adapted struct {
		Apps struct {
			Firebreak *caddymodule.App `json:"firebreak"`
		} `json:"apps"`
	}
	if err := json.Unmarshal([]byte(text), &adapted); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if app := adapted.Apps.Firebreak; app != nil {
		if _, err := app.App.Policy(); err != nil {
			t.Errorf("adapts, but its settings are wrong: %v in %s", err, text)
		}
	}
}

package layout

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/firebreak-proxy/firebreak"

// layers are the packages of the product, from the top. A package imports only
// packages of layers below its own. Those in internal/ that are not listed are at
// the bottom: they import nothing of the product.
var layers = [][]string{
	{"cmd/firebreak"},
	{"."},
	{"caddymodule", "mysql", "postgres", "redis", "cli"}, // do not know each other
	{"globaloption"},
	{"admin", "directories", "flight", "state"},
	{"otherguards", "recent", "servers", "snapshot"},
	{"telemetry"},
	{"refusal", "sizing"},
	{"episodes"},
	{"incidents", "recovery", "replay", "replay/scenario"},
	{"fleet/share", "maintenance/bypass", "maintenance/conformance", "replay/virtual"},
	{"breaker/httpguard", "fleet", "maintenance", "routing/learned", "routing/lookup", "routing/pgtable", "zonecheck"},
	{"routing/sqltable"},
	{"breaker", "routing", "stale", "workers", "internal/directive"},
	{"config"},
}

// forTests are used by tests and examples only.
var forTests = []string{"internal/layout", "internal/loopback", "internal/pages"}

// knowCaddy are the packages that import Caddy. The others can be used, and
// tested, without it.
var knowCaddy = []string{
	".", "cmd/firebreak", "caddymodule", "cli", "admin", "directories", "flight", "globaloption", "maintenance/bypass", "mysql", "otherguards", "postgres", "recent", "redis", "refusal", "servers", "snapshot", "state", "telemetry",
	"internal/directive", "internal/placeholder", "internal/upstream", "internal/version",
}

// clients are libraries that only some packages import.
var clients = map[string][]string{
	"github.com/jackc/pgx/":       {"postgres", "routing/pgtable"},
	"github.com/go-sql-driver/":   {"mysql"},
	"github.com/redis/go-redis/":  {"redis"},
	"github.com/sony/gobreaker/":  {"breaker"},
	"github.com/mdlayher/netlink": {"workers"},
	"github.com/pquerna/":         {"stale"},
}

// mostLines is how many lines a package may have, without its tests.
const mostLines = 3100

// large are the packages that have more, each for a reason in CONTRIBUTING.md, and how
// many they may have.
var large = map[string]int{
	"admin":       3600,
	"breaker":     9300,
	"caddymodule": 3950,
	"cli":         5400,
	"recovery":    4300,
	"routing":     3700,
}

// list runs "go list" on packages of the module, and returns the imports of each
// by its path within the module. Examples and end-to-end tests are left out.
func list(t *testing.T, format string, packages ...string) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	for line := range strings.Lines(run(t, "../..", "go", slices.Concat([]string{"list", "-f", "{{.ImportPath}} " + format}, packages)...)) {
		fields := strings.Fields(line)
		name, ok := within(fields[0])
		if ok && !strings.HasPrefix(name, "examples") && name != "e2e" {
			found[name] = fields[1:]
		}
	}
	return found
}

// within is a package's path within the module.
func within(path string) (name string, ok bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// TestImportsPointOneWay: packages import only what is below them, each in a place
// that somebody has decided on.
func TestImportsPointOneWay(t *testing.T) {
	layer := make(map[string]int)
	for i, names := range layers {
		for _, name := range names {
			layer[name] = i
		}
	}
	// layerOf is where a package is; one that is not listed is above all.
	layerOf := func(name string) int {
		if at, ok := layer[name]; ok {
			return at
		}
		if strings.HasPrefix(name, "internal/") {
			return len(layers)
		}
		return -1
	}
	packages := list(t, `{{join .Imports " "}}`, "./...")
	for name, imports := range packages {
		at := layerOf(name)
		if at < 0 {
			t.Errorf("package %s is in none of the layers: add it to the one below all that import it", name)
			continue
		}
		for _, path := range imports {
			below, ours := within(path)
			switch {
			case !ours:
			case layerOf(below) <= at:
				t.Errorf("package %s imports %s, which is not below it", name, below)
			case slices.Contains(forTests, below):
				t.Errorf("package %s imports %s, which is for tests", name, below)
			}
		}
	}
	for name := range layer {
		if _, ok := packages[name]; !ok {
			t.Errorf("package %s is not there any more: take it out of the layers", name)
		}
	}
}

// TestLargeForAReason: a package has few lines, or a reason for many.
func TestLargeForAReason(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, reasons, _ := strings.Cut(string(text), "\n### Large packages\n")
	reasons, _, _ = strings.Cut(reasons, "\n## ")
	for name, files := range list(t, `{{join .GoFiles " "}}`, "./...") {
		lines := 0
		for _, file := range files {
			source, err := os.ReadFile(filepath.Join("../..", name, file))
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(source, []byte("\n"))
		}
		allowed, listed := large[name]
		switch {
		case !listed && lines > mostLines:
			t.Errorf("package %s has %d lines, more than %d: split it, or write the reason into CONTRIBUTING.md and list it here", name, lines, mostLines)
		case listed && lines > allowed:
			t.Errorf("package %s has %d lines, allowed are %d: move out what can stand alone, or allow more if the reason in CONTRIBUTING.md still holds", name, lines, allowed)
		case listed && lines <= mostLines:
			t.Errorf("package %s has only %d lines: take it out of the list of large packages, here and in CONTRIBUTING.md", name, lines)
		case listed && !strings.Contains(reasons, "\n- `"+name+"/`: "):
			t.Errorf("CONTRIBUTING.md, large packages: no reason for %s", name)
		}
	}
}

// TestFewKnowCaddy: Caddy is known to those that are part of it, and to nothing
// that they are built on.
func TestFewKnowCaddy(t *testing.T) {
	for name, imports := range list(t, `{{join .Deps " "}}`, "./...") {
		knows := slices.ContainsFunc(imports, func(path string) bool { return strings.HasPrefix(path, "github.com/caddyserver/caddy/") })
		if want := slices.Contains(knowCaddy, name); knows && !want {
			t.Errorf("package %s imports Caddy, itself or by another package", name)
		} else if !knows && want {
			t.Errorf("package %s does without Caddy: take it out of knowCaddy", name)
		}
	}
}

// TestFewKnowClients: the libraries that are behind one package each.
func TestFewKnowClients(t *testing.T) {
	for name, imports := range list(t, `{{join .Imports " "}}`, "./...") {
		for library, allowed := range clients {
			uses := slices.ContainsFunc(imports, func(path string) bool { return strings.HasPrefix(path, library) })
			if uses && !slices.Contains(allowed, name) {
				t.Errorf("package %s imports %s; only %s may", name, library, strings.Join(allowed, " and "))
			}
		}
	}
}

// TestEveryPackageIsDescribed: the layout in CONTRIBUTING.md has a line for each.
func TestEveryPackageIsDescribed(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range list(t, "", "./...") {
		line := name
		if !strings.HasPrefix(name, "internal/") && name != "cmd/firebreak" {
			line, _, _ = strings.Cut(name, "/")
		}
		if name != "." && !strings.Contains(string(text), "\n    "+line+"/ ") {
			t.Errorf("CONTRIBUTING.md, repository layout: no line %q", line+"/")
		}
	}
}

// TestQuestionsAreAnswered: the files that CONTRIBUTING.md names as answers to its
// questions are there.
func TestQuestionsAreAnswered(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### Where is …?\n")
	section, detail, _ := strings.Cut(section, "\nIn more detail:\n")
	detail, _, _ = strings.Cut(detail, "\n#")
	answers := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(section, -1)
	if len(answers) < 10 {
		t.Errorf("found %d answers, want at least 10", len(answers))
	}
	for _, answer := range answers {
		if found, err := filepath.Glob("../../" + answer[1]); err != nil || len(found) == 0 {
			t.Errorf("CONTRIBUTING.md names %s, which is not there", answer[1])
		}
	}
	named := regexp.MustCompile(`[\w/*.]+(?:\.go|\.lua|/)`)
	for row := range strings.Lines(detail) {
		cells := strings.Split(row, "|")
		if len(cells) < 3 || strings.HasPrefix(cells[1], "---") || cells[1] == " a bug in " {
			continue
		}
		names := named.FindAllString(cells[2], -1)
		if len(names) == 0 {
			t.Errorf("CONTRIBUTING.md: %s is nowhere", cells[1])
		}
		// A file without a folder is in one that the row names.
		folders := []string{"."}
		for _, name := range names {
			folders = append(folders, filepath.Dir(name))
		}
		for _, name := range names {
			if !slices.ContainsFunc(folders, func(folder string) bool {
				found, err := filepath.Glob(filepath.Join("../..", folder, name))
				return err == nil && len(found) > 0
			}) {
				t.Errorf("CONTRIBUTING.md, %s: %s is not there", strings.TrimSpace(cells[1]), name)
			}
		}
	}
}

// TestLogLinesAreNamed: all log lines are listed in telemetry/names.go, as CONTRIBUTING.md
// answers: none is written where it is logged.
func TestLogLinesAreNamed(t *testing.T) {
	logged := regexp.MustCompile(`(?i)log[\w().]*\.(?:Named\("[^"]*"\)\.)?(?:Debug|Info|Warn|Error|Check)\((?:zapcore\.\w+, )?"`)
	for name, files := range list(t, `{{join .GoFiles " "}}`, "./...") {
		for _, file := range files {
			source, err := os.ReadFile(filepath.Join("../..", name, file))
			if err != nil {
				t.Fatal(err)
			}
			if found := logged.Find(source); found != nil {
				t.Errorf("%s/%s: %s…: give the message a name in telemetry/names.go", name, file, found)
			}
		}
	}
}

// TestBuildWithoutClients builds firebreak without MySQL, PostgreSQL and Redis. Caddy's own
// certificate authority links parts of pgx, so what counts there is that no package
// of firebreak does.
func TestBuildWithoutClients(t *testing.T) {
	const minimal = "./internal/layout/testdata/minimal"
	deps := strings.Fields(run(t, "../..", "go", "list", "-deps", minimal))
	for _, dep := range deps {
		if strings.HasPrefix(dep, "github.com/redis/go-redis/") || slices.Contains([]string{
			module + "/mysql", module + "/postgres", module + "/redis", module + "/routing/pgtable", module + "/routing/sqltable",
		}, dep) {
			t.Errorf("a build without MySQL, PostgreSQL and Redis has %s", dep)
		}
	}
	if testing.Short() {
		t.Skip("linking takes a while")
	}
	binary := filepath.Join(t.TempDir(), "minimal")
	run(t, "../..", "go", "build", "-o", binary, minimal)
	modules := strings.Fields(run(t, ".", binary, "list-modules"))
	for name, want := range map[string]bool{
		"firebreak": true, "http.handlers.firebreak": true, "admin.api.firebreak": true,
		"firebreak.directories.file": true, "firebreak.directories.postgres": false, "firebreak.directories.mysql": false,
		"firebreak.state.storage": true, "firebreak.state.redis": false,
	} {
		if got := slices.Contains(modules, name); got != want {
			t.Errorf("module %s is there: %t, want %t", name, got, want)
		}
	}
	for option, want := range map[string]string{
		"directory postgres postgres://db/shop { \n table stores \n }": "unrecognized firebreak directory 'postgres'",
		"state redis localhost:6379":                                   "unrecognized firebreak state 'redis'",
		"zone z1 { \n check postgres postgres://db/shop \n }":          "check postgres is not part of this build",
		"zone z1 { \n check mysql mysql://db/shop \n }":                "check mysql is not part of this build",
	} {
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte("{\n admin off\n firebreak {\n workers 32\n "+option+"\n }\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), binary, "validate", "--adapter", "caddyfile", "--config", file)
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: error %v, want one with %q:\n%s", option, err, want, out)
		}
	}
}

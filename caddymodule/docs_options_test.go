package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/caddymodule"
	"github.com/firebreak-proxy/firebreak/internal/pages"
)

// around is where the options of a table stand in a Caddyfile (%s), and where
// in JSON.
type around struct {
	caddyfile string
	json      []string // "0" is the first element of a list
	base      []string // options that are there too, unless it is one of them that is tried
	into      string   // the struct, if the table fills in another one
}

const (
	inApp  = "{\n firebreak {\n workers 32\n%s\n }\n}"
	onSite = "{\n firebreak {\n workers 32\n }\n}\n:80 {\n%s\n}"
)

var optionsAround = map[string]around{
	"appOptions":               {"{\n firebreak {\n%s\n }\n}", app(), []string{"workers 64"}, "config.App"},
	"zoneOptions":              {fmt.Sprintf(inApp, "zone * {\n%s\n}"), app("zones", "0"), []string{"window 30s", "timeout 3s"}, ""},
	"storeOptions":             {fmt.Sprintf(inApp, "store {\n%s\n}"), app("store"), nil, ""},
	"checkOptions":             {fmt.Sprintf(inApp, "zone * {\ncheck postgres postgres://firebreak@db/shop {\n%s\n}\n}"), app("zones", "0", "check"), nil, ""},
	"onHungOptions":            {fmt.Sprintf(inApp, "zone * {\ncheck postgres postgres://firebreak@db/shop {\non_hung cancel_query {\n%s\n}\n}\n}"), app("zones", "0", "check", "on_hung"), nil, ""},
	"inlineOptions":            {fmt.Sprintf(inApp, "directory inline {\nzone z1 {\nstores a\n}\n%s\n}"), app("directory"), nil, ""},
	"inlineZoneOptions":        {fmt.Sprintf(inApp, "directory inline {\nzone z1 {\nstores a\n%s\n}\n}"), app("directory", "zones", "0"), nil, ""},
	"serverOptions":            {fmt.Sprintf(inApp, "server 10.0.0.1:9000 {\n%s\n}"), app("servers", "0"), []string{"workers 4"}, ""},
	"serverCheckOptions":       {fmt.Sprintf(inApp, "server_check /healthz {\n%s\n}"), app("server_check"), nil, ""},
	"storageStateOptions":      {fmt.Sprintf(inApp, "state storage {\n%s\n}"), app("state"), nil, ""},
	"redisStateOptions":        {fmt.Sprintf(inApp, "state redis localhost:1 {\n%s\n}"), app("state"), nil, ""},
	"redisTLSOptions":          {fmt.Sprintf(inApp, "state redis localhost:1 {\ntls {\n%s\n}\n}"), app("state", "tls"), nil, ""},
	"fleetOptions":             {fmt.Sprintf(inApp, "state redis localhost:1 {\nfleet {\n%s\n}\n}"), app("state", "fleet"), nil, ""},
	"repairOptions":            {fmt.Sprintf(inApp, "check GET /check?key={store} {\nto localhost:9000\n}\nrepair POST /repairs?store={store} {\n%s\n}"), app("repair"), []string{"to localhost:9100"}, ""},
	"storeCheckOptions":        {fmt.Sprintf(inApp, "check GET /check?key={store} {\n%s\n}"), app("check"), []string{"to localhost:9000"}, ""},
	"incidentOptions":          {fmt.Sprintf(inApp, "incidents {\n%s\n}"), app("incidents"), nil, ""},
	"httpDirectoryOptions":     {fmt.Sprintf(inApp, "directory http http://lookup/{key} {\n%s\n}"), app("directory"), nil, ""},
	"learnOptions":             {fmt.Sprintf(inApp, "directory learn header X-Zone {\n%s\n}"), app("directory"), nil, ""},
	"postgresDirectoryOptions": {fmt.Sprintf(inApp, "directory postgres postgres://firebreak@db/shop {\n%s\n}"), app("directory"), []string{"table stores"}, ""},
	"mysqlDirectoryOptions":    {fmt.Sprintf(inApp, "directory mysql mysql://firebreak@db/shop {\n%s\n}"), app("directory"), []string{"table stores", "version changed_at"}, ""},
	"upstreamOptions": {
		fmt.Sprintf(onSite, "firebreak {\nkey query key\n}\nreverse_proxy {\ndynamic firebreak {\n%s\n}\n}"),
		[]string{"apps", "http", "servers", "srv0", "routes", "0", "handle", "1", "dynamic_upstreams"},
		[]string{"zone z9 10.0.0.9:9000"},
		"",
	},
	"webhookOptions": {
		"{\n events {\n on * firebreak_webhook https://chat.example.com/hook {\n%s\n}\n }\n firebreak {\n workers 32\n }\n}",
		[]string{"apps", "events", "subscriptions", "0", "handlers", "0"},
		nil, "",
	},
	"handlerOptions": {
		fmt.Sprintf(onSite, "firebreak {\n%s\n}"),
		[]string{"apps", "http", "servers", "srv0", "routes", "0", "handle", "0"},
		[]string{"key query key"},
		"Handler",
	},
	"staleOptions": {
		fmt.Sprintf(onSite, "firebreak {\nkey query key\nstale {\n%s\n}\n}"),
		[]string{"apps", "http", "servers", "srv0", "routes", "0", "handle", "0", "stale"},
		nil, "",
	},
}

func app(path ...string) []string { return append([]string{"apps", "firebreak"}, path...) }

// noDefault are the words for an option that is nothing if it is left out.
var noDefault = regexp.MustCompile(`^(none|off|must be set|nothing|built in|the .*)(:.*)?$`)

// usageOfBlocks are examples of options that read themselves.
var usageOfBlocks = map[string]string{
	"appOptions directory":           "directory hash z1 z2",
	"appOptions repair":              "repair POST /repairs?store={store} {\nto localhost:9100\n}",
	"repairOptions to":               "to localhost:9101",
	"appOptions check":               "check GET /check?key={store} {\nto localhost:9000\n}",
	"appOptions incidents":           "incidents {\nkeep 500\n}",
	"zoneOptions store_check":        "store_check GET /check?key={store} {\nto localhost:9000\n}",
	"learnOptions fallback":          "fallback hash z1 z2",
	"postgresDirectoryOptions query": `query "SELECT 1"`,
	"mysqlDirectoryOptions query":    `query "SELECT 1"`,
	"mysqlDirectoryOptions table":    "table shops",
	"mysqlDirectoryOptions version":  "version updated_at",
	"appOptions state":               "state storage",
	"checkOptions on_hung":           "on_hung cancel_query",
	"webhookOptions key":             "format pagerduty\nkey {env.PAGERDUTY_KEY}",
	"appOptions server":              "server 10.0.0.1:9000 {\nworkers 4\n}",
	"appOptions server_check":        "server_check /healthz",
	"appOptions server_status":       "server_status auto",
	"serverOptions status":           "status auto",
	"appOptions zone":                "zone z7 {\ntimeout 1s\n}",
	"appOptions store":               "store {\nrecords 5\n}",
	"postgresDirectoryOptions table": "table shops",
	"storeCheckOptions to":           "to localhost:9001",
	"zoneOptions check":              "check http http://db7:8008/",
	"handlerOptions refuse":          "refuse error",
	"handlerOptions stale":           "stale 10m",
	"redisStateOptions tls":          "tls",
	"inlineOptions zone":             "zone z2 {\nstores b\n}",
	"redisStateOptions fleet":        "fleet",
	"redisStateOptions db":           "db 1",
	"zoneOptions window":             "window 20s",
	"handlerOptions expose":          "expose store",
	"zoneOptions open_time":          "open_time 6s",
	"storeOptions open_time":         "open_time 6s",
}

// TestDocsOptions compares the tables of options in the documentation with the
// code, both ways: every option is there with its name in JSON and its default,
// and nothing else is.
func TestDocsOptions(t *testing.T) {
	src, all := readSource(t), allPages(t)
	for _, table := range src.tables {
		t.Run(table.name, func(t *testing.T) { testOptionTable(t, all, src, table) })
	}
	for _, page := range all {
		for _, shown := range page.Tables {
			if !slices.ContainsFunc(src.tables, func(o optionTable) bool { return o.name == shown.Name }) {
				t.Errorf("%s:%d: options of %s, which the code does not have", page.Path, shown.Line, shown.Name)
			}
		}
	}
}

func testOptionTable(t *testing.T, all []*pages.Page, src *source, table optionTable) {
	rows := make(map[string][]string)
	var page *pages.Page
	for _, p := range all {
		for _, shown := range p.Tables {
			if shown.Name != table.name {
				continue
			}
			page = p
			for _, row := range shown.Rows {
				if len(row) != 4 {
					t.Fatalf("%s:%d: a row with %d columns instead of four: option, JSON, default, meaning: %v", p.Path, shown.Line, len(row), row)
				}
				rows[strings.Trim(row[0], "`")] = row
			}
		}
	}
	if page == nil {
		t.Fatalf("docs/caddyfile.md (or another page) says nothing of the options of %s: add, before a table with the columns option, JSON, default, meaning, the line\n<!-- options: %s -->", table.name, table.name)
	}
	where, ok := optionsAround[table.name]
	if !ok {
		t.Fatalf("where in a Caddyfile do the options of %s stand? Add it to optionsAround in docs_options_test.go", table.name)
	}
	for _, option := range table.options {
		row, ok := rows[option.name]
		if !ok {
			t.Errorf("%s has no option %q: add to the table behind <!-- options: %s --> the row\n| `%s` | `%s` | `DEFAULT` or none | WHAT IT DOES |", page.Path, option.name, table.name, option.name, option.name)
			continue
		}
		delete(rows, option.name)
		usage := usageOfBlocks[table.name+" "+option.name]
		if usage == "" {
			usage = option.usage
		}
		if usage == "" {
			t.Errorf("how is the option %s of %s written? Add an example to usageOfBlocks in docs_options_test.go", option.name, table.name)
			continue
		}
		testOptionNames(t, where, option.name, usage, row)
		testOptionDefault(t, src, where, table, option.name, row)
	}
	for name := range rows {
		t.Errorf("%s: the table of %s has the option %q, which the code does not know", page.Path, table.name, name)
	}
	into := where.into
	if into == "" {
		into = table.into
	}
	if len(src.fields[into]) == 0 {
		t.Errorf("the code of %s is not read: add its package to readSource", into)
	}
	for _, field := range src.fields[into] {
		if !strings.Contains(page.Text, "`"+field.name+"`") {
			t.Errorf("%s says nothing of the JSON field %q of %s: mention it as `%s`", page.Path, field.name, into, field.name)
		}
	}
}

// write makes a Caddyfile of a line, and of what has to stand beside it.
func (a *around) write(name, line string) string {
	lines := []string{line}
	for _, base := range a.base {
		word, _, _ := strings.Cut(base, " ")
		if (word != name || a.repeats(base)) && insteadOf[name] != word || line == "" {
			lines = append([]string{base}, lines...)
		}
	}
	return fmt.Sprintf(a.caddyfile, strings.Join(lines, "\n"))
}

// insteadOf are options that another one must not stand beside.
var insteadOf = map[string]string{"query": "table"}

// repeats reports whether a base line may stand beside more of its kind.
func (a *around) repeats(base string) bool { return strings.HasPrefix(base, "zone z9") }

// at is the JSON object that the options are fields of.
func (a *around) at(t *testing.T, caddyfile string) map[string]any {
	t.Helper()
	text, err := adapt(caddyfile)
	if err != nil {
		t.Fatalf("%v in\n%s", err, caddyfile)
	}
	var tree any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	for _, step := range a.json {
		if list, ok := tree.([]any); ok {
			n, _ := strconv.Atoi(step)
			tree = list[n]
			continue
		}
		object, _ := tree.(map[string]any)
		tree = object[step]
	}
	object, _ := tree.(map[string]any)
	return object
}

// testOptionNames adapts the option's example and looks which fields of the
// JSON came or changed.
func testOptionNames(t *testing.T, where around, name, usage string, row []string) {
	t.Helper()
	before, after := where.at(t, where.write(name, "")), where.at(t, where.write(name, usage))
	var changed []string
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if !cmp.Equal(before[key], after[key]) {
			changed = append(changed, key)
		}
	}
	said := inCode(row[1])
	for _, key := range changed {
		if !slices.Contains(said, key) {
			t.Errorf("the documentation: %s is %q in JSON, not %v (by: %s)", name, changed, said, usage)
		}
	}
	if len(changed) == 0 {
		t.Errorf("%s changes nothing in JSON: is %q an example of it?", name, usage)
	}
}

var codePattern = regexp.MustCompile("`([^`]*)`")

func inCode(cell string) (all []string) {
	for _, m := range codePattern.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// testOptionDefault writes the documented default into a Caddyfile: it must be
// as if the option were left out. The field's comment must say the same.
func testOptionDefault(t *testing.T, src *source, where around, table optionTable, name string, row []string) {
	t.Helper()
	said := inCode(row[2])
	if len(said) == 0 || !strings.HasPrefix(row[2], "`") {
		if !noDefault.MatchString(row[2]) {
			t.Errorf("the documentation: the default of %s is %q: begin with a value in backticks, or with none, off, must be set, the …", name, row[2])
		}
		return
	}
	bare := where
	bare.base = slices.DeleteFunc(slices.Clone(where.base), func(line string) bool { return line == "window 30s" || line == "timeout 3s" })
	without, with := bare.write("", ""), bare.write(name, name+" "+said[0])
	if got, want := policyOf(t, with), policyOf(t, without); !cmp.Equal(got, want) {
		t.Errorf("the documentation: %s is not %s by default (-default +documented):\n%s", name, said[0], cmp.Diff(want, got))
	}
	into := where.into
	if into == "" {
		into = table.into
	}
	for _, field := range src.fields[into] {
		if field.name == name && field.fallback != "" && !slices.ContainsFunc(samesOf(said[0]), func(v string) bool { return strings.Contains(field.fallback, v) }) && len(said) == 1 && !strings.Contains(row[2], ":") {
			t.Errorf("the documentation says that %s is %s by default, its comment in the code: %s", name, said[0], field.fallback)
		}
	}
}

// samesOf are the ways in which a comment may write a value.
func samesOf(value string) []string {
	return []string{value, strings.TrimSuffix(value, "%"), strings.ReplaceAll(value, " ", ", ")}
}

// policyOf is what a Caddyfile means for the guard.
func policyOf(t *testing.T, caddyfile string) any {
	t.Helper()
	text, err := adapt(caddyfile)
	if err != nil {
		t.Fatalf("%v in\n%s", err, caddyfile)
	}
	var adapted struct {
		Apps struct {
			Firebreak *caddymodule.App `json:"firebreak"`
		} `json:"apps"`
	}
	if err := json.Unmarshal([]byte(text), &adapted); err != nil {
		t.Fatal(err)
	}
	policy, err := adapted.Apps.Firebreak.App.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

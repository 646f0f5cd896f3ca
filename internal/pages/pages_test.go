package pages_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/internal/pages"
)

const page = "# A page: with `code`\n\n<!-- first: make x -->\n\n" +
	"See [there](other.md#part).\n\n" +
	"- an item\n\n    that goes on, and is no code: curl x\n\n" +
	"Text.\n\n    curl localhost\n    second\n\n" +
	"```sh\n# a comment\nfirebreak status\ncurl -d '{\n}' localhost   # 503 at once\ncurl a \\\n  b\n```\n\n" +
	"```console\n$ firebreak zone z7\nzone z7 is open since …\n```\n\n" +
	"  ```caddyfile app each\n  directory file a.csv   # one\n  directory inline {\n    zone a { }\n  }\n  ```\n\n" +
	"<!-- options: zoneOptions -->\n\n| option | default |\n|---|---|\n| `a` | x \\| y |\n"

func TestParse(t *testing.T) {
	p := pages.Parse("docs/x.md", page)
	var kinds []string
	for _, b := range p.Blocks {
		kinds = append(kinds, strings.Join(append([]string{b.Kind}, b.Words...), " "))
	}
	if diff := cmp.Diff([]string{"sh", "", "sh", "console", "caddyfile app each"}, kinds); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a-page-with-code"}, p.Headings); diff != "" {
		t.Errorf("headings (-want +got):\n%s", diff)
	}
	if len(p.Links) != 1 || p.Links[0] != (pages.Link{Line: 5, Target: "other.md#part"}) {
		t.Errorf("links %v", p.Links)
	}
	if len(p.Tables) != 1 || !cmp.Equal(p.Tables[0].Rows, [][]string{{"`a`", "x | y"}}) {
		t.Errorf("tables %v", p.Tables)
	}
	if err := p.Blocks[1].Check(); err == nil || !strings.Contains(err.Error(), "docs/x.md:13:") || !strings.Contains(err.Error(), "```sh") {
		t.Errorf("a command that is not run: %v", err)
	}
	files, err := p.Blocks[4].Caddyfile()
	if err != nil || len(files) != 2 || !strings.Contains(files[1], "zone a { }") || strings.Contains(files[1], "a.csv") {
		t.Errorf("alternatives: %v %q", err, files)
	}
}

func TestCommands(t *testing.T) {
	p := pages.Parse("docs/x.md", page)
	got := p.Blocks[2].Commands()
	want := []pages.Command{
		{Page: "docs/x.md", Line: 18, Text: "firebreak status"},
		{Page: "docs/x.md", Line: 19, Text: "curl -d '{\n}' localhost   # 503 at once", Status: "503"},
		{Page: "docs/x.md", Line: 21, Text: "curl a \\\n  b"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if hidden := p.Blocks[0].Commands(); len(hidden) != 1 || hidden[0].Text != "make x" {
		t.Errorf("a command that readers do not see: %v", hidden)
	}
	c := p.Blocks[3].Commands()[0]
	if c.Text != "firebreak zone z7" || c.Missing("zone z7 is  open since 12:00\nmore") != "" || c.Missing("zone z7 is calm") == "" {
		t.Errorf("a transcript: %+v", c)
	}
}

func TestExamples(t *testing.T) {
	c := pages.Parse("p.md", "```console example\n$ firebreak status\nof another day\n```\n").Blocks[0].Commands()
	if len(c) != 1 || c[0].Text != "firebreak status" || c[0].Missing("today") != "" {
		t.Errorf("%+v", c)
	}
}

func TestFiles(t *testing.T) {
	b := pages.Parse("p.md", "<!-- file: a.csv -->\n\n```csv\nstore,zone\n```\n\n```csv\nother\n```\n").Blocks
	if len(b) != 2 || b[0].File != "a.csv" || b[1].File != "" {
		t.Errorf("%+v", b)
	}
}

func TestUnknownKinds(t *testing.T) {
	for text, want := range map[string]string{
		"```bash\nls\n```\n":             "```sh for commands to run",
		"```caddyfile zon\nx\n```\n":     "one of app, global, handler, site, store, transport, zone",
		"```\nfirebreak status\n```\n":   "is a command that no test runs",
		"    {\n        firebreak {\n\n": "fence it as ```caddyfile",
		"```text\nfirebreak status\n```": "",
		"    just a drawing ──► of it\n": "",
	} {
		err := pages.Parse("p.md", text).Blocks[0].Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

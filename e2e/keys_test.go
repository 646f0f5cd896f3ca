//go:build e2e

package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var keysEach = flag.Int("keys", 200, "made-up requests for each place of a key")

var update = flag.Bool("update", false, "write the tables of docs/keys.md as they should be")

// TestKeys asks PHP, Flask, Django, Express and the standard libraries of Python
// and Node for the key of the same requests. What firebreak counts to a store, none
// of them takes for another's; the tables of docs/keys.md are what they take.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := startKeyServers(t)
	t.Run("tables", s.tables)
	t.Run("random", s.random)
}

// agrees reports whether what an application finds is the store that firebreak
// counts the request to, or no key at all. Names of hosts are the same in upper
// and lower case.
func agrees(found any, store, source string) bool {
	switch found := found.(type) {
	case string:
		if source == "host_label" {
			found = strings.ToLower(found)
			if strings.Trim(found, "0123456789") == "" && store == "" {
				return true // an address has no labels
			}
		}
		if source == "header" && strings.Contains(found, ",") {
			// Equal lines are joined to a list.
			lines := strings.FieldsFunc(found, func(c rune) bool { return c == ',' || c == ' ' })
			slices.Sort(lines)
			if lines = slices.Compact(lines); len(lines) == 0 || len(lines) == 1 && lines[0] == store {
				return true
			}
		}
		return found == store || !possibleKey(found)
	case json.Number:
		return found.String() == store
	case []any:
		return !slices.ContainsFunc(found, func(one any) bool { return !agrees(one, store, source) })
	}
	return true
}

// possibleKey reports whether a directory can hold a key.
func possibleKey(key string) bool {
	return key != "" && len(key) <= 128 && !strings.ContainsFunc(key, unicode.IsControl) &&
		utf8.ValidString(key) && !strings.ContainsRune(key, utf8.RuneError)
}

// compare asks every application and checks that it agrees with firebreak.
func (s *keyServers) compare(t *testing.T, k *keyRequest) (ambiguous bool) {
	t.Helper()
	store, ambiguous, ok := s.booked(t, k)
	if ambiguous || !ok {
		return ambiguous
	}
	for _, reader := range keyReaders {
		if !slices.Contains(reader.sources, k.source) {
			continue
		}
		if found := s.read(t, k, reader.name); !agrees(found, store, k.source) {
			t.Errorf("firebreak counts %q to store %q, %s reads %#v", k.wire("…"), store, reader.title, found)
		}
	}
	return false
}

// keyTable is a table of docs/keys.md and the source it is about.
var keyTable = regexp.MustCompile("(?s)<!-- keys: (\\w+) -->\n\n(.*?)\n\n")

// tables compares the tables of the page with what the applications answer.
func (s *keyServers) tables(t *testing.T) {
	page := filepath.Join("..", "docs", "keys.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	want := keyTable.ReplaceAllStringFunc(string(text), func(found string) string {
		parts := keyTable.FindStringSubmatch(found)
		seen[parts[1]] = true
		return fmt.Sprintf("<!-- keys: %s -->\n\n%s\n\n", parts[1], s.table(t, parts[1], parts[2]))
	})
	if len(seen) != len(keyLines) {
		t.Errorf("there are tables of %d sources, want %d", len(seen), len(keyLines))
	}
	if want == string(text) {
		return
	}
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the tables of docs/keys.md are not what the applications answer: run with -update and read the difference")
	old := strings.Split(string(text), "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(old) || line != old[i] {
			t.Logf("want line %d: %s", i+1, line)
		}
	}
}

// table writes a table anew: its requests are the first column of the old one.
func (s *keyServers) table(t *testing.T, source, old string) string {
	head, line := "| ", "|---"
	var titles []string
	for _, reader := range keyReaders {
		if slices.Contains(reader.sources, source) {
			titles = append(titles, reader.title)
			line += "|---"
		}
	}
	rows := []string{head + source + " | " + strings.Join(titles, " | ") + " | firebreak |", line + "|---|"}
	for _, row := range strings.Split(old, "\n")[2:] {
		first := regexp.MustCompile(`^\| (.*?) \|`).FindStringSubmatch(row)
		k := requestOf(t, source, first[1])
		cells := []string{first[1]}
		for _, reader := range keyReaders {
			if slices.Contains(reader.sources, source) {
				cells = append(cells, cell(s.read(t, k, reader.name)))
			}
		}
		store, ambiguous, ok := s.booked(t, k)
		switch {
		case ambiguous:
			cells = append(cells, "400")
		case !ok:
			t.Errorf("%s is no request", first[1])
		default:
			cells = append(cells, cell(store))
			s.compare(t, k)
		}
		rows = append(rows, "| "+strings.Join(cells, " | ")+" |")
	}
	return strings.Join(rows, "\n")
}

// requestOf reads the first column of a row: code, and for some rows "with" a
// header line in code. Lines stand beside each other, with "and" between them.
func requestOf(t *testing.T, source, column string) *keyRequest {
	t.Helper()
	var codes []string
	for _, code := range regexp.MustCompile("`` (.+?) ``|`(.+?)`").FindAllStringSubmatch(column, -1) {
		codes = append(codes, unquoteCode(code[1]+code[2]))
	}
	if len(codes) == 0 {
		t.Fatalf("no request in the row %s", column)
	}
	k := &keyRequest{source: source, text: codes[0]}
	if source == "form" || source == "json" {
		k.headers = codes[1:]
	} else {
		k.text = strings.Join(codes, "\n")
	}
	return k
}

// unquoteCode replaces what cannot stand in a table.
func unquoteCode(code string) string {
	return strings.NewReplacer("<tab>", "\t", "<BOM>", "\ufeff", "<FF>", "\xff").Replace(code)
}

// cell shows what an application finds.
func cell(found any) string {
	switch found := found.(type) {
	case nil:
		return "–"
	case string:
		switch {
		case found == "":
			return "–"
		case strings.Trim(found, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == "":
			return found
		}
		return "`" + found + "`"
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err.Error()
	}
	return "`" + string(text) + "`"
}

// random compares made-up requests, the same ones in each run.
func (s *keyServers) random(t *testing.T) {
	each := *keysEach
	rnd := rand.New(rand.NewPCG(14, uint64(each)))
	sources := make([]string, 0, len(keyLines))
	for source := range keyLines {
		sources = append(sources, source)
	}
	slices.Sort(sources)
	for _, source := range sources {
		ambiguous := 0
		for range each {
			if s.compare(t, randomKey(rnd, source)) {
				ambiguous++
			}
		}
		figure(t, "%s: %d requests, %d of them ambiguous", source, each, ambiguous)
		if ambiguous == 0 || ambiguous > each*3/4 {
			t.Errorf("%s: %d of %d requests are ambiguous: this tests little", source, ambiguous, each)
		}
	}
}

// keyPieces are what requests of a source are made of.
var keyPieces = map[string][]string{
	"query": {
		"key", "key", "key", "KEY", "k%65y", "x", "y[key]", "key[]", "[key]", "key[0]", "%20key", "+key", "key.", "key%00", "?key",
		"=", "=", "=", "=", "=", "&", "&", "&", "&", ";", "#", "a", "a", "b", "", "%61", "%2", "%zz", "+", "%20", "%26", "%3D", "%c3%a9", "%ff", ".", "]", "[",
	},
	"json": {
		"{", `"key"`, `"key"`, `"key"`, `"k\u0065y"`, `"KEY"`, `"x"`, `"a"`, `"a"`, `"b"`, `"\u0061"`, ":", ":", ":", ",", ",", "}", "}",
		"1", "1.0", "1e2", "-0", "12345678901234567890", "null", "true", "TRUE", "NaN", "Infinity", "[", "]", `["a"]`, `{"key":"b"}`, `"\ud800"`, "\"\xff\"",
		" ", "\n", "\ufeff", "//x", "\x00", "'key'", "\"a\x01\"",
	},
	"header": {"a", "a", "b", ",", " ", "\t", "\"", ";", "=", "\u00e9"},
	"cookie": {
		"key", "key", "key", "KEY", "k%65y", "x", "key[]", "=", "=", "=", "=", ";", "; ", "; ", "; ", "a", "a", "b", "", "%61", "%", "+", " ", ",", "\"", "\\141",
		"\t", "\u00e9", "$Path", "key.", ".",
	},
	"host_label": {"a", "a", "b", "B", ".", ".", ".", ":80", ":", "%61", "-", "_", ",", "[", "]", "::1", "1", "xn--bcher-kva", "!", "*"},
	"path_segment": {
		"/", "/", "/", "/", "/x", "/x", "/a", "/a", "/b", "a", ".", "..", "/.", "/..", "/%2e%2e", "%2F", "%2f", "%61", ";", ";v=1", "\\", "%5C", "%00", "%25", "+", "#", ":", "//",
	},
	"bearer":     {"Bearer ", "Bearer ", "Bearer ", "bearer ", "Bearer", "Bearer\t", "Basic ", "Token ", "a", "a", "b", " ", ",", ":", "=", "\t", "a|b"},
	"basic_user": {"Basic ", "Basic ", "Basic ", "basic ", "Basic", "Bearer ", "YTp4", "YTp4", "Yjp4", "YQ==", "YTp", "Og==", " ", ",", "!", "-_", "="},
}

// randomKey makes a request that has a key, most of the time: a well-formed one
// with some pieces put in or taken out.
func randomKey(rnd *rand.Rand, source string) *keyRequest {
	k := &keyRequest{source: source}
	switch source {
	case "form":
		k.text = someText(rnd, "query", "key=a", "x=y&key=a", "key=a&key=a", "key=a&y=", "x=1")
		if rnd.IntN(4) == 0 {
			k.headers = []string{pick(rnd, []string{
				"Content-Type: application/x-www-form-urlencoded;charset=utf-8", "Content-Type: application/x-www-form-urlencoded;charset=utf-16",
				"Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded, x", "Content-Encoding: gzip",
				"Content-Type: Application/X-WWW-Form-Urlencoded ; charset=ISO-8859-1",
			})}
		}
	case "json":
		k.text = someText(rnd, "json", `{"key":"a"}`, `{"x":1,"key":"a"}`, `{"key":"a","key":"a"}`, `{"key":1}`, `{"y":{"key":"b"},"key":"a"}`)
		if rnd.IntN(4) == 0 {
			k.headers = []string{pick(rnd, []string{
				"Content-Type: application/json; charset=utf-8", "Content-Type: application/json; charset=utf-7", "Content-Type: text/plain",
				"Content-Type: application/vnd.api+json", "Content-Type: application/json\r\nContent-Encoding: x", "Content-Type: application/json\r\nConnection: content-type",
			})}
		}
	case "query":
		k.text = strings.ReplaceAll(someText(rnd, source, "key=a", "x=y&key=a", "key=a&key=a", "key=a&y=", "x=1"), " ", "%20")
	case "host_label":
		k.text = someText(rnd, source, "a.example.com", "a.example.com:80", "A.b", "a.")
	case "path_segment":
		k.text = "/" + strings.TrimPrefix(someText(rnd, source, "/x/a", "/x/a/", "/x/a/b/c", "/x"), "/")
	default:
		k.text = someLines(rnd, source)
	}
	return k
}

// someLines are one or two lines of a header field, and maybe a Connection that
// names it.
func someLines(rnd *rand.Rand, source string) string {
	name := map[string]string{"header": "X-Store", "cookie": "Cookie"}[source]
	if name == "" {
		name = "Authorization"
	}
	well := map[string][]string{
		"header": {"a", "a", "b"}, "cookie": {"key=a", "x=y; key=a", "key=a; key=a", "x=1"},
		"bearer": {"Bearer a", "Bearer a", "Basic YTp4"}, "basic_user": {"Basic YTp4", "Basic Yjp4", "Bearer a"},
	}[source]
	lines := []string{name + ": " + someText(rnd, source, well...)}
	if rnd.IntN(4) == 0 {
		lines = append(lines, name+": "+someText(rnd, source, well...))
	}
	if rnd.IntN(8) == 0 {
		lines = append(lines, "Connection: "+pick(rnd, []string{"close, " + name, strings.ToLower(name), "keep-alive"}))
	}
	return strings.Join(lines, "\n")
}

// someText takes one of the texts and changes it a few times.
func someText(rnd *rand.Rand, pieces string, texts ...string) string {
	text := pick(rnd, texts)
	for range rnd.IntN(4) {
		at := rnd.IntN(len(text) + 1)
		switch piece := pick(rnd, keyPieces[pieces]); rnd.IntN(3) {
		case 0: // in between
			text = text[:at] + piece + text[at:]
		case 1: // at the end, with what divides
			text += pick(rnd, []string{"", "&", "; ", "/", ","}) + piece
		case 2: // instead
			text = text[:at] + piece + text[min(at+1+rnd.IntN(3), len(text)):]
		}
	}
	return text
}

func pick(rnd *rand.Rand, from []string) string { return from[rnd.IntN(len(from))] }

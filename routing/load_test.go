package routing_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/routing"
)

// write makes a file in a fresh directory.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const ndjsonSample = `{"store":"s1","zone":"z1","keys":["k1","k2"]}
{"store":"s2","zone":"z2"}
{"zone" : "z1", "keys" : [], "store" : "s\u0033"}
`

func TestLoad(t *testing.T) {
	for name, c := range map[string]struct{ file, content string }{
		"csv":               {"a.csv", "store,zone,key,key2\ns1,z1,k1,k2\ns2,z2,,\ns3,z1,,s3\n"},
		"csv, no extension": {"stores", "store,zone,key,key2\ns1,z1,k1,k2\ns2,z2,,\ns3,z1,,\n"},
		"csv, BOM and CRLF": {"a.csv", "\uFEFFstore,zone,key\r\ns1,z1,k1\r\n\r\ns1,z1,k2\r\ns1,z1,k1\r\ns2,z2,\r\ns3,z1,"},
		"csv, quotes":       {"a.CSV", "\"store\",zone,key,key\n\"s1\",\"z1\",k1,\"k2\"\ns2,z2,,\"\"\ns3,z1,,\n"},
		"ndjson":            {"a.ndjson", ndjsonSample},
		"jsonl, BOM, CRLF":  {"a.jsonl", "\uFEFF" + strings.ReplaceAll(ndjsonSample, "\n", "\r\n\r\n")},
		"ndjson, content":   {"stores.txt", "\n  " + ndjsonSample},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := routing.OpenFile(routing.FileOptions{Path: write(t, c.file, c.content)})
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]routing.Route{
				"s1": {Store: "s1", Zone: "z1"}, "k1": {Store: "s1", Zone: "z1"}, "k2": {Store: "s1", Zone: "z1"},
				"s2": {Store: "s2", Zone: "z2"}, "s3": {Store: "s3", Zone: "z1"},
			} {
				if got, ok := f.Lookup(key); !ok || got != want {
					t.Errorf("Lookup(%q) = %v, %v, want %v", key, got, ok, want)
				}
			}
			if _, ok := f.Lookup(""); ok {
				t.Error("the empty key is known")
			}
			checkList(t, f, "", []string{"s1", "s2", "s3"})
			checkList(t, f, "z1", []string{"s1", "s3"})
			if diff := cmp.Diff([]string{"z1", "z2"}, f.Zones()); diff != "" {
				t.Error("zones (-want +got)", diff)
			}
		})
	}
}

func TestLoadQuotedComma(t *testing.T) {
	f, err := routing.OpenFile(routing.FileOptions{Path: write(t, "a.csv", "store,zone\n\"a,\"\"b\",z\n")})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Lookup(`a,"b`); !ok {
		t.Error("a quoted store id is not known")
	}
}

func TestLoadRefused(t *testing.T) {
	const head = "store,zone,key\n"
	long := strings.Repeat("x", 129)
	for name, c := range map[string]struct {
		file, content string
		want          []string // after the path
	}{
		"empty":          {"a.csv", "", []string{`: the file is empty; the first line must be "store,zone" and may go on with key columns`}},
		"no stores":      {"a.csv", head, []string{": the file names no store"}},
		"empty ndjson":   {"a.ndjson", "\n", []string{": the file names no store"}},
		"no header":      {"a.csv", "s1,z1\ns2,z2\n", []string{`:1: the header row must start with "store,zone", not "s1,z1"`}},
		"odd column":     {"a.csv", "store,zone,region\ns1,z1,eu\n", []string{`:1: column 3 is "region"; only columns named key, key2, ... may follow store,zone`}},
		"quoted header":  {"a.csv", "\"store,zone\ns1,z1\n", []string{`:1: column 12: extraneous or missing " in quoted-field`}},
		"columns":        {"a.csv", head + "s1,z1\ns2,z2,k,l\n", []string{":2: 2 columns where the header has 3", ":3: 4 columns where the header has 3"}},
		"empty fields":   {"a.csv", head + ",z1,\ns2,,\n", []string{":2: store is empty", ":3: zone is empty"}},
		"long":           {"a.csv", head + long + ",z,\ns," + long + ",\ns,z," + long + "\n", []string{`:2: store "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." is 129 bytes long, at most 128 are allowed`, `:3: zone "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." is 129 bytes long, at most 64 are allowed`, `:4: key "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." is 129 bytes long, at most 128 are allowed`}},
		"characters":     {"a.csv", head + "a\tb,z,\na\xff,z,\nc,z,k\x7f\nd,z 1,\n", []string{`:2: store "a\tb" has a control character`, `:3: store "a\xff" is not valid UTF-8`, `:4: key "k\x7f" has a control character`, `:5: zone "z 1" has a character outside A-Z a-z 0-9 . _ -`}},
		"reserved":       {"a.csv", head + "s,unknown,\n", []string{`:2: zone "unknown" is a reserved name: it stands for requests whose key no directory knows`}},
		"two zones":      {"a.csv", head + "s1,z1,\n\ns2,z1,\ns1,z2,\n", []string{`:5: store "s1" is in zone "z2" here but in zone "z1" on line 2`}},
		"key twice":      {"a.csv", head + "s1,z1,k\ns2,z1,k\n", []string{`:3: key "k" of store "s2" already belongs to store "s1" on line 2`}},
		"key is a store": {"a.csv", head + "s1,z1,\ns2,z1,s1\n", []string{`:3: key "s1" of store "s2" is the id of another store on line 2`}},
		"store is a key": {"a.csv", head + "s1,z1,s2\ns2,z1,\n", []string{`:3: store "s2" is already a key of store "s1" on line 2`}},
		"open quote":     {"a.csv", head + "\"s1,z1,\ns2,z1,\"k\nl\"\n", []string{`:2: column 8: extraneous or missing " in quoted-field`, `:3: column 9: extraneous or missing " in quoted-field`, `:4: column 2: bare " in non-quoted-field`}},
		"long line":      {"a.csv", head + "s1,z1," + strings.Repeat("k", 1<<20) + "\ns2,,\n", []string{`:2: line is longer than 1048576 bytes`, ":3: zone is empty"}},

		"not json":      {"a.ndjson", "s1,z1\n", []string{":1: invalid character 's' looking for beginning of value"}},
		"cut":           {"a.ndjson", `{"store":"s1",`, []string{":1: JSON object is cut short"}},
		"unknown field": {"a.ndjson", `{"store":"s1","zone":"z1","region":"eu"}`, []string{`:1: unknown field "region"`}},
		"missing zone":  {"a.ndjson", `{"store":"s1"}`, []string{":1: zone is empty"}},
		"wrong type":    {"a.ndjson", `{"store":1,"zone":"z1"}`, []string{":1: store is a number; store and zone must be strings, keys a list of strings"}},
		"wrong keys":    {"a.ndjson", `{"store":"s","zone":"z1","keys":["k",2]}`, []string{":1: keys is a number; store and zone must be strings, keys a list of strings"}},
		"not an object": {"a.ndjson", `[]`, []string{":1: array where an object is wanted"}},
		"two objects":   {"a.ndjson", `{"store":"s1","zone":"z1"} {}`, []string{":1: more than one JSON object on the line"}},
		"empty key":     {"a.ndjson", `{"store":"s1","zone":"z1","keys":[""]}`, []string{":1: key is empty"}},
		"json UTF-8":    {"a.ndjson", "{\"store\":\"s\xff\",\"zone\":\"z1\"}", []string{":1: line is not valid UTF-8"}},
		"json control":  {"a.ndjson", `{"store":"s\n","zone":"z1"}`, []string{`:1: store "s\n" has a control character`}},
		"json conflict": {"a.ndjson", "{\"store\":\"s\",\"zone\":\"z1\"}\n{\"store\":\"s\",\"zone\":\"z2\"}", []string{`:2: store "s" is in zone "z2" here but in zone "z1" on line 1`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.file, c.content)
			_, err := routing.OpenFile(routing.FileOptions{Path: path})
			if err == nil {
				t.Fatal("the file was accepted")
			}
			want := "loading stores: "
			for i, line := range c.want {
				if i > 0 {
					want += "\n"
				}
				want += path + line
			}
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Error("error (-want +got)", diff)
			}
		})
	}
}

func TestLoadErrorsAreCapped(t *testing.T) {
	content := "store,zone\n" + strings.Repeat(",z\n", 23)
	_, err := routing.OpenFile(routing.FileOptions{Path: write(t, "a.csv", content)})
	var bad *routing.LoadError
	if !errors.As(err, &bad) {
		t.Fatalf("error is %T, want a LoadError in it", err)
	}
	if len(bad.Lines) != 20 || bad.More != 3 || bad.Lines[19].Line != 21 {
		t.Errorf("%d lines told, %d more, want 20 and 3", len(bad.Lines), bad.More)
	}
	if want := "\nand 3 more"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error ends with %q, want %q", err.Error()[len(err.Error())-20:], want)
	}
}

func TestOpenFileRefused(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		"":                           "no path given",
		dir:                          "not a regular file",
		filepath.Join(dir, "no.csv"): "no such file",
	} {
		if _, err := routing.OpenFile(routing.FileOptions{Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("OpenFile(%q) = %v, want %q in it", path, err, want)
		}
	}
}

// TestLoadLarge fills many chunks with names of all lengths, the keys of a
// store far away from it.
func TestLoadLarge(t *testing.T) {
	const stores = 20_000
	id := func(i int) string { return fmt.Sprintf("%d%s", i, strings.Repeat("s", i%120)) }
	var csv strings.Builder
	csv.WriteString("store,zone,key\n")
	for i := range stores {
		fmt.Fprintf(&csv, "%s,z%d,\n", id(i), i%700)
	}
	for i := range stores {
		fmt.Fprintf(&csv, "%s,z%d,k%d\n", id(i), i%700, i)
	}
	f, err := routing.OpenFile(routing.FileOptions{Path: write(t, "a.csv", csv.String())})
	must(t, err)
	for i := range stores {
		want := routing.Route{Store: id(i), Zone: fmt.Sprintf("z%d", i%700)}
		for _, key := range []string{id(i), fmt.Sprintf("k%d", i)} {
			if got, ok := f.Lookup(key); !ok || got != want {
				t.Fatalf("Lookup(%q) = %v, %v, want %v", key, got, ok, want)
			}
		}
	}
	next := 0
	f.EachStore("", func(store string) bool {
		if store != id(next) {
			t.Fatalf("store %d is listed as %q, want %q", next, store, id(next))
		}
		next++
		return true
	})
	if next != stores || f.Len() != stores || len(f.Zones()) != 700 {
		t.Errorf("%d stores listed, Len %d, %d zones", next, f.Len(), len(f.Zones()))
	}
}

// FuzzLoad feeds anything to the loader: it must not panic, a refused file
// must leave the old table, and a table must answer for what it lists.
func FuzzLoad(f *testing.F) {
	f.Add("a.csv", "store,zone,key\ns1,z1,k1\n\"s2\",z2,\n")
	f.Add("a.csv", "\uFEFFstore,zone\r\ns1,z1\r\n")
	f.Add("a.ndjson", ndjsonSample)
	f.Add("a", "{\"store\":\"a\",\"zone\":\"z\",\"keys\":[null]}")
	f.Add("a.csv", "store,zone,key,key\na,z,b,c\nd,z,e,a\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, name, content string) {
		path := filepath.Join(dir, fmt.Sprintf("%d-stores%s", os.Getpid(), safeExt(name)))
		old := csvOf("old")
		if filepath.Ext(path) == ".ndjson" || filepath.Ext(path) == ".jsonl" {
			old = `{"store":"old","zone":"z1"}`
		}
		put(t, path, old)
		file, err := routing.OpenFile(routing.FileOptions{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, content)
		if err := file.Reload(); err != nil {
			if _, ok := file.Lookup("old"); !ok || file.Len() != 1 {
				t.Fatal("a refused file changed the table")
			}
			return
		}
		n := 0
		file.EachStore("", func(store string) bool {
			n++
			if got, ok := file.Lookup(store); !ok || got.Store != store || got.Zone == "" {
				t.Fatalf("Lookup(%q) = %v, %v", store, got, ok)
			}
			return true
		})
		if n == 0 || n != file.Len() {
			t.Fatalf("%d stores listed, Len is %d", n, file.Len())
		}
	})
}

func safeExt(name string) string {
	switch ext := filepath.Ext(name); ext {
	case ".csv", ".ndjson", ".jsonl":
		return ext
	}
	return ""
}

// FuzzRow compares the fast reading of NDJSON with encoding/json.
func FuzzRow(f *testing.F) {
	for _, line := range strings.Split(ndjsonSample, "\n") {
		f.Add(line)
	}
	f.Add(`{"store":"a","store":"b","zone":"z"}`)
	f.Add(`{"store":"a","zone":"z","keys":["b",]}`)
	f.Add(`{"store":"a","zone":"z",}`)
	f.Add("{\"store\":\"0\",\"zone\":\"\xe6\"}")
	f.Fuzz(routing.CompareRow)
}

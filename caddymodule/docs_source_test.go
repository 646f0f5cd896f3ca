package caddymodule_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is what the documentation has to say about the code, read from the
// code itself.
type source struct {
	messages []message
	events   []string
	tables   []optionTable
	fields   map[string][]jsonField // of structs, by "config.Zone" or "Handler"
	text     string                 // of the packages that know Caddy
}

// message is a log line.
type message struct {
	text string
	next bool // it says what to do
}

// optionTable is a variable like zoneOptions.
type optionTable struct {
	name    string // of the variable
	into    string // the struct that is filled in
	options []optionSource
}

type optionSource struct {
	name, usage string // usage "": it reads itself
}

// jsonField is a field of a struct that is configuration.
type jsonField struct {
	name, fallback string // fallback: what its comment says behind "Default:"
}

// readSource parses this package, and those whose names it uses.
func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{fields: make(map[string][]jsonField)}
	texts := make(map[string]string) // constants named Log… and Event…
	var files []sourceFile
	own := []string{ // what is logged and parsed from a Caddyfile
		".", "../admin", "../directories", "../globaloption", "../maintenance/bypass", "../mysql", "../otherguards", "../postgres", "../redis", "../refusal",
		"../servers", "../snapshot", "../state", "../telemetry",
	}
	dirs := append(slices.Clone(own), "../config", "../breaker", "../maintenance", "../routing", "../recovery", "../incidents", "../stale")
	for _, dir := range dirs {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			s.constants(file, texts)
			s.structs(file, dir)
			if slices.Contains(own, dir) {
				files = append(files, sourceFile{file, qualifierOf(dir)})
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				s.text += string(text)
			}
		}
	}
	for _, file := range files {
		ast.Inspect(file.File, func(n ast.Node) bool { s.told(n, texts); s.optionTable(n, file.qualifier); return true })
	}
	if len(s.messages) < 20 || len(s.events) < 20 || len(s.tables) < 10 {
		t.Fatalf("found %d messages, %d events, %d tables of options: the code is written in a way that this test does not know", len(s.messages), len(s.events), len(s.tables))
	}
	return s
}

// sourceFile is a file, and what stands before the names of its package.
type sourceFile struct {
	*ast.File
	qualifier string
}

// qualifierOf is "" for this package, else "config." or the like.
func qualifierOf(dir string) string {
	if dir == "." {
		return ""
	}
	return filepath.Base(dir) + "."
}

// has reports whether a name which the documentation quotes exists.
func (s *source) has(kind, name string) bool {
	switch kind {
	case "log":
		return slices.ContainsFunc(s.messages, func(m message) bool { return m.text == name })
	case "event":
		return slices.Contains(s.events, strings.TrimPrefix(name, "firebreak."))
	}
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "caddy_firebreak_"), "{")
	for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
		if strings.Contains(s.text, `"`+strings.TrimSuffix(name, suffix)+`"`) {
			return true
		}
	}
	return false
}

func (s *source) constants(file *ast.File, texts map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 {
			return true
		}
		text, ok := literal(spec.Values[0])
		if !ok {
			return true
		}
		name := spec.Names[0].Name
		switch {
		case strings.HasPrefix(name, "Event") && name != "EventPrefix":
			s.events = append(s.events, text)
		case strings.HasPrefix(name, "Log"):
			texts[name] = text
			s.messages = append(s.messages, message{text: text})
		}
		return true
	})
}

func literal(e ast.Expr) (string, bool) {
	basic, ok := e.(*ast.BasicLit)
	if !ok || basic.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(basic.Value)
	return text, err == nil
}

// told finds out which messages say what to do next: they are logged with the
// field, or stand in a table before it.
func (s *source) told(n ast.Node, texts map[string]string) {
	var parts []ast.Expr
	next := false
	switch n := n.(type) {
	case *ast.CallExpr:
		parts = n.Args
		for _, arg := range n.Args {
			ast.Inspect(arg, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if ok && len(call.Args) == 2 {
					text, _ := literal(call.Args[0])
					next = next || text == "next" || lastName(call.Args[0]) == "FieldNext"
				}
				return true
			})
		}
	case *ast.CompositeLit:
		parts = n.Elts
		if len(parts) > 1 {
			last := parts[len(parts)-1]
			if pair, ok := last.(*ast.KeyValueExpr); ok {
				last = pair.Value
			}
			text, isText := literal(last)
			id, isName := last.(*ast.Ident)
			next = isText && text != "" || isName && strings.HasPrefix(id.Name, "next")
		}
	}
	if !next {
		return
	}
	for _, part := range parts {
		if pair, ok := part.(*ast.KeyValueExpr); ok {
			part = pair.Value
		}
		if text := texts[lastName(part)]; text != "" {
			for i := range s.messages {
				s.messages[i].next = s.messages[i].next || s.messages[i].text == text
			}
		}
	}
}

// optionTable reads "var zoneOptions = directive.Options[config.Zone]{..., Known: ...}".
func (s *source) optionTable(n ast.Node, qualifier string) {
	spec, ok := n.(*ast.ValueSpec)
	if !ok || len(spec.Values) != 1 {
		return
	}
	table, ok := spec.Values[0].(*ast.CompositeLit)
	if !ok {
		return
	}
	generic, ok := table.Type.(*ast.IndexExpr)
	if !ok || expression(generic.X) != "directive.Options" {
		return
	}
	found := optionTable{name: spec.Names[0].Name, into: expression(generic.Index)}
	if !strings.Contains(found.into, ".") {
		found.into = qualifier + found.into
	}
	for _, element := range table.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok || expression(pair.Key) != "Known" {
			continue
		}
		for _, entry := range pair.Value.(*ast.CompositeLit).Elts {
			entry := entry.(*ast.KeyValueExpr)
			name, _ := literal(entry.Key)
			found.options = append(found.options, optionSource{name, usageOf(entry.Value)})
		}
	}
	s.tables = append(s.tables, found)
}

// usageOf is the example of an option: the field usage, or the first argument
// of the function that makes it.
func usageOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			text, _ := literal(e.Args[0])
			return text
		}
	case *ast.CompositeLit:
		for _, element := range e.Elts {
			if pair, ok := element.(*ast.KeyValueExpr); ok && expression(pair.Key) == "Usage" {
				text, _ := literal(pair.Value)
				return text
			}
		}
	}
	return ""
}

// lastName is the name that an identifier, qualified or not, ends with.
func lastName(e ast.Expr) string {
	name := expression(e)
	return name[strings.LastIndex(name, ".")+1:]
}

func expression(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return expression(e.X) + "." + e.Sel.Name
	}
	return ""
}

// structs remembers the JSON fields of structs and their documented defaults.
func (s *source) structs(file *ast.File, dir string) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		body, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		name := qualifierOf(dir) + spec.Name.Name
		for _, field := range body.Fields.List {
			if field.Tag == nil {
				continue
			}
			tag, _ := strconv.Unquote(field.Tag.Value)
			key, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if key == "" || key == "-" {
				continue
			}
			_, fallback, _ := strings.Cut(strings.Join(strings.Fields(field.Doc.Text()), " "), "Default: ")
			s.fields[name] = append(s.fields[name], jsonField{key, fallback})
		}
		return true
	})
}

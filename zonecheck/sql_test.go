package zonecheck_test

import (
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/zonecheck"
)

func TestFinder(t *testing.T) {
	for _, test := range []struct {
		in, query, app, want string
	}{
		{"comment", "/*store='s0001'*/ SELECT 1", "", "s0001"},
		{"comment", "SELECT 1 /*action='x',store='a%20b%2Fc',z='1'*/", "", "a b/c"},
		{"comment", `SELECT 1 /*store='O\'Neill'*/`, "", "O'Neill"},
		{"comment", "SELECT '/*store=''s1''*/'", "", ""},
		{"comment", "SELECT $$/*store='s1'*/$$", "", ""},
		{"comment", `SELECT E'\'/*store=''s1''*/'`, "", ""},
		{"comment", `SELECT "/*store='s1'*/"`, "", ""},
		{"comment", "-- /*store='s1'*/\nSELECT 1", "", ""},
		{"comment", "/*store='s1'*/ SELECT 1 /*store='s2'*/", "", ""},
		{"comment", "/*store='s1'*/ SELECT 1 /*store='s1'*/", "", "s1"},
		{"comment", "/*xstore='s1'*/ SELECT 1", "", ""},
		{"comment", "/*store='%zz'*/ SELECT 1", "", ""},
		{"comment", "SELECT 1 /*store='s1'", "", ""},
		{"application_name", "SELECT 1", "s1", "s1"},
		{"store_id = '(?P<store>[^']+)'", "SELECT 1 WHERE store_id = 's7'", "", "s7"},
		{"store_id = '(?P<store>[^']+)'", "WHERE store_id = 's7' OR store_id = 's8'", "", ""},
	} {
		f, err := zonecheck.NewFinder([]string{test.in}, zonecheck.PostgreSQL)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Store(test.query, test.app); got != test.want {
			t.Errorf("%s: the store of %q is %q, want %q", test.in, test.query, got, test.want)
		}
	}
}

func TestWithoutLiterals(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT * FROM t1 WHERE a = 'it''s' AND b=-1.5e3 AND c = $1": "SELECT * FROM t1 WHERE a = ? AND b=-? AND c = $1",
		"UPDATE x SET v = $tag$secret$tag$ /*store='s1'*/ -- secret": "UPDATE x SET v = ?",
		`SELECT E'a\'secret' , "col_1"`:                              `SELECT E? , "col_1"`,
		"SELECT 'cut off secr":                                       "SELECT ?",
		"SELECT\n\t1":                                                "SELECT ?",
	} {
		if got := zonecheck.PostgreSQL.WithoutLiterals(query); got != want {
			t.Errorf("%q is shown as %q, want %q", query, got, want)
		}
	}
	if got := zonecheck.PostgreSQL.WithoutLiterals(strings.Repeat("SELECT x ", 1000)); len(got) > 310 {
		t.Errorf("%d bytes are shown", len(got))
	}
}

// TestFinderMySQL: the literals and comments that only MySQL has.
func TestFinderMySQL(t *testing.T) {
	f, err := zonecheck.NewFinder([]string{"comment"}, zonecheck.MySQL)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"/*store='s1'*/ SELECT 1":                "s1",
		`SELECT "/*store='s1'*/"`:                "",
		`SELECT '\'/*store=\'s1\'*/'`:            "",
		"SELECT `/*store='s1'*/`":                "",
		"# /*store='s1'*/\nSELECT 1":             "",
		"SELECT 1--1 /*store='s1'*/":             "s1", // no comment without a space
		"/* /* */ SELECT 1 /*store='s1'*/":       "s1", // comments do not nest
		"SELECT $$ /*store='s1'*/ $$":            "s1",
		`SELECT 'it\'s' /*store='s1'*/`:          "s1",
		"/*store='s1'*/ SELECT 1 /*store='s2'*/": "",
	} {
		if got := f.Store(query, ""); got != want {
			t.Errorf("the store of %q is %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string]string{
		`SELECT "secret", 'a\'secret', 7 FROM ` + "`t1`": "SELECT ?, ?, ? FROM `t1`",
		"SELECT 1 # secret": "SELECT ?",
		"SELECT 0x5345, X'53', N'secret', _utf8'secret'": "SELECT ?, X?, N?, _utf8?",
	} {
		if got := zonecheck.MySQL.WithoutLiterals(query); got != want {
			t.Errorf("%q is shown as %q, want %q", query, got, want)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("/*store='s1'*/ SELECT E'\\' $$ \" -- # `")
	var finders []*zonecheck.Finder
	for _, d := range []zonecheck.Dialect{zonecheck.PostgreSQL, zonecheck.MySQL} {
		finder, err := zonecheck.NewFinder([]string{"comment"}, d)
		if err != nil {
			f.Fatal(err)
		}
		finders = append(finders, finder)
	}
	f.Fuzz(func(_ *testing.T, query string) {
		for _, finder := range finders {
			finder.Store(query, "")
		}
		zonecheck.PostgreSQL.WithoutLiterals(query)
		zonecheck.MySQL.WithoutLiterals(query)
	})
}

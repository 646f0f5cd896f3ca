package pgtable

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/firebreak-proxy/firebreak/routing"
)

func fields(keysType uint32, names ...string) []pgconn.FieldDescription {
	all := make([]pgconn.FieldDescription, len(names))
	for i, name := range names {
		all[i] = pgconn.FieldDescription{Name: name, DataTypeOID: pgtype.TextOID}
		if name == "keys" {
			all[i].DataTypeOID = keysType
		}
	}
	return all
}

func TestColumns(t *testing.T) {
	for name, c := range map[string]struct {
		fields []pgconn.FieldDescription
		row    []string // "\x00" is NULL
		key    string   // must lead to s1
		want   string   // error
	}{
		"two columns":    {fields(0, "store", "zone"), []string{"s1", "z1"}, "s1", ""},
		"other order":    {fields(pgtype.TextArrayOID, "keys", "x", "zone", "store"), []string{`{a,"b c"}`, "", "z1", "s1"}, "b c", ""},
		"one key":        {fields(pgtype.VarcharOID, "store", "zone", "keys"), []string{"s1", "z1", "k1"}, "k1", ""},
		"number":         {fields(pgtype.Int8OID, "store", "zone", "keys"), []string{"s1", "z1", "17"}, "17", ""},
		"numbers":        {fields(pgtype.Int8ArrayOID, "store", "zone", "keys"), []string{"s1", "z1", "{17,18}"}, "18", ""},
		"uuids":          {fields(pgtype.UUIDArrayOID, "store", "zone", "keys"), []string{"s1", "z1", "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}"}, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", ""},
		"own type":       {fields(99999, "store", "zone", "keys"), []string{"s1", "z1", "k1"}, "k1", ""},
		"null keys":      {fields(pgtype.TextArrayOID, "store", "zone", "keys"), []string{"s1", "z1", "\x00"}, "s1", ""},
		"empty keys":     {fields(pgtype.TextArrayOID, "store", "zone", "keys"), []string{"s1", "z1", "{}"}, "s1", ""},
		"null in keys":   {fields(pgtype.TextArrayOID, "store", "zone", "keys"), []string{"s1", "z1", "{NULL}"}, "", "keys {NULL}"},
		"no zone":        {fields(0, "store", "zon"), nil, "", "the columns are store, zon"},
		"json":           {fields(pgtype.JSONBOID, "store", "zone", "keys"), nil, "", "keys is of type jsonb"},
		"null store":     {fields(0, "store", "zone"), []string{"\x00", "z1"}, "", "store is empty"},
		"null zone":      {fields(0, "store", "zone"), []string{"s1", "\x00"}, "", "zone is empty"},
		"wrong zone":     {fields(0, "store", "zone"), []string{"s1", "z 1"}, "", `zone "z 1"`},
		"too long a key": {fields(pgtype.TextOID, "store", "zone", "keys"), []string{"s1", "z1", strings.Repeat("k", 200)}, "", "200 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			columns, err := columnsOf(c.fields)
			b := routing.NewBuilder()
			if err == nil {
				values := make([][]byte, len(c.row))
				for i, v := range c.row {
					if v != "\x00" {
						values[i] = []byte(v)
					}
				}
				err = columns.add(b, 1, values)
			}
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if route, ok := b.Table().Lookup(c.key); !ok || route.Store != "s1" || route.Zone != "z1" {
				t.Errorf("%q: %v %v", c.key, route, ok)
			}
		})
	}
}

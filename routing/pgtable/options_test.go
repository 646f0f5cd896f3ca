package pgtable_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/pgtable"
)

func TestCheck(t *testing.T) {
	const db = "postgres://u:secret@db/shop"
	for _, c := range []struct {
		o    pgtable.Options
		want string // "" is right
	}{
		{pgtable.Options{DSN: db, Table: "stores"}, ""},
		{pgtable.Options{DSN: db, Table: "Shop.lädén_2"}, ""},
		{pgtable.Options{DSN: "host=db password=secret gssencmode=disable", Query: "SELECT 1"}, ""},
		{pgtable.Options{Table: "stores"}, "no database"},
		{pgtable.Options{DSN: "db", Table: "stores"}, "write a URL"},
		{pgtable.Options{DSN: "postgres://u:secret@db:port/x", Table: "stores"}, "invalid port"},
		{pgtable.Options{DSN: "host=db sslmode=perhaps password=secret", Table: "stores"}, "sslmode"},
		{pgtable.Options{DSN: db}, "nothing to read"},
		{pgtable.Options{DSN: db, Table: "a", Query: "b"}, "not both"},
		{pgtable.Options{DSN: db, Table: "a b"}, "no name of a table"},
		{pgtable.Options{DSN: db, Table: "stores;"}, "no name of a table"},
		{pgtable.Options{DSN: db, Table: "a.b.c.d"}, "no name of a table"},
		{pgtable.Options{DSN: db, Table: "a", Notify: "a;b"}, "no name of a channel"},
		{pgtable.Options{DSN: db, Table: "a", Refresh: time.Millisecond}, "too often"},
		{pgtable.Options{DSN: db, Table: "a", Timeout: -1}, "negative"},
	} {
		err := c.o.Check()
		switch {
		case (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%v tells the password", err)
		}
	}
}

// TestSnapshot: what was saved is known before anybody is asked; a snapshot
// that cannot be read is told of, and no more than that.
func TestSnapshot(t *testing.T) {
	b := routing.NewBuilder()
	if err := b.Add(1, "s1", "z1", []string{"k,1", `k"2`}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stores.csv")
	if err := routing.SaveTable(path, b.Table()); err != nil {
		t.Fatal(err)
	}
	var told []routing.SourceEvent
	o := pgtable.Options{DSN: "postgres://db/shop", Table: "stores", Snapshot: path, Log: func(e routing.SourceEvent) { told = append(told, e) }}
	d, err := pgtable.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"s1", "k,1", `k"2`} {
		if route, ok := d.Ask(t.Context(), key); !ok || route != (routing.Route{Store: "s1", Zone: "z1"}) {
			t.Errorf("%s: %v %v", key, route, ok)
		}
	}
	if len(told) != 1 || told[0].Kind != routing.SourceRestored || told[0].Stores != 1 || told[0].Keys != 3 {
		t.Errorf("told %+v", told)
	}
	if err := os.WriteFile(path, []byte("store,zone\ns1"), 0o600); err != nil {
		t.Fatal(err)
	}
	told = nil
	if d, err = pgtable.Open(o); err != nil || d.Len() != 0 {
		t.Errorf("%d stores, %v", d.Len(), err)
	}
	if len(told) != 1 || told[0].Kind != routing.SourceSnapshotFailed || told[0].Err == nil {
		t.Errorf("told %+v", told)
	}
}

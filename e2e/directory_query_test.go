//go:build e2e

package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/pgtable"
)

// TestPostgresQueries asks a real server everything that people may write.
func TestPostgresQueries(t *testing.T) {
	for name, c := range map[string]struct {
		o    pgtable.Options
		key  string // must lead to store 7 of zone z1
		want string // of the error; empty: the table is good
	}{
		"numbers":             {pgtable.Options{Query: "SELECT 7::bigint AS store, 'z1' AS zone"}, "7", ""},
		"array":               {pgtable.Options{Query: `SELECT '7' AS store, 'z1' AS zone, ARRAY['a,b', 'c"d', 'e f'] AS keys`}, `c"d`, ""},
		"one key":             {pgtable.Options{Query: "SELECT 7 AS store, 'z1'::varchar AS zone, 'k1'::varchar(20) AS keys"}, "k1", ""},
		"uuids":               {pgtable.Options{Query: "SELECT 7 AS store, 'z1' AS zone, ARRAY['6BA7B810-9DAD-11D1-80B4-00C04FD430C8'::uuid] AS keys"}, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", ""},
		"two rows of a store": {pgtable.Options{Query: "SELECT * FROM (VALUES (7, 'z1', 'k1'), (7, 'z1', 'k2')) v(store, zone, keys)"}, "k2", ""},
		"two zones":           {pgtable.Options{Query: "SELECT * FROM (VALUES (7, 'z1'), (7, 'z2')) v(store, zone)"}, "", `row 2: store "7" is in zone "z2" here but in zone "z1" in row 1`},
		"no column":           {pgtable.Options{Query: "SELECT 7 AS id, 'z1' AS zone"}, "", "the columns are id, zone; store and zone are needed"},
		"no rows":             {pgtable.Options{Query: "SELECT 7 AS store, 'z1' AS zone WHERE false"}, "", "there are no rows"},
		"wrong SQL":           {pgtable.Options{Query: "SELEC"}, "", "syntax error"},
		"no table":            {pgtable.Options{Table: "nowhere"}, "", `relation "nowhere" does not exist`},
		"table without zone":  {pgtable.Options{Table: "stores"}, "", `column "store" does not exist`},
		"writes":              {pgtable.Options{Query: "DELETE FROM stores RETURNING id AS store, 'z1' AS zone"}, "", "read-only transaction"},
		"too slow":            {pgtable.Options{Query: "SELECT 7 AS store, 'z1' AS zone FROM pg_sleep(10)", Timeout: 300 * time.Millisecond}, "", "statement timeout"},
		"wrong rows":          {pgtable.Options{Query: "SELECT n AS store, 'no zone' AS zone FROM generate_series(1, 30) n"}, "", "and 20 more"},
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan routing.SourceEvent, 8)
			c.o.DSN, c.o.Log = world.databases[0].dsn(), func(e routing.SourceEvent) { told <- e }
			d, err := pgtable.Open(c.o)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); d.Run(ctx) }()
			defer func() { stop(); <-ended }()
			select {
			case e := <-told:
				switch {
				case c.want == "" && e.Kind != routing.SourceLoaded:
					t.Errorf("got %v", e.Err)
				case c.want != "" && (e.Kind != routing.SourceRefused || !strings.Contains(e.Err.Error(), c.want)):
					t.Errorf("got %d %v, want %q", e.Kind, e.Err, c.want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("nothing happened")
			}
			if c.want == "" {
				if route, ok := d.Ask(ctx, c.key); !ok || route.Store != "7" || route.Zone != "z1" {
					t.Errorf("%s leads to %v, %v", c.key, route, ok)
				}
			}
		})
	}
}

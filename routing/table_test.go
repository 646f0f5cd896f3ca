package routing_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/routing"
)

func TestInline(t *testing.T) {
	table, err := routing.NewInline([]routing.InlineZone{
		{Name: "z2", Stores: []string{"a", "b"}},
		{Name: "z1", Stores: []string{"c", "ü €"}},
		{Name: "empty"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]routing.Route{
		"a": {Store: "a", Zone: "z2"}, "b": {Store: "b", Zone: "z2"},
		"c": {Store: "c", Zone: "z1"}, "ü €": {Store: "ü €", Zone: "z1"},
	} {
		if got, ok := table.Lookup(key); !ok || got != want {
			t.Errorf("Lookup(%q) = %v, %v, want %v", key, got, ok, want)
		}
	}
	for _, key := range []string{"", "A", "ab", "z1", strings.Repeat("a", 200)} {
		if got, ok := table.Lookup(key); ok {
			t.Errorf("Lookup(%q) = %v, want unknown", key, got)
		}
	}
	if diff := cmp.Diff([]string{"empty", "z1", "z2"}, table.Zones()); diff != "" {
		t.Error("zones (-want +got)", diff)
	}
	checkList(t, table, "", []string{"a", "b", "c", "ü €"})
	checkList(t, table, "z2", []string{"a", "b"})
	checkList(t, table, "empty", nil)
	checkList(t, table, "nowhere", nil)
	if table.Len() != 4 {
		t.Errorf("Len = %d, want 4", table.Len())
	}
}

func checkList(t *testing.T, d routing.Lister, zone string, want []string) {
	t.Helper()
	var got []string
	d.EachStore(zone, func(store string) bool { got = append(got, store); return true })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stores of zone %q (-want +got)%s", zone, diff)
	}
}

func TestEachStoreStops(t *testing.T) {
	table, err := routing.NewInline([]routing.InlineZone{{Name: "z", Stores: []string{"a", "b", "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	table.EachStore("", func(string) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("yield was called %d times, want 2", n)
	}
}

func TestInlineRefused(t *testing.T) {
	long := strings.Repeat("x", 129)
	for name, c := range map[string]struct {
		zones []routing.InlineZone
		want  string
	}{
		"no zones":        {nil, "no zones listed"},
		"empty name":      {[]routing.InlineZone{{}}, "zone is empty"},
		"reserved":        {[]routing.InlineZone{{Name: "Unknown"}}, `zone "Unknown" is a reserved name: it stands for requests whose key no directory knows`},
		"reserved all":    {[]routing.InlineZone{{Name: "all"}}, `zone "all" is a reserved name: it stands for every zone at once`},
		"zone characters": {[]routing.InlineZone{{Name: "a b"}}, `zone "a b" has a character outside A-Z a-z 0-9 . _ -`},
		"long zone":       {[]routing.InlineZone{{Name: long}}, "is 129 bytes long, at most 64 are allowed"},
		"twice":           {[]routing.InlineZone{{Name: "z"}, {Name: "z"}}, `zone "z" is listed twice`},
		"two zones": {
			[]routing.InlineZone{{Name: "z1", Stores: []string{"a"}}, {Name: "z2", Stores: []string{"a"}}},
			`zone "z2": store "a" is in zone "z2" here but in zone "z1"`,
		},
		"empty store":   {[]routing.InlineZone{{Name: "z", Stores: []string{""}}}, `zone "z": store is empty`},
		"long store":    {[]routing.InlineZone{{Name: "z", Stores: []string{long}}}, "is 129 bytes long, at most 128 are allowed"},
		"control":       {[]routing.InlineZone{{Name: "z", Stores: []string{"a\x00"}}}, `store "a\x00" has a control character`},
		"high control":  {[]routing.InlineZone{{Name: "z", Stores: []string{"a\u0085"}}}, `store "a\u0085" has a control character`},
		"invalid UTF-8": {[]routing.InlineZone{{Name: "z", Stores: []string{"a\xff"}}}, `store "a\xff" is not valid UTF-8`},
		"spaces":        {[]routing.InlineZone{{Name: "z", Stores: []string{" a"}}}, `store " a" starts or ends with a space`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := routing.NewInline(c.zones)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %q in it", err, c.want)
			}
		})
	}
}

// TestTableAgreesWithMap builds tables of many sizes, through every growth
// step, and compares them with Go's map.
func TestTableAgreesWithMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stores := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zäß0-9/-]{1,20}`), 0, 300, rapid.ID).Draw(t, "stores")
		zones := rapid.IntRange(1, 9).Draw(t, "zones")
		want := make(map[string]string)
		list := make([]routing.InlineZone, zones)
		for i := range list {
			list[i].Name = fmt.Sprintf("z%d", i)
		}
		for i, store := range stores {
			z := &list[i%zones]
			z.Stores = append(z.Stores, store)
			want[store] = z.Name
		}
		table, err := routing.NewInline(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range append(stores, rapid.SliceOf(rapid.String()).Draw(t, "others")...) {
			got, ok := table.Lookup(key)
			if zone, known := want[key]; ok != known || ok && got != (routing.Route{Store: key, Zone: zone}) {
				t.Fatalf("Lookup(%q) = %v, %v, want zone %q, %v", key, got, ok, zone, known)
			}
		}
		var listed []string
		table.EachStore("", func(s string) bool { listed = append(listed, s); return true })
		slices.Sort(listed)
		slices.Sort(stores)
		if !slices.Equal(listed, stores) || table.Len() != len(stores) {
			t.Fatalf("EachStore lists %q (Len %d), want %q", listed, table.Len(), stores)
		}
	})
}

// TestTableWithKeysAgreesWithMap is the same for stores with keys, with names
// of every length, in tables of one chunk and of several.
func TestTableWithKeysAgreesWithMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := routing.NewBuilder()
		want := make(map[string]routing.Route)
		var order []string
		for i := range rapid.IntRange(0, 1000).Draw(t, "stores") {
			// Padded to any length a name may have.
			pad := strings.Repeat("x", rapid.IntRange(0, 116).Draw(t, "pad"))
			route := routing.Route{Store: fmt.Sprintf("%s-%d", pad, i), Zone: fmt.Sprintf("z%d", i%300)}
			names := []string{route.Store}
			for k := range rapid.IntRange(0, 3).Draw(t, "keys") {
				names = append(names, fmt.Sprintf("%s-%d-%d", pad, i, k))
			}
			if err := b.Add(i, route.Store, route.Zone, names[1:]); err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				want[name] = route
			}
			order = append(order, names...)
		}
		table := b.Table()
		for name, route := range want {
			if got, ok := table.Lookup(name); !ok || got != route {
				t.Fatalf("Lookup(%q) = %v, %v, want %v", name, got, ok, route)
			}
			for _, other := range []string{name + "x", name[1:]} {
				route, known := want[other]
				if got, ok := table.Lookup(other); ok != known || got != route {
					t.Fatalf("Lookup(%q) = %v, %v, want %v, %v", other, got, ok, route, known)
				}
			}
		}
		var listed []string
		table.EachName(func(name string, route routing.Route) bool {
			if route != want[name] {
				t.Fatalf("EachName gives %q the route %v, want %v", name, route, want[name])
			}
			listed = append(listed, name)
			return true
		})
		if !slices.Equal(listed, order) || table.Keys() != len(order) {
			t.Fatalf("EachName lists %q (Keys %d), want %q", listed, table.Keys(), order)
		}
	})
}

func TestZeroTable(t *testing.T) {
	if _, ok := new(routing.Table).Lookup("a"); ok {
		t.Error("an empty table knows a store")
	}
}

func TestHash(t *testing.T) {
	zones := []string{"z3", "z1", "z2"}
	h, err := routing.NewHash(zones)
	if err != nil {
		t.Fatal(err)
	}
	more, err := routing.NewHash(append(slices.Clone(zones), "z4"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"z1", "z2", "z3"}, h.Zones()); diff != "" {
		t.Error("zones (-want +got)", diff)
	}
	const n = 30000
	count := make(map[string]int)
	for i := range n {
		store := fmt.Sprintf("store-%d", i)
		got, ok := h.Lookup(store)
		if !ok || got.Store != store {
			t.Fatalf("Lookup(%q) = %v, %v", store, got, ok)
		}
		count[got.Zone]++
		if moved, _ := more.Lookup(store); moved.Zone != got.Zone && moved.Zone != "z4" {
			t.Fatalf("%q moved from %s to %s when z4 was added", store, got.Zone, moved.Zone)
		}
	}
	for _, zone := range zones {
		if share := float64(count[zone]) / n; share < 0.31 || share > 0.36 {
			t.Errorf("zone %s has %.1f%% of the stores, want a third", zone, 100*share)
		}
	}
	for _, key := range []string{"", "a\n", "\xff", strings.Repeat("a", 129)} {
		if _, ok := h.Lookup(key); ok {
			t.Errorf("Lookup(%q) knows what is no store id", key)
		}
	}
}

// TestHashIsStable pins the zones of some stores: two versions of the program
// must agree on them.
func TestHashIsStable(t *testing.T) {
	h, err := routing.NewHash([]string{"a", "b", "c", "d", "e", "f", "g", "h"})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for i := range 16 {
		route, _ := h.Lookup(fmt.Sprintf("store-%d", i))
		got.WriteString(route.Zone)
	}
	if want := "cebbdafgefgfggdc"; got.String() != want {
		t.Errorf("zones = %q, want %q", got.String(), want)
	}
}

func TestHashRefused(t *testing.T) {
	for want, zones := range map[string][]string{
		"no zones listed":           nil,
		`zone "z" is listed twice`:  {"z", "z"},
		`zone "all" is a reserved`:  {"all"},
		"zone is empty":             {"z", ""},
		`has a character outside A`: {"z/1"},
	} {
		if _, err := routing.NewHash(zones); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewHash(%q) = %v, want %q in it", zones, err, want)
		}
	}
}

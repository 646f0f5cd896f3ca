package config_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/config"
)

func TestDefaults(t *testing.T) {
	p, err := (&config.App{Workers: 32}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	z := p.Zone("any")
	got := []any{z.Timeout, z.SlowAfter, z.MaxInflight, z.MaxWait, z.Window, z.OpenTime, z.OpenTimeMax, z.AbandonAfter, z.HungHold, z.FailStatus, z.MinBadStores, p.MaxOpenZones, p.MaxServersOut}
	want := []any{5 * time.Second, 2500 * time.Millisecond, 0, 250 * time.Millisecond, 15 * time.Second, 2 * time.Second, time.Minute, time.Duration(0), time.Minute, []int{500, 502, 503, 504}, 3, .34, .5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestZoneInheritsFromAllZones(t *testing.T) {
	app := config.App{Workers: 32, Zones: []config.Zone{
		{Name: "z7", Timeout: config.Duration(5 * time.Second)},
		{Name: "*", Timeout: config.Duration(2 * time.Second), SlowAfter: config.Duration(500 * time.Millisecond), MaxInflight: config.Count(4)},
	}}
	p, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	z7, other := p.Zone("z7"), p.Zone("z1")
	if z7.Timeout != 5*time.Second || z7.SlowAfter != 2500*time.Millisecond || z7.Window != 15*time.Second || z7.MaxInflight != 4 {
		t.Errorf("z7: timeout %s, slow_after %s, window %s, max_inflight %d", z7.Timeout, z7.SlowAfter, z7.Window, z7.MaxInflight)
	}
	if other.Timeout != 2*time.Second || other.SlowAfter != 500*time.Millisecond {
		t.Errorf("z1: timeout %s, slow_after %s", other.Timeout, other.SlowAfter)
	}
}

func TestWrongSettings(t *testing.T) {
	sec := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Second) }
	zone := func(z config.Zone) config.App {
		z.Name = "*"
		return config.App{Workers: 32, Zones: []config.Zone{z}}
	}
	for name, tt := range map[string]struct {
		app  config.App
		want string
	}{
		"no workers":       {config.App{}, "set workers"},
		"short window":     {zone(config.Zone{Timeout: sec(5), Window: sec(10)}), "at least three times the timeout (15s)"},
		"late slow_after":  {zone(config.Zone{Timeout: sec(1), SlowAfter: sec(1)}), "slow_after is 1s, but must be shorter"},
		"too many slots":   {zone(config.Zone{MaxInflight: config.Count(33)}), "more than the 32 workers"},
		"two sizes":        {config.App{Workers: 32, WorkersPerServer: 8}, "give one of them"},
		"idle server":      {config.App{Workers: 8, Servers: []config.Server{{Address: "api:1"}}}, "workers is 0"},
		"server twice":     {config.App{Workers: 8, Servers: []config.Server{{Address: "api:1", Workers: 1}, {Address: "api:1", Workers: 2}}}, "specified twice"},
		"status":           {zone(config.Zone{FailStatus: []int{200}}), "fail_status 200"},
		"mode":             {zone(config.Zone{Mode: "shadow"}), "enforce or observe"},
		"silent tcp check": {zone(config.Zone{Check: &config.Check{Protocol: "tcp", Address: "db:1"}}), "add send or expect"},
		"reserved name":    {config.App{Workers: 1, Zones: []config.Zone{{Name: "all"}}}, "reserved"},
		"twice":            {config.App{Workers: 8, Zones: []config.Zone{{Name: "a"}, {Name: "a"}}}, "specified twice"},
		"store":            {config.App{Workers: 8, Store: config.Store{Records: -1}}, "must not be negative"},
		"abandon":          {zone(config.Zone{Timeout: sec(10), AbandonAfter: sec(5)}), "abandon_after"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tt.app.Policy(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestValuesReadWhatTheyWrite(t *testing.T) {
	in := `{"workers":8,"zones":[{"name":"*","timeout":"2s","max_inflight":"25%"}],"store":{}}`
	var app config.App
	if err := json.Unmarshal([]byte(in), &app); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	var again config.App
	if err := json.Unmarshal(out, &again); err != nil || !cmp.Equal(app, again, cmp.Comparer(func(a, b config.Amount) bool { return a == b })) {
		t.Errorf("%s became %s (%v)", in, out, err)
	}
	var d config.Duration
	if err := json.Unmarshal([]byte("1500000000"), &d); err != nil || d.String() != "1.5s" {
		t.Errorf("a number of nanoseconds became %s (%v)", d, err)
	}
}

func TestUnescape(t *testing.T) {
	if got, err := config.Unescape(`PING\r\n\x00"\\`); err != nil || string(got) != "PING\r\n\x00\"\\" {
		t.Errorf("%q (%v)", got, err)
	}
	if _, err := config.Unescape(`\q`); err == nil {
		t.Error("an unknown escape was accepted")
	}
}

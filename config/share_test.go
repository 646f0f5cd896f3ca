package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/config"
)

// TestPartsAddUp: what the sidecars of a fleet may use is exactly what there is, and
// never nothing.
func TestPartsAddUp(t *testing.T) {
	for workers := 1; workers <= 40; workers++ {
		for sidecars := 1; sidecars <= 12; sidecars++ {
			extra := make(map[int]int)
			for server := range 20 {
				address, sum := fmt.Sprintf("10.0.0.%d:9000", server), 0
				for place := 1; place <= sidecars; place++ {
					mine := config.Part{Mine: 1, Of: sidecars, Place: place}.Workers(workers, address)
					if mine < 1 {
						t.Fatalf("%d workers, %d sidecars: one has %d", workers, sidecars, mine)
					}
					sum += mine
					extra[place] += mine
				}
				if want := max(workers, sidecars); sum != want {
					t.Fatalf("%d workers, %d sidecars: %d in all, want %d", workers, sidecars, sum, want)
				}
			}
		}
	}
}

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		name   string
		app    config.App
		parts  config.Parts
		server int // workers of 10.0.0.1:9000, of two
		pool   int
		zone   int
	}{
		{"none", config.App{Workers: 32}, config.Parts{}, 16, 32, 8},
		{"a third of the whole", config.App{Workers: 32, Share: "1/3"}, config.Parts{}, 5, 10, 2},
		{"two thirds of each", config.App{WorkersPerServer: 8, Share: "2/3"}, config.Parts{}, 5, 5, 0},
		{"never none", config.App{WorkersPerServer: 2, Share: "1/3"}, config.Parts{}, 1, 1, 0},
		{"auto, nothing known", config.App{WorkersPerServer: 8, Share: "auto"}, config.Parts{}, 8, 8, 0},
		{"auto", config.App{WorkersPerServer: 8, Share: "auto"}, config.Parts{
			ByServer: map[string]config.Part{"10.0.0.1:9000": {Mine: 1, Of: 4, Place: 2}}, Others: config.Part{Mine: 1, Of: 2},
		}, 2, 4, 0},
		{"a server of its own", config.App{WorkersPerServer: 8, Share: "1/2", Servers: []config.Server{{Address: "10.0.0.1:9000", Workers: 20}}}, config.Parts{}, 10, 4, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.zone > 0 {
				share, err := config.ParseAmount("25%")
				if err != nil {
					t.Fatal(err)
				}
				tt.app.Zones = []config.Zone{{Name: "*", MaxInflight: share}}
			}
			p, err := tt.app.PolicyFor(tt.parts)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.ServerWorkers("10.0.0.1:9000", 2); got != tt.server {
				t.Errorf("%d workers of the server, want %d", got, tt.server)
			}
			if got := p.Pool(); got != tt.pool {
				t.Errorf("%d workers in all, want %d", got, tt.pool)
			}
			if got := p.Default.MaxInflight; got != tt.zone {
				t.Errorf("max_inflight %d, want %d", got, tt.zone)
			}
		})
	}
}

func TestBadShares(t *testing.T) {
	for _, share := range []string{"third", "1", "0/3", "4/3", "-1/3", "1/0", "1/3/5", "1/100000", "50%", " auto"} {
		if _, err := (&config.App{Workers: 8, Share: share}).Policy(); err == nil || !strings.Contains(err.Error(), "1/3") {
			t.Errorf("share %q: %v", share, err)
		}
	}
}

func TestBadServerChecks(t *testing.T) {
	for name, tt := range map[string]struct {
		check config.ServerCheck
		want  string
	}{
		"nothing":         {config.ServerCheck{}, "missing"},
		"a word":          {config.ServerCheck{URI: "healthz"}, "neither a path"},
		"no host":         {config.ServerCheck{URI: "http:///x"}, "neither a path"},
		"two slashes":     {config.ServerCheck{URI: "//host/x"}, "neither a path"},
		"another scheme":  {config.ServerCheck{URI: "ftp://{host}/x"}, "neither a path"},
		"a control":       {config.ServerCheck{URI: "/a\nb"}, "neither a path"},
		"negative":        {config.ServerCheck{URI: "/x", Every: -1}, "negative"},
		"status":          {config.ServerCheck{URI: "/x", Status: []int{99}}, "status 99"},
		"header":          {config.ServerCheck{URI: "/x", Headers: map[string]string{"a b": "c"}}, "a b"},
		"nothing is fine": {config.ServerCheck{URI: "/x?y={server}", Status: []int{401}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&config.App{Workers: 8, ServerCheck: &tt.check}).Policy()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "server_check")) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/sizing"
)

var sizeCommand = &command{
	use: "size", short: "Computes settings for a pool and its traffic, and what a frozen zone costs", args: cobra.NoArgs,
	long: "Needs no server: say what is known of the pool. With --from it measures the\n" +
		"traffic of a running sidecar instead, and judges the settings it runs with.\n" +
		"docs/sizing.md explains every figure.",
	examples: []string{
		"size --workers 32 --zones 12 --rate 300 --p99 400ms --kill-after 30s",
		"size --cores 8 --workers-per-core 4 --zones 12 --rate 300 --p50 20ms --p99 400ms",
		"size --servers 4 --workers-per-server 8 --zones 12 --rate 300 --p99 400ms",
		"size --workers 32 --zones 12 --rate 300 --p99 400ms --max-inflight 4 --zone-timeout 8s --window 10s",
		"size --from localhost:2019 --sample 30s --kill-after 30s",
	},
	flags: sizeFlags,
	run:   runSize,
}

func sizeFlags(f *pflag.FlagSet) {
	f.Int("workers", 0, "Workers of the API server: requests it serves at once")
	f.Int("cores", 0, "Instead of --workers: its cores, together with --workers-per-core")
	f.Int("workers-per-core", 0, "And how many workers it has for each")
	f.Int("servers", 0, "API servers, if there are several; --workers is that of all together")
	f.Int("workers-per-server", 0, "Instead of --workers: the workers of each server")
	f.Int("zones", 0, "Zones: databases, shards")
	f.Float64("rate", 0, "Requests per second through this sidecar")
	f.Duration("p50", 0, "The time in which half of the requests are answered (default: a tenth of --p99)")
	f.Duration("p99", 0, "The time in which 99 of 100 are")
	f.Float64("busiest", 0, "Percent of all requests that go to the busiest zone (default: twice the average)")
	f.Duration("kill-after", 0, "The age at which the API server replaces a stuck worker; 0: it does not")
	f.Int("burst", 0, "Requests of one store that come at once (default: 6, a page view)")
	f.Duration("zone-timeout", 0, "Judge this timeout instead of suggesting one")
	f.Duration("slow-after", 0, "Judge this slow_after")
	f.Duration("window", 0, "Judge this window")
	f.Int("max-inflight", 0, "Judge this max_inflight")
	f.Duration("max-wait", 0, "Judge this max_wait")
	f.String("from", "", "Measure a running sidecar: the address of its admin endpoint")
	f.Duration("sample", 10*time.Second, "For how long --from measures")
}

func runSize(s *session) error {
	load, have, err := s.sizeInput()
	if err != nil {
		return err
	}
	if from := s.text("from"); from != "" {
		s.address = from
		if err := s.measured(load, have); err != nil {
			return err
		}
	}
	plan, err := sizing.Compute(*load, *have)
	if err != nil {
		return err
	}
	if s.json {
		return json.NewEncoder(s.out).Encode(sizeAnswer(plan))
	}
	s.showSize(plan)
	return nil
}

// sizeInput reads the flags.
func (s *session) sizeInput() (*sizing.Load, *sizing.Settings, error) {
	number := func(flag string) int { n, _ := s.flags.GetInt(flag); return n }
	length := func(flag string) time.Duration { d, _ := s.flags.GetDuration(flag); return d }
	share := func(flag string) float64 { v, _ := s.flags.GetFloat64(flag); return v }
	load := &sizing.Load{
		Workers: number("workers"), Servers: number("servers"), Zones: number("zones"), Rate: share("rate"), Busiest: share("busiest") / 100,
		P50: length("p50"), P99: length("p99"), KillAfter: length("kill-after"), Burst: number("burst"),
	}
	if cores := number("cores"); cores != 0 {
		if load.Workers != 0 {
			return nil, nil, errors.New("say either --workers, or --cores and --workers-per-core")
		}
		load.Workers = cores * number("workers-per-core")
	}
	if each := number("workers-per-server"); each != 0 {
		if load.Workers != 0 || load.Servers < 1 {
			return nil, nil, errors.New("say --workers-per-server together with --servers, and without --workers and --cores")
		}
		load.Workers = each * load.Servers
	}
	have := &sizing.Settings{
		Timeout: length("zone-timeout"), SlowAfter: length("slow-after"), Window: length("window"),
		MaxInflight: number("max-inflight"), MaxWait: length("max-wait"),
	}
	var err error
	s.flags.VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Value.String(), "-") && f.Value.Type() != "string" {
			err = fmt.Errorf("--%s %s: it must not be negative", f.Name, f.Value)
		}
	})
	return load, have, err
}

func (s *session) showSize(p *sizing.Plan) {
	guessed := func(is bool, flag string) string {
		if !is {
			return ""
		}
		return " (guessed; say it with --" + flag + ")"
	}
	s.printf("load\n")
	s.printf("  requests take %s on average; half of them %s%s, 99 of 100 %s, 999 of 1,000 %s\n", brief2(p.Mean), brief2(p.P50), guessed(p.GuessedP50, "p50"), brief2(p.P99), brief2(p.P999))
	s.printf("  %.1f of %s are busy on average: %.0f %%\n", p.Occupied, plural(p.Workers, "worker"), 100*p.Utilisation)
	s.printf("  the busiest zone has %.0f %% of the requests%s: %s on average, %d in 99 of 100 moments\n", 100*p.Busiest, guessed(p.GuessedBusiest, "busiest"), fmt.Sprintf("%.1f workers", p.ZoneLoad), p.ZoneNeed)
	s.printf("\nif a zone freezes\n")
	s.printf("  without firebreak every worker is stuck after %s\n", brief(p.PoolGone))
	s.printf("  with it the zone is cut off after %s, and takes %s of %d (%d after ten minutes without a check)\n", brief(p.Isolated), plural(p.Worst, "worker"), p.Workers, p.WorstInTime)
	s.printf("  %s\n", s.series(p.Taken, p.Bearable))
	if f := p.FrozenServer; f != nil {
		s.printf("\nif one of %d servers freezes\n", p.Servers)
		s.printf("  about %s lost; it is avoided after %s, and out of service after %s\n", areLost(f.Lost), brief(p.Patience), brief(p.SlowAfter))
		s.printf("  the %s of the others are busy for %.0f %% of the time\n", plural(f.Left, "worker"), 100*f.Utilisation)
	}
	for i, w := range p.Warnings {
		if i == 0 {
			s.printf("\n")
		}
		s.printf("%s %s\n", s.paint(yellow, "warning:"), w)
	}
	s.printf("\n%s", p.Caddyfile())
}

func areLost(n int) string {
	if n == 1 {
		return "1 request is"
	}
	return fmt.Sprintf("%d requests are", n)
}

// series says how many workers are taken by one zone, two, three, ...
func (s *session) series(taken []int, bearable int) string {
	var each []string
	for _, n := range taken[:min(len(taken), 5)] {
		each = append(each, fmt.Sprint(n))
	}
	text := "1 zone takes " + each[0]
	if len(each) > 1 {
		text = fmt.Sprintf("1 to %d zones take %s workers", len(each), strings.Join(each, ", "))
	}
	switch bearable {
	case 0:
		return text + s.paint(yellow, "; the others feel the first one")
	case len(taken):
		return text + "; the others have room whatever happens"
	}
	return text + fmt.Sprintf("; the others have room up to %s", plural(bearable, "zone"))
}

// brief2 is a short time with its fractions.
func brief2(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond).String()
	}
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// sizeJSON is a plan for scripts; times are milliseconds.
type sizeJSON struct {
	Workers     int     `json:"workers"`
	Zones       int     `json:"zones"`
	Rate        float64 `json:"rate"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	Mean        float64 `json:"mean_ms"`
	Occupied    float64 `json:"occupied"`
	Utilisation float64 `json:"utilisation"`
	ZoneLoad    float64 `json:"busiest_zone_occupied"`
	ZoneNeed    int     `json:"busiest_zone_needs"`

	Timeout     string  `json:"timeout"`
	SlowAfter   string  `json:"slow_after"`
	Window      string  `json:"window"`
	MaxWait     string  `json:"max_wait"`
	MaxInflight int     `json:"max_inflight,omitempty"`
	Patience    float64 `json:"patience_ms"`

	IsolatedAfter float64  `json:"isolated_after_ms"`
	PoolGoneAfter float64  `json:"pool_gone_without_after_ms"`
	Worst         int      `json:"worst_occupied"`
	WorstInTime   int      `json:"worst_occupied_after_10m"`
	Taken         []int    `json:"occupied_by_frozen_zones"`
	Bearable      int      `json:"bearable_zones"`
	Servers       int      `json:"servers,omitempty"`
	ServerLost    int      `json:"lost_by_frozen_server,omitempty"`
	ServerLeft    int      `json:"workers_without_a_server,omitempty"`
	ServerLeftUse float64  `json:"utilisation_without_a_server,omitempty"`
	Warnings      []string `json:"warnings"`
	Caddyfile     string   `json:"caddyfile"`
}

func sizeAnswer(p *sizing.Plan) sizeJSON {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	f := p.FrozenServer
	if f == nil {
		f = new(sizing.FrozenServer)
	}
	return sizeJSON{
		Servers: p.Servers, ServerLost: f.Lost, ServerLeft: f.Left, ServerLeftUse: f.Utilisation,
		Workers: p.Workers, Zones: p.Zones, Rate: p.Rate, P50: ms(p.P50), P99: ms(p.P99), Mean: ms(p.Mean),
		Occupied: p.Occupied, Utilisation: p.Utilisation, ZoneLoad: p.ZoneLoad, ZoneNeed: p.ZoneNeed,
		Timeout: p.Timeout.String(), SlowAfter: p.SlowAfter.String(), Window: p.Window.String(), MaxWait: p.MaxWait.String(),
		MaxInflight: p.MaxInflight, Patience: ms(p.Patience),
		IsolatedAfter: ms(p.Isolated), PoolGoneAfter: ms(p.PoolGone), Worst: p.Worst, WorstInTime: p.WorstInTime,
		Taken: p.Taken, Bearable: p.Bearable,
		Warnings: append([]string{}, p.Warnings...), Caddyfile: p.Caddyfile(),
	}
}

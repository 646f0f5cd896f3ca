// Command budget measures what firebreak costs: proxied requests and refusals
// per second as a ratio against the same Caddy without firebreak, interleaved
// in the same run, and start time and memory with a million stores.
//
//	go run ./examples/budget -firebreak bin/firebreak
//
// The load stays on loopback and ends by itself after rounds x 10 x each.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

func main() {
	binary := flag.String("firebreak", "bin/firebreak", "the binary to measure")
	rounds := flag.Int("rounds", 75, "rounds; the median counts: many short ones are disturbed less than few long ones")
	each := flag.Duration("each", 200*time.Millisecond, "how long to load each site in a round")
	conns := flag.Int("connections", 32, "connections")
	stores := flag.Int("stores", 1_000_000, "stores of the start-up measurement; 0 leaves it out")
	flag.Parse()
	if err := run(*binary, *rounds, *conns, *stores, *each); err != nil {
		fmt.Fprintln(os.Stderr, "budget:", err)
		os.Exit(1)
	}
}

func run(binary string, rounds, conns, stores int, each time.Duration) error {
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("%w: build it first: make build", err)
	}
	dir, err := os.MkdirTemp("", "budget")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := throughput(binary, dir, rounds, conns, each); err != nil {
		return err
	}
	if stores == 0 {
		return nil
	}
	return startUp(binary, dir, stores)
}

// pair is two sites that differ in one thing.
type pair struct {
	name          string
	plain, guards string // addresses
	requests      [][]byte
	status        int // of every answer
	budget        float64
	ratios        []float64
}

func throughput(binary, dir string, rounds, conns int, each time.Duration) error {
	api, err := startAPI()
	if err != nil {
		return err
	}
	defer api.Close()
	ports, err := loopback.Ports(6)
	if err != nil {
		return err
	}
	proxy, err := startProxy(binary, dir, config(ports, api.Addr))
	if err != nil {
		return err
	}
	defer proxy.stop()
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	if err := waitFor(addr(1)); err != nil {
		return errors.Join(err, proxy.stop())
	}
	if err := isolateZone(addr(0)); err != nil {
		return err
	}
	pairs := []*pair{
		{name: "searches of a shop's page, against reverse_proxy", plain: addr(1), guards: addr(2), requests: everyStore(fetch, "/search?q=running+shoes&page=1&key="), status: 200, budget: 0.95},
		{name: "the smallest proxied requests", plain: addr(1), guards: addr(2), requests: everyStore(get, "/?key="), status: 200, budget: 0.95},
		{name: "orders that it sends by POST", plain: addr(1), guards: addr(2), requests: everyStore(post, "/orders?key="), status: 200, budget: 0.95},
		{name: "searches, with answers kept in memory (stale)", plain: addr(1), guards: addr(5), requests: everyStore(fetch, "/search?q=running+shoes&page=1&key="), status: 200, budget: 0.95},
		{name: "refusals, against respond", plain: addr(3), guards: addr(4), requests: [][]byte{get("/?key=b3")}, status: 503, budget: 0.90},
	}
	fmt.Printf("%d rounds of %s each, interleaved, %d connections; requests/s with firebreak of those without:\n", rounds, each, conns)
	for _, p := range pairs {
		fmt.Printf("  %s\n", p.name)
	}
	for round := range rounds {
		fmt.Printf("  round %d:", round+1)
		for _, p := range pairs {
			first, second := p.plain, p.guards
			if round%2 == 1 {
				first, second = second, first
			}
			a, err := perSecond(first, p.requests, p.status, conns, each)
			if err != nil {
				return err
			}
			b, err := perSecond(second, p.requests, p.status, conns, each)
			if err != nil {
				return err
			}
			if round%2 == 1 {
				a, b = b, a
			}
			p.ratios = append(p.ratios, b/a)
			fmt.Printf("  %5.0f/s of %5.0f/s", b, a)
		}
		fmt.Println()
	}
	for _, p := range pairs {
		slices.Sort(p.ratios)
		fmt.Printf("FIGURE %s: median %.3f of plain Caddy (budget %.2f; %.3f to %.3f)\n",
			p.name, p.ratios[len(p.ratios)/2], p.budget, p.ratios[0], p.ratios[len(p.ratios)-1])
	}
	return nil
}

// The proxied requests are of this many zones and stores, in turn.
const zones, storesPerZone = 12, 100

// everyStore is a request of each store; neighbours are of different zones.
func everyStore(request func(target string) []byte, target string) (requests [][]byte) {
	for i := range zones * storesPerZone {
		requests = append(requests, request(fmt.Sprintf("%ss%d", target, i+1)))
	}
	return requests
}

// inline is a directory of the zones and stores, and one more zone, whose
// requests are refused.
func inline() string {
	stores := make([]strings.Builder, zones)
	for i := range zones * storesPerZone {
		fmt.Fprintf(&stores[i%zones], " s%d", i+1)
	}
	var all strings.Builder
	for i := range stores {
		fmt.Fprintf(&all, "zone z%d {\nstores%s\n}\n", i+1, &stores[i])
	}
	return all.String() + "zone broken {\nstores b1 b2 b3 b4\n}"
}

// config has five sites: proxied plainly, guarded, answered, refused, and
// guarded with answers kept in memory.
func config(ports []int, api string) string {
	return fmt.Sprintf(`{
	admin localhost:%d
	auto_https off
	default_bind 127.0.0.1
	persist_config off
	firebreak {
		workers 512
		directory inline {
			%s
		}
	}
}
http://:%d {
	reverse_proxy %s
}
http://:%d {
	firebreak {
		key query key
	}
	reverse_proxy %s {
		transport firebreak
	}
}
http://:%d {
	respond "zone is away" 503
}
http://:%d {
	firebreak {
		key query key
	}
	respond 500
}
http://:%d {
	firebreak {
		key query key
		stale 10m
	}
	reverse_proxy %s {
		transport firebreak
	}
}
`, ports[0], inline(), ports[1], api, ports[2], api, ports[3], ports[4], ports[5], api)
}

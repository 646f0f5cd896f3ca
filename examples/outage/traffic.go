package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
	"github.com/firebreak-proxy/firebreak/examples/outage/stores"
)

// zipfExponent makes a zone's busiest store send a fifth of its requests and
// its quietest one in 500.
const zipfExponent = 1

// everyday picks a zone at random, all alike, and a store of it by Zipf. The
// same seed gives the same sequence.
func everyday(zones int, proxy string, seed uint64) func(int) load.Target {
	random := rand.New(rand.NewPCG(seed, 1))
	rank := load.Zipf(stores.PerZone, zipfExponent, seed)
	return func(int) load.Target {
		zone := random.IntN(zones)
		return searchFor(proxy, stores.Zone(zone), stores.ID(zone, rank()))
	}
}

func searchFor(proxy, zone, store string) load.Target {
	return load.Target{Zone: zone, Store: store, URL: "http://" + proxy + "/search?key=" + store}
}

// usualRate is how many requests per second the store of this rank gets in
// everyday traffic of this total rate.
func usualRate(total float64, zones, rank int) float64 {
	return total / float64(zones) * load.ZipfShares(stores.PerZone, zipfExponent)[rank]
}

// zoneIndex is the number of a zone, counted from 0.
func zoneIndex(name string, zones int) (int, error) {
	digits, found := strings.CutPrefix(name, "z")
	n, err := strconv.Atoi(digits)
	if !found || err != nil || n < 1 || n > zones {
		return 0, fmt.Errorf("no such zone %q: there are z1 to z%d", name, zones)
	}
	return n - 1, nil
}

// coldRank is where cold culprits begin: stores that ask once in a few seconds.
const coldRank = 30

// culprits names k stores of a zone: its busiest (hot), quiet ones (cold), or
// one of each in turn (mixed).
func culprits(zone, k int, temperature string) ([]string, error) {
	if k < 1 || k > coldRank {
		return nil, fmt.Errorf("culprits: want 1 to %d of them, not %d", coldRank, k)
	}
	var ids []string
	for i := range k {
		rank := i
		switch temperature {
		case "hot":
		case "cold":
			rank += coldRank
		case "mixed":
			rank = i/2 + i%2*coldRank
		default:
			return nil, fmt.Errorf("culprits: want hot, cold or mixed, not %q", temperature)
		}
		ids = append(ids, stores.ID(zone, rank))
	}
	return ids, nil
}

package load

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Zipf returns a picker of ranks 0 to stores-1, where rank r comes up in
// proportion to 1/(r+1)^s: few busy stores, many quiet ones. s = 0 makes all
// alike. The same seed gives the same sequence. A picker must not be used by
// two goroutines at once.
func Zipf(stores int, s float64, seed uint64) func() int {
	shares := ZipfShares(stores, s)
	upTo := make([]float64, stores)
	sum := 0.0
	for r, share := range shares {
		sum += share
		upTo[r] = sum
	}
	random := rand.New(rand.NewPCG(seed, 0))
	return func() int {
		// The last entry may be a rounding error short of 1.
		return min(sort.SearchFloat64s(upTo, random.Float64()), stores-1)
	}
}

// ZipfShares is the share of each rank under Zipf; the shares add up to 1.
func ZipfShares(stores int, s float64) []float64 {
	shares := make([]float64, stores)
	sum := 0.0
	for r := range shares {
		shares[r] = math.Pow(float64(r+1), -s)
		sum += shares[r]
	}
	for r := range shares {
		shares[r] /= sum
	}
	return shares
}

package sizing

// Occupation is what bounds the workers that frozen zones take.
type Occupation struct {
	Workers int

	// Limit is the zone's max_inflight, 0: none.
	Limit int

	// Early is how many workers a zone takes before it is in doubt: what comes
	// within its patience.
	Early int
}

const (
	// minBadStores is how many stores are asked to judge a zone.
	minBadStores = 3

	// probesSoon is how often a frozen zone without a check is tried within 40 s,
	// and probesLater within ten minutes.
	probesSoon, probesLater = 2, 4
)

// hear is how many stores are asked in a pool of this size: see min_bad_stores.
func (o Occupation) hear() int {
	return min(minBadStores, max(1, min(o.Workers/2, max(2, o.Workers/4))))
}

// Most is how many workers a frozen zone takes at most when it was tried so many
// times: those of the requests that came before it was in doubt, those that it
// takes to judge it, and one for each try.
func (o Occupation) Most(tries int) int {
	return min(o.limit(), o.Early+o.hear()+tries)
}

// Usual is the same if the requests that came before the zone was in doubt are of
// different stores, as they usually are: they are what it takes to judge it.
func (o Occupation) Usual(tries int) int {
	return min(o.limit(), max(o.Early, o.hear())+tries)
}

func (o Occupation) limit() int {
	if o.Limit > 0 {
		return min(o.Limit, o.Workers)
	}
	return o.Workers
}

// Taken is how many workers 1, 2, ... k frozen zones take in all, whether they
// freeze one after the other or in the same moment. The last eighth of the pool,
// and one worker at least, is kept from all but what came before they were in
// doubt.
func (o Occupation) Taken(k int) []int {
	taken := make([]int, k)
	kept := min(o.Workers-1, max(1, o.Workers/8))
	for i := range taken {
		n := i + 1
		taken[i] = min(o.Workers, max(n*min(o.Early, o.limit()), min(n*o.Usual(probesSoon), o.Workers-kept)))
	}
	return taken
}

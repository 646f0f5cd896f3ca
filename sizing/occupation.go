package sizing

// Occupation is what bounds the workers that frozen zones take.
type Occupation struct {
	Workers, MaxInflight, ProbeSlots int

	// Early is how many workers a zone takes before it is in doubt: before a
	// request of its takes four times as long as usual.
	Early int
}

// OneByOne is how many workers each of k zones takes at most if one freezes
// after the other: max_inflight and the probe slots, but never more than half of
// the workers that are not hung elsewhere, and at least one. What is left after
// k zones is therefore at least the pool divided by 2 to the k.
func (o Occupation) OneByOne(k int) []int {
	taken, each := 0, make([]int, k)
	for i := range each {
		each[i] = o.oneMore(taken)
		taken += each[i]
	}
	return each
}

// oneMore is what a zone takes while others have hung workers.
func (o Occupation) oneMore(taken int) int {
	left := o.Workers - taken
	if left <= 0 {
		return 0
	}
	half := max(1, left/2)
	regular := max(1, min(o.MaxInflight, half-o.ProbeSlots))
	return min(regular+o.ProbeSlots, half)
}

// AtOnce is the same if they freeze in the same moment. Nothing is hung then, so
// that each zone still has the whole of its limit and its probe slots; but from
// zones in doubt an eighth of the pool is kept, and one worker at least, whatever
// they are about.
func (o Occupation) AtOnce(k int) []int {
	each, taken := make([]int, k), 0
	kept := max(min(1, o.Workers-1), o.Workers/8)
	room := min(o.Workers, max(k*o.Early, o.Workers-kept))
	for i := range each {
		each[i] = min(o.oneMore(0), room-taken)
		taken += each[i]
	}
	return each
}

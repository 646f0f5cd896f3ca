// Package histogram counts durations in the classic and the native buckets of
// Prometheus, in as little memory as they take.
package histogram

import (
	"math"
	"slices"
	"time"
)

// Native buckets grow by the eighth root of two, about 9 %, as in Prometheus'
// schema 3: bucket i holds what is longer than 2^((i-1)/8) s and at most
// 2^(i/8) s.
const (
	nativeSchema  = 3
	perOctave     = 1 << nativeSchema
	lowestOctave  = -14 // what takes up to 61 µs is in the zero bucket
	highestOctave = 10  // what takes longer than 17 minutes is in the last one
	nativeBuckets = (highestOctave - lowestOctave) * perOctave
	classicMost   = 12
)

// octave tells the buckets of an octave apart by the mantissa of a duration in
// seconds: where a sixteenth of the octave begins, and whether the one bound
// that may lie in it is exceeded.
var octave = func() (o struct {
	begins [16]uint8
	bounds [perOctave + 1]uint64
},
) {
	for j := range perOctave {
		o.bounds[j] = math.Float64bits(math.Exp2(float64(j)/perOctave)) & mantissa
	}
	o.bounds[perOctave] = mantissa
	for i := range o.begins {
		for o.bounds[o.begins[i]] < uint64(i)<<(mantissaBits-4) {
			o.begins[i]++
		}
	}
	return o
}()

const (
	mantissaBits = 52
	mantissa     = 1<<mantissaBits - 1
	exponentBias = 1023
)

// Scale is the bounds of classic buckets, and in which of them a native bucket
// begins.
type Scale struct {
	bounds []int64 // nanoseconds; the last one is no bound at all
	begins [nativeBuckets]uint8
}

// NewScale makes a scale of up to twelve bounds. No two of them may lie in the same
// native bucket.
func NewScale(bounds ...time.Duration) *Scale {
	s := new(Scale)
	for _, bound := range bounds {
		s.bounds = append(s.bounds, int64(bound))
	}
	s.bounds = append(s.bounds, math.MaxInt64)
	for at := range s.begins {
		lower := math.Exp2(lowestOctave+float64(at)/perOctave) * 1e9
		for float64(s.bounds[s.begins[at]]) < lower {
			s.begins[at]++
		}
	}
	return s
}

// Histogram counts durations twice: in a few classic buckets and in many
// native ones. It is plain memory without a lock, counted up without a loop: every
// request pays for it. The zero value has counted nothing.
type Histogram struct {
	sum     int64 // nanoseconds
	zero    uint64
	classic [classicMost + 1]uint64
	first   int      // the place of the first of native
	native  []uint64 // the octaves in which something was counted, and those between
}

// Observe counts a duration in nanoseconds.
func (h *Histogram) Observe(d int64, s *Scale) {
	h.sum += d
	at := nativeIndex(d)
	if at < 0 {
		h.zero++
		h.classic[0]++
		return
	}
	h.widen(at)
	h.native[at-h.first]++
	classic := s.begins[at]
	if d > s.bounds[classic] {
		classic++
	}
	h.classic[classic]++
}

// widen makes room for a native bucket, if there is none, and the others of its octave.
func (h *Histogram) widen(at int) {
	if at >= h.first && at < h.first+len(h.native) {
		return
	}
	first := at - at%perOctave
	end := first + perOctave
	if len(h.native) > 0 {
		first, end = min(first, h.first), max(end, h.first+len(h.native))
	}
	native := make([]uint64, end-first)
	if len(h.native) > 0 {
		copy(native[h.first-first:], h.native)
	}
	h.first, h.native = first, native
}

// nativeIndex is the place of a duration's native bucket, negative for the
// zero bucket.
func nativeIndex(d int64) int {
	if d <= 0 {
		return -1
	}
	bits := math.Float64bits(float64(d) / 1e9)
	exponent, rest := int(bits>>mantissaBits)-exponentBias, bits&mantissa
	i := int(octave.begins[rest>>(mantissaBits-4)])
	if rest > octave.bounds[i] {
		i++
	}
	// Bucket 0 is the last of the octave that ends at 1 s.
	return min((exponent-lowestOctave)*perOctave+i-1, nativeBuckets-1)
}

// Plus counts what other has counted, too; either may be nil.
func (h *Histogram) Plus(other *Histogram) *Histogram {
	if other == nil {
		return h
	}
	if h == nil {
		h = new(Histogram)
	}
	h.sum += other.sum
	h.zero += other.zero
	for i, n := range other.classic {
		h.classic[i] += n
	}
	if n := len(other.native); n > 0 {
		h.widen(other.first)
		h.widen(other.first + n - 1)
		for i, n := range other.native {
			h.native[other.first-h.first+i] += n
		}
	}
	return h
}

// Counts is what a histogram has counted, in classic buckets and in the
// native buckets of Prometheus.
type Counts struct {
	Count uint64
	Sum   float64 // seconds

	// Upper bounds of the classic buckets in seconds, and how many lie in
	// each; there is one count more, for what exceeds the last bound.
	Bounds []float64
	Counts []uint64

	// The native buckets from the first to the last that is not empty. First
	// is the first one's number; what is at most ZeroThreshold seconds is in
	// Zero.
	Schema        int32
	ZeroThreshold float64
	Zero          uint64
	First         int
	Native        []uint64
}

// Counts copies what was counted; nil: nothing was.
func (h *Histogram) Counts(s *Scale) Counts {
	most := len(s.bounds) - 1
	c := Counts{
		Schema: nativeSchema, ZeroThreshold: math.Exp2(lowestOctave),
		Bounds: make([]float64, most), Counts: make([]uint64, most+1),
	}
	for i := range c.Bounds {
		c.Bounds[i] = time.Duration(s.bounds[i]).Seconds()
	}
	if h == nil {
		return c
	}
	c.Sum, c.Zero = time.Duration(h.sum).Seconds(), h.zero
	for i := range c.Counts {
		c.Counts[i] = h.classic[i]
		c.Count += h.classic[i]
	}
	first, end := 0, len(h.native)
	for first < end && h.native[first] == 0 {
		first++
	}
	for end > first && h.native[end-1] == 0 {
		end--
	}
	c.First = h.first + first + lowestOctave*perOctave + 1
	c.Native = slices.Clone(h.native[first:end])
	return c
}

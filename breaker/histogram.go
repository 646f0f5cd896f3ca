package breaker

import (
	"math"
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

// scale is the bounds of classic buckets, and in which of them a native bucket
// begins.
type scale struct {
	bounds []int64 // nanoseconds; the last one is no bound at all
	begins [nativeBuckets]uint8
}

func newScale(bounds ...time.Duration) *scale {
	s := new(scale)
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

// The classic buckets. No two bounds lie in the same native bucket.
var (
	firstByteScale = newScale(
		5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, 250*time.Millisecond,
		500*time.Millisecond, time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second, 30*time.Second)
	waitScale = newScale(
		time.Millisecond, 5*time.Millisecond, 20*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, time.Second)
)

// histogram counts durations twice: in a few classic buckets and in many
// native ones. It is plain memory, counted up under a lock that is held
// anyway, without a loop: every request pays for it.
type histogram struct {
	sum     int64 // nanoseconds
	zero    uint64
	classic [classicMost + 1]uint64
	native  [nativeBuckets]uint64
}

func (h *histogram) observe(d int64, s *scale) {
	h.sum += d
	at := nativeIndex(d)
	if at < 0 {
		h.zero++
		h.classic[0]++
		return
	}
	h.native[at]++
	classic := s.begins[at]
	if d > s.bounds[classic] {
		classic++
	}
	h.classic[classic]++
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

// plus counts what other has counted, too; either may be nil.
func (h *histogram) plus(other *histogram) *histogram {
	if other == nil {
		return h
	}
	if h == nil {
		h = new(histogram)
	}
	h.sum += other.sum
	h.zero += other.zero
	for i, n := range other.classic {
		h.classic[i] += n
	}
	for i, n := range other.native {
		h.native[i] += n
	}
	return h
}

// Histogram is how long something took, counted in classic buckets and in the
// native buckets of Prometheus.
type Histogram struct {
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

// snapshot copies what was counted; nil: nothing was.
func (h *histogram) snapshot(scale *scale) Histogram {
	most := len(scale.bounds) - 1
	s := Histogram{
		Schema: nativeSchema, ZeroThreshold: math.Exp2(lowestOctave),
		Bounds: make([]float64, most), Counts: make([]uint64, most+1),
	}
	for i := range s.Bounds {
		s.Bounds[i] = time.Duration(scale.bounds[i]).Seconds()
	}
	if h == nil {
		return s
	}
	s.Sum, s.Zero = time.Duration(h.sum).Seconds(), h.zero
	for i := range s.Counts {
		s.Counts[i] = h.classic[i]
		s.Count += h.classic[i]
	}
	first, end := 0, nativeBuckets
	for first < end && h.native[first] == 0 {
		first++
	}
	for end > first && h.native[end-1] == 0 {
		end--
	}
	s.First = first + lowestOctave*perOctave + 1
	s.Native = append([]uint64(nil), h.native[first:end]...)
	return s
}

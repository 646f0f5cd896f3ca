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

// nativeBounds are the upper bounds of the buckets between 1/2 and 1.
var nativeBounds = func() (bounds [perOctave]float64) {
	for i := range bounds {
		bounds[i] = math.Exp2(float64(i)/perOctave) / 2
	}
	return bounds
}()

// Bounds of the classic buckets.
var (
	firstByteBounds = []time.Duration{
		5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	}
	waitBounds = []time.Duration{
		time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, time.Second,
	}
)

// histogram counts durations twice: in a few classic buckets and in many
// native ones. It is plain memory, counted up under a lock that is held
// anyway: a request pays for two increments and a sum.
type histogram struct {
	sum     int64 // nanoseconds
	zero    uint64
	classic [classicMost + 1]uint64
	native  [nativeBuckets]uint64
}

func (h *histogram) observe(d int64, bounds []time.Duration) {
	d = max(d, 0)
	h.sum += d
	i := 0
	for i < len(bounds) && d > int64(bounds[i]) {
		i++
	}
	h.classic[i]++
	if at := nativeIndex(d); at >= 0 {
		h.native[at]++
	} else {
		h.zero++
	}
}

// nativeIndex is the place of a duration's native bucket, negative for the
// zero bucket.
func nativeIndex(d int64) int {
	if d == 0 {
		return -1
	}
	fraction, exponent := math.Frexp(float64(d) / 1e9)
	i := 0
	for i < perOctave && nativeBounds[i] < fraction {
		i++
	}
	// Bucket 0 is the last of the octave that ends at 1 s.
	return min((exponent-1-lowestOctave)*perOctave+i-1, nativeBuckets-1)
}

// add counts what other has counted, too.
func (h *histogram) add(other *histogram) {
	if other == nil {
		return
	}
	h.sum += other.sum
	h.zero += other.zero
	for i, n := range other.classic {
		h.classic[i] += n
	}
	for i, n := range other.native {
		h.native[i] += n
	}
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
func (h *histogram) snapshot(bounds []time.Duration) Histogram {
	s := Histogram{
		Schema: nativeSchema, ZeroThreshold: math.Exp2(lowestOctave),
		Bounds: make([]float64, len(bounds)), Counts: make([]uint64, len(bounds)+1),
	}
	for i, bound := range bounds {
		s.Bounds[i] = bound.Seconds()
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

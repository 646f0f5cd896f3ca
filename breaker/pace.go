package breaker

import (
	"math"
	"time"
)

// pace is what a zone has learned about itself: how long a first byte usually
// takes, and how many workers the zone uses.
type pace struct {
	now, last *paceWindow // the current window and the one before it; nil: nothing was observed
	usual     int64       // see learn; 0: not enough answers yet
	slower    int         // answers in a row that took more than patienceTimes as long

	usage    float64 // workers in use by requests that are not late, moving average
	rate     float64 // requests that ended per second, moving average
	ended    int     // requests that ended since the averages were updated
	averaged int64   // when the averages were updated
}

// paceWindow counts times to first byte in buckets that grow by a quarter of
// an octave (19 %).
type paceWindow struct {
	began   int64
	count   uint32
	buckets [paceBuckets]uint32
}

const (
	paceBuckets  = 4 * 24           // from 1 ms / 2^4 to 2^20 ms
	paceFirst    = 1000000.0 / 16   // upper bound of the first bucket, nanoseconds
	paceWindowOf = 10 * time.Second // length of a window
	paceEnough   = 20               // answers before patience is learned
	paceTurned   = 8                // answers in a row, each slower than patience, after which the past says nothing

	// patienceTimes is how many times its usual time to first byte a zone is
	// waited for before it is in doubt.
	patienceTimes = 4

	// patienceShare is the share of answers that "usual" stands for: nine in
	// ten. A slow minority (reports, exports) does not stretch it.
	patienceShare = 0.9

	// leastPatience is longer than what the scheduler or the garbage collector
	// of a machine takes away.
	leastPatience = int64(20 * time.Millisecond)

	// averageOver is the time constant of usage and rate.
	averageOver = 2 * time.Second
)

func paceBucket(d int64) int {
	if d <= int64(paceFirst) {
		return 0
	}
	return min(int(math.Log2(float64(d)/paceFirst)*4)+1, paceBuckets-1)
}

// bound is the upper bound of a bucket, nanoseconds.
func (pace) bound(bucket int) int64 { return int64(paceFirst * math.Exp2(float64(bucket)/4)) }

// observe counts the time to first byte of an answer.
func (p *pace) observe(d, now int64) {
	if p.now == nil || now-p.now.began >= int64(paceWindowOf) {
		p.next(now)
		p.learn()
	}
	bucket := paceBucket(d)
	p.now.count++
	p.now.buckets[bucket]++
	if p.now.count == paceEnough || p.now.count%64 == 0 {
		p.learn()
	}
	if d <= patienceTimes*p.usual || p.usual == 0 {
		p.slower = 0
	} else if p.slower++; p.slower == paceTurned {
		*p.now, p.last = paceWindow{began: now}, nil
		p.now.count, p.now.buckets[bucket] = paceTurned, paceTurned
		p.slower, p.usual = 0, p.bound(bucket)
	}
}

// next begins a window.
func (p *pace) next(now int64) {
	p.now, p.last = p.last, p.now
	if p.now == nil {
		p.now = new(paceWindow)
	}
	*p.now = paceWindow{began: now}
}

// learn computes from the current window and the one before it what is usual: the
// 90th percentile of the time to first byte.
func (p *pace) learn() {
	both := *p.now
	both.add(p.last)
	if both.count < paceEnough {
		return
	}
	rest := float64(both.count) * patienceShare
	for i, n := range both.buckets {
		if rest -= float64(n); rest <= 0 {
			p.usual = p.bound(i)
			return
		}
	}
}

// patience is for how long such a zone is waited for.
func (p *pace) patience() int64 { return max(leastPatience, patienceTimes*p.usual) }

// add adds what another window has counted.
func (w *paceWindow) add(other *paceWindow) {
	if other == nil {
		return
	}
	w.count += other.count
	for i, n := range other.buckets {
		w.buckets[i] += n
	}
}

// learnPatience computes the patience of zones that have not learned their own.
func (g *Guard) learnPatience(zones []*zone, now int64) {
	if now-g.learned < int64(time.Second) {
		return
	}
	g.learned = now
	all := pace{now: new(paceWindow)}
	for _, z := range zones {
		z.mu.Lock()
		all.now.add(z.pace.now)
		all.now.add(z.pace.last)
		z.mu.Unlock()
	}
	all.learn()
	if all.usual > 0 {
		g.patience.Store(all.patience())
	}
}

// average updates usage and rate; live is the number of requests now that are not late. It
// returns by how much usage and rate have changed.
func (p *pace) average(live int, now int64) (usage, rate float64) {
	if p.averaged == 0 {
		p.averaged = now
	}
	d := now - p.averaged
	if d <= 0 {
		return 0, 0
	}
	keep := math.Exp(-float64(d) / float64(averageOver))
	usage = (float64(live) - p.usage) * (1 - keep)
	rate = (float64(p.ended)/time.Duration(d).Seconds() - p.rate) * (1 - keep)
	p.usage, p.rate, p.ended, p.averaged = p.usage+usage, p.rate+rate, 0, now
	return usage, rate
}

// patience is for how long a request may be unanswered before the zone is in
// doubt, if no other request of the zone is answered meanwhile: a few times the
// zone's own usual time to first byte, at most slow_after, and less in a zone that
// is usually answered many times in that time. A zone that has not
// answered often enough yet is taken to be like the others, and a pool that has
// not gets half of slow_after.
func (z *zone) patience() int64 {
	slow := int64(z.policy.SlowAfter)
	if z.pace.usual == 0 {
		if usual := z.g.patience.Load(); usual > 0 {
			return min(usual, slow)
		}
		return slow / 2
	}
	patience := min(z.pace.patience(), slow)
	if z.pace.rate > 0 {
		quiet := int64(tooQuiet / z.pace.rate * float64(time.Second))
		patience = min(patience, max(quiet, z.pace.usual, leastPatience))
	}
	return patience
}

// lateAfter is for how long a request may be unanswered before it is late and is
// evidence: patience; in a zone that usually takes longer than slow_after, a quarter more
// than what is usual, and its timeout at most.
func (z *zone) lateAfter() int64 {
	patience := z.patience()
	if usual := z.pace.usual * 5 / 4; usual > int64(z.policy.SlowAfter) {
		return max(patience, min(usual, int64(z.policy.Timeout)))
	}
	return patience
}

// tooQuiet is how many answers must be missing for a busy zone to be in doubt
// before its patience is over: if answers come at random, so many are missing by
// chance once in a million times (e^-14).
const tooQuiet = 14

// reservePeaks is how many standard deviations of the other zones' demand for
// workers are kept free from a zone that holds workers longer than they do.
// Demand is taken to be Poisson. The square root of such a number has a standard
// deviation of about 1/2 (Anscombe), for small means too, so that the peak is
// (sqrt(mean) + reservePeaks/2)^2.
const reservePeaks = 2

// slowerThanOthers is how many times longer than a request of the other zones a
// request of a zone must hold a worker for the zone to be kept to what the
// others leave.
const slowerThanOthers = 4

// borrowable is how many workers the zone may occupy in a pool of capacity
// workers. A zone whose requests take about as long as those of the others may
// use the whole pool, since what it has borrowed comes back as soon as the
// others' own workers do. One that holds its workers much longer leaves room
// for the usual demand of the others and its peaks, but always gets a fair
// share.
func (z *zone) borrowable(capacity int) int {
	g := z.g
	usage, rate := math.Float64frombits(g.usage.Load())-z.pace.usage, math.Float64frombits(g.rate.Load())-z.pace.rate
	if usage < 0.01 || rate < 0.01 || z.live < 2 {
		return capacity
	}
	others := usage / rate
	mine := z.pace.usage / max(z.pace.rate, 0.01)
	if mine < slowerThanOthers*others {
		return capacity
	}
	return z.leaves(capacity)
}

// leaves is how many workers the zone may occupy for the others to have what they
// usually need: a fair share at least.
func (z *zone) leaves(capacity int) int {
	elsewhere := int(z.g.hung.Load()) - z.hung
	share := capacity / max(1, int(z.g.busyZones.Load()))
	return max(1, share, capacity-elsewhere-z.g.needed(z))
}

// needed is how many workers the other zones usually need, peaks included.
func (g *Guard) needed(but *zone) int {
	usage := max(0, math.Float64frombits(g.usage.Load())-but.pace.usage)
	if usage < 0.01 {
		return 0
	}
	peak := math.Sqrt(usage) + reservePeaks/2.
	return int(peak * peak)
}

// addFloat adds to a sum that is read without a lock.
func addFloat(sum *atomicFloat, d float64) {
	for d != 0 {
		old := sum.Load()
		if sum.CompareAndSwap(old, math.Float64bits(max(0, math.Float64frombits(old)+d))) {
			return
		}
	}
}

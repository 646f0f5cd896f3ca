package incidents

import (
	"slices"
	"time"
)

// span is a time of darkness, or of something else.
type span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// maxSpans is how many spans are kept of one thing. Beyond it the first two
// are taken for one, so that no credit is too small.
const maxSpans = 200

func addSpan(spans []span, s span) []span {
	if !s.To.After(s.From) {
		return spans
	}
	if len(spans) >= maxSpans {
		spans[1].From = spans[0].From
		spans = slices.Delete(spans, 0, 1)
	}
	return append(spans, s)
}

// union is the moments that are in any of the spans, as spans in order that do
// not touch.
func union(lists ...[]span) []span {
	var all []span
	for _, spans := range lists {
		all = append(all, spans...)
	}
	slices.SortFunc(all, func(a, b span) int { return a.From.Compare(b.From) })
	var out []span
	for _, s := range all {
		if !s.To.After(s.From) {
			continue
		}
		if n := len(out); n > 0 && !s.From.After(out[n-1].To) {
			if s.To.After(out[n-1].To) {
				out[n-1].To = s.To
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// minus is the moments of a that are not in b. Both come from union.
func minus(a, b []span) []span {
	var out []span
	for _, s := range a {
		for _, hole := range b {
			if !hole.To.After(s.From) || !hole.From.Before(s.To) {
				continue
			}
			if hole.From.After(s.From) {
				out = append(out, span{s.From, hole.From})
			}
			if s.From = hole.To; !s.From.Before(s.To) {
				break
			}
		}
		if s.To.After(s.From) {
			out = append(out, s)
		}
	}
	return out
}

// minutes is how long spans from union last.
func minutes(spans []span) float64 {
	var sum time.Duration
	for _, s := range spans {
		sum += s.To.Sub(s.From)
	}
	return float64(sum.Round(time.Millisecond)) / float64(time.Minute)
}

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/replay"
)

// showReplay prints a replay for people.
func (s *session) showReplay(v *replayed) {
	l := v.Log
	s.printf("%s: %s of %s in %s, %s to %s (%s)\n", clean(v.File), plural(l.Requests, "request"), plural(l.Stores, "store"), plural(l.Zones, "zone"),
		stamp(l.From), stamp(l.To), brief(l.To.Sub(l.From)))
	s.showLeftOut(v)
	s.printf("\n")
	s.showTotals(v)
	for i := range v.Runs {
		r := v.Runs[i].Report
		s.printf("\n%s\n", s.paint(bold, runTitle(v, i)))
		s.showReplayZones(r)
		s.showHappened(r)
	}
}

// stamp is a moment of a log, in UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func runTitle(v *replayed, i int) string {
	if i == 0 {
		return "The configuration as it is"
	}
	return "With " + strings.Join(v.Runs[i].Settings, ", ")
}

func (s *session) showLeftOut(v *replayed) {
	l := v.Log
	if l.Bad > 0 {
		s.printf("%s could not be read:\n", plural(l.Bad, "line"))
		for _, text := range l.BadLines {
			s.printf("  %s\n", clean(cut(text, 200)))
		}
		if more := l.Bad - len(l.BadLines); more > 0 {
			s.printf("  and %d more\n", more)
		}
	}
	var parts []string
	for _, part := range []struct {
		n         int
		one, more string
	}{
		{l.Other, "line", " of other logs"},
		{l.Streams, "stream", ""},
		{l.Bypassed, "request", " that operators sent around firebreak"},
	} {
		if part.n > 0 {
			parts = append(parts, plural(part.n, part.one)+part.more)
		}
	}
	if len(parts) > 0 {
		s.printf("left out: %s\n", strings.Join(parts, ", "))
	}
	if l.Unknown > 0 {
		s.printf("zone unknown: %s (%s) without the key of a store\n", plural(l.Unknown, "request"), share(l.Unknown, l.Requests))
	}
	if f := v.Inferred; f.Queued+f.Unanswered+f.Guessed > 0 {
		s.printf("inferred: %d stood in the pool's queue before they were answered; of %d the worker's end is not in the log;\n", f.Queued, f.Unanswered)
		s.printf("          %d never got a worker or were refused, and fare as others of their store or zone\n", f.Guessed)
	}
}

// share is a part in percent.
func share(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(of))
}

// showTotals compares the log with the runs.
func (s *session) showTotals(v *replayed) {
	head := []string{"REQUESTS", "IN THE LOG", "REPLAYED"}
	if len(v.Runs) > 1 {
		head = append(head, "WITH --set")
	}
	inLog := &v.Runs[0].Report.Total
	rows := [][]string{head}
	row := func(name, log string, of func(*replay.ZoneReport) string) {
		cells := []string{name, log}
		for i := range v.Runs {
			cells = append(cells, of(&v.Runs[i].Report.Total))
		}
		rows = append(rows, cells)
	}
	part := func(name string, of func(*replay.Tally) int) {
		text := func(t *replay.Tally) string { return fmt.Sprintf("%d (%s)", of(t), share(of(t), t.Requests)) }
		row(name, text(&inLog.Log), func(z *replay.ZoneReport) string { return text(&z.Replay) })
	}
	part("answered well", func(t *replay.Tally) int { return t.OK })
	part("answered slowly", func(t *replay.Tally) int { return t.Slow })
	part("failed", func(t *replay.Tally) int { return t.Failed })
	part("no answer by the timeout", func(t *replay.Tally) int { return t.Hung })
	part("client left", func(t *replay.Tally) int { return t.Left })
	if inLog.Log.Refused > 0 {
		row("refused that day", strconv.Itoa(inLog.Log.Refused), func(*replay.ZoneReport) string { return "" })
	}
	row("refused, had hung or failed", "", func(z *replay.ZoneReport) string {
		return fmt.Sprintf("%d (%s)", z.Replay.RefusedBad, share(z.Replay.RefusedBad, z.Replay.Requests))
	})
	row("refused innocents", "", func(z *replay.ZoneReport) string {
		return fmt.Sprintf("%d (%s)", z.Replay.RefusedInnocent, share(z.Replay.RefusedInnocent, z.Replay.Requests))
	})
	row("openings of zones", "", func(z *replay.ZoneReport) string { return strconv.Itoa(len(z.Openings)) })
	row("stores put into quarantine", "", func(z *replay.ZoneReport) string { return strconv.Itoa(len(firstOnly(z.Quarantines))) })
	row("isolated after", "", func(z *replay.ZoneReport) string { return after(z.IsolatedAfter) })
	row("workers busy at worst", strconv.Itoa(inLog.LogWorstBusy), func(z *replay.ZoneReport) string { return strconv.Itoa(z.WorstBusy) })
	s.table(rows)
}

func after(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	return fmt.Sprintf("%.1f s", *seconds)
}

const shownZones = 20

func (s *session) showReplayZones(r *replay.Report) {
	rows := [][]string{{"ZONE", "REQUESTS", "OK IN LOG", "5XX", "HUNG", "LEFT", "OK NOW", "INNOCENTS REFUSED", "OPENED", "QUARANTINED", "ISOLATED AFTER", "WORST WORKERS"}}
	for i := range r.Zones[:min(len(r.Zones), shownZones)] {
		z := &r.Zones[i]
		rows = append(rows, []string{
			z.Zone, strconv.Itoa(z.Log.Requests), share(z.Log.Good(), z.Log.Requests),
			strconv.Itoa(z.Log.Failed), strconv.Itoa(z.Log.Hung), strconv.Itoa(z.Log.Left),
			share(z.Replay.Good(), z.Replay.Requests), fmt.Sprintf("%d (%s)", z.Replay.RefusedInnocent, share(z.Replay.RefusedInnocent, z.Replay.Requests)),
			times(len(z.Openings)), times(len(firstOnly(z.Quarantines))), after(z.IsolatedAfter), fmt.Sprintf("%d (log: %d)", z.WorstBusy, z.LogWorstBusy),
		})
	}
	s.table(rows)
	if more := len(r.Zones) - shownZones; more > 0 {
		s.printf("and %s more (--json has all)\n", plural(more, "zone"))
	}
}

func times(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

const shownHappened = 20

// showHappened prints the verdicts in order.
func (s *session) showHappened(r *replay.Report) {
	type happened struct {
		at   time.Time
		text string
	}
	var all []happened
	for _, p := range r.Suspicions {
		all = append(all, happened{p.At, fmt.Sprintf("the pool is suspect%s: %s", lasted(p.At, p.Until), p.Evidence)})
	}
	for i := range r.Zones {
		z := &r.Zones[i]
		for _, o := range z.Openings {
			all = append(all, happened{o.At, fmt.Sprintf("zone %s opens after %.1f s%s, %s: %s", z.Zone, o.After, lasted(o.At, o.Until), plural(o.Turns, "turn"), o.Evidence)})
		}
		for _, q := range firstOnly(z.Quarantines) {
			all = append(all, happened{q.At, fmt.Sprintf("store %s of zone %s goes into quarantine after %.1f s%s%s: %s", q.Store, z.Zone, q.After, lasted(q.At, q.Until), q.again(), q.Evidence)})
		}
	}
	if len(all) == 0 {
		s.printf("\nno zone opens and no store goes into quarantine\n")
		return
	}
	slices.SortStableFunc(all, func(a, b happened) int { return a.at.Compare(b.at) })
	s.printf("\n")
	for _, h := range all[:min(len(all), shownHappened)] {
		s.printf("%s  %s\n", h.at.UTC().Format("15:04:05.000"), clean(h.text))
	}
	if more := len(all) - shownHappened; more > 0 {
		s.printf("and %d more (--json has all)\n", more)
	}
}

// quarantines is a store's first quarantine, and how many it has.
type quarantines struct {
	replay.Quarantine
	n int
}

func (q *quarantines) again() string {
	if q.n == 1 {
		return ""
	}
	return fmt.Sprintf(", the first of %d", q.n)
}

// firstOnly is the first quarantine of each store.
func firstOnly(all []replay.Quarantine) (first []quarantines) {
	place := make(map[string]int)
	for _, q := range all {
		i, ok := place[q.Store]
		if !ok {
			i = len(first)
			place[q.Store] = i
			first = append(first, quarantines{Quarantine: q})
		}
		first[i].n++
	}
	return first
}

func lasted(from, to time.Time) string {
	if to.IsZero() {
		return ", to the end"
	}
	return " for " + brief(to.Sub(from))
}

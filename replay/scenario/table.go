package scenario

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// WriteTable writes the figures of outages for people: how long people needed,
// how long Firebreak needs, and what the stores that had nothing to do with it
// saw meanwhile. Each figure is the median of all times it was played, and the
// worst, if that differs.
func WriteTable(out io.Writer, all []Series) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OUTAGE\tWHAT\tPEOPLE\tFIREBREAK\tVERDICT\tSAME ZONE REFUSED\tOTHER ZONES OK\tWITHOUT\tWORST WORKERS")
	for _, s := range all {
		o := s[0].Outage
		fmt.Fprintf(w, "%s\t%s\t%.0f min\t%s\t%s\t%s\t%s\t%s\t%s\n",
			o.When, o.What, o.People.Minutes(), s.seconds(), s.verdict(), s.neighbours(),
			s.lowest("%.2f %%", func(f *Figures) float64 { return f.Others.OKPercent() }),
			s.lowest("%.1f %%", func(f *Figures) float64 { return f.PlainOthers.OKPercent() }), s.workers())
	}
	return w.Flush()
}

// show writes a figure's median and its worst.
func (s Series) show(format string, of func(*Figures) float64) string {
	median, worst := s.MedianAndWorst(of)
	write := func(v float64) string {
		if math.IsInf(v, 1) {
			return "never"
		}
		return fmt.Sprintf(format, v)
	}
	if write(median) == write(worst) {
		return write(median)
	}
	return fmt.Sprintf("%s (worst %s)", write(median), write(worst))
}

// lowest is show for figures that are the worse the lower they are.
func (s Series) lowest(format string, of func(*Figures) float64) string {
	const top = 1e6
	median, worst := s.MedianAndWorst(func(f *Figures) float64 { return top - of(f) })
	text, low := fmt.Sprintf(format, top-median), fmt.Sprintf(format, top-worst)
	if text == low {
		return text
	}
	return fmt.Sprintf("%s (worst %s)", text, low)
}

func (s Series) seconds() string {
	switch s[0].Outage.Verdict {
	case VerdictLimits:
		return "at once"
	case VerdictPool:
		return "not isolated"
	case VerdictZone, VerdictStores:
	}
	return s.show("%.1f s", func(f *Figures) float64 { return f.IsolatedAfter })
}

// verdict is what firebreak said.
func (s Series) verdict() string {
	o, text := s[0].Outage, ""
	switch o.Verdict {
	case VerdictZone:
		text = zoneName(o.zone) + " open"
	case VerdictStores:
		text = fmt.Sprintf("%s of %d stores named", s.lowest("%.0f", func(f *Figures) float64 { return float64(f.Named) }), s[0].Guilty)
	case VerdictLimits:
		text = "none: limits"
	case VerdictPool:
		text = "pool suspect after " + s.show("%.1f s", func(f *Figures) float64 { return f.SuspectAfter })
	}
	if _, n := s.MedianAndWorst(func(f *Figures) float64 { return float64(f.BlamedZones) }); n > 0 {
		text += ", up to " + counted(n, "zone") + " blamed"
	}
	if _, n := s.MedianAndWorst(func(f *Figures) float64 { return float64(f.Blamed) }); n > 0 && o.Verdict != VerdictZone {
		text += ", up to " + counted(n, "store") + " blamed"
	}
	return text
}

// counted is a number of things: 1 zone, 2 zones.
func counted(n float64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%.0f %ss", n, what)
}

// neighbours says how many of the ill zone's requests were refused that had
// nothing to do with the fault.
func (s Series) neighbours() string {
	if s[0].Neighbours.All == 0 {
		return "-"
	}
	return s.show("%.1f %%", func(f *Figures) float64 { return f.Neighbours.RefusedPercent() })
}

func (s Series) workers() string {
	o := s[0].Outage
	if o.zone == 0 {
		return s.show("%.0f", func(f *Figures) float64 { return float64(f.Worst) }) + fmt.Sprintf(" of %d", workers)
	}
	return s.show("%.0f", func(f *Figures) float64 { return float64(f.WorstZone) }) + fmt.Sprintf(" of %d for %s", workers, zoneName(o.zone))
}

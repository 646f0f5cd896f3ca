package scenario

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable writes the figures of outages for people: how long people needed,
// how long Firebreak needs, and what the stores that had nothing to do with it
// saw meanwhile.
func WriteTable(out io.Writer, all []*Figures) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OUTAGE\tWHAT\tPEOPLE\tFIREBREAK\tVERDICT\tSAME ZONE REFUSED\tOTHER ZONES OK\tWITHOUT\tWORST WORKERS")
	for _, f := range all {
		o := f.Outage
		fmt.Fprintf(w, "%s\t%s\t%.0f min\t%s\t%s\t%s\t%.2f %%\t%.1f %%\t%s\n",
			o.When, o.What, o.People.Minutes(), f.seconds(), f.verdict(), f.neighbours(), f.Others.OKPercent(), f.PlainOthers.OKPercent(), f.workers())
	}
	return w.Flush()
}

func (f *Figures) seconds() string {
	switch {
	case f.IsolatedAfter >= 0:
		return fmt.Sprintf("%.1f s", f.IsolatedAfter)
	case f.Outage.Verdict == VerdictLimits:
		return "at once"
	}
	return "not isolated"
}

// verdict is what firebreak said.
func (f *Figures) verdict() string {
	text := ""
	switch f.Outage.Verdict {
	case VerdictZone:
		text = zoneName(f.Outage.zone) + " open"
	case VerdictStores:
		text = fmt.Sprintf("%d of %d stores named", f.Named, f.Guilty)
	case VerdictLimits:
		text = "none: limits"
	case VerdictPool:
		text = fmt.Sprintf("pool suspect after %.1f s", f.SuspectAfter)
	}
	if f.BlamedZones > 0 {
		text += fmt.Sprintf(", %d zones blamed", f.BlamedZones)
	}
	if f.Blamed > 0 && f.Outage.Verdict != VerdictZone {
		text += fmt.Sprintf(", %d stores blamed", f.Blamed)
	}
	return text
}

// neighbours says how many of the ill zone's requests were refused that had
// nothing to do with the fault.
func (f *Figures) neighbours() string {
	if f.Neighbours.All == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", f.Neighbours.RefusedPercent())
}

func (f *Figures) workers() string {
	if f.Outage.zone == 0 {
		return fmt.Sprintf("%d of %d", f.Worst, workers)
	}
	return fmt.Sprintf("%d of %d for %s", f.WorstZone, workers, zoneName(f.Outage.zone))
}

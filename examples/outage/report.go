package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Report is one scenario, played through one or both sides.
type Report struct {
	Scenario     string    `json:"scenario"`
	Fault        string    `json:"fault"`
	Zone         string    `json:"zone"`
	Rate         float64   `json:"requests_per_s"`
	Workers      int       `json:"workers"`
	FaultSeconds float64   `json:"fault_s"`
	AfterSeconds float64   `json:"after_s"`
	Sides        []Figures `json:"sides"`

	wholeAPI bool
}

// row is a line of the table.
type row struct {
	label string
	cell  func(Figures) string
}

// print writes the table for people.
func (r Report) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s: %s for %g s, %g requests/s, %d workers\n\n",
		r.Scenario, r.Fault, r.FaultSeconds, r.Rate, r.Workers)
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "  \t")
	for _, f := range r.Sides {
		fmt.Fprint(table, f.Side.title(), "\t")
	}
	fmt.Fprintln(table)
	width := 0
	for _, line := range r.rows() {
		width = max(width, len(line.label))
	}
	for _, line := range r.rows() {
		fmt.Fprintf(table, "  %-*s\t", width, line.label)
		for _, f := range r.Sides {
			cell := "not run"
			if f.NotRun == "" {
				cell = line.cell(f)
			}
			fmt.Fprint(table, cell, "\t")
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return r.printNotes(w)
}

// rows are the figures that apply to the scenario.
func (r Report) rows() []row {
	healthy := "healthy zones"
	if r.wholeAPI {
		healthy = "all zones"
	}
	rows := []row{
		{healthy + ", ok before", func(f Figures) string { return percentage(&f.HealthyOKBefore) }},
		{healthy + ", ok during", func(f Figures) string { return percentage(&f.HealthyOKDuring) }},
		{healthy + ", p99 before", func(f Figures) string { return millis(f.HealthyP99BeforeMS) }},
		{healthy + ", p99 during", func(f Figures) string { return millis(f.HealthyP99DuringMS) }},
	}
	if !r.wholeAPI {
		rows = append(rows,
			row{"zone " + r.Zone + ", answered within 100 ms", func(f Figures) string { return percentage(f.SickQuick) }},
			row{"zone " + r.Zone + ", ok during", func(f Figures) string { return percentage(f.SickOK) }},
		)
	}
	if len(r.Sides) > 0 && r.hasInnocents() {
		rows = append(rows, row{"innocent stores of " + r.Zone + ", ok", func(f Figures) string { return percentage(f.InnocentsOK) }})
	}
	rows = append(rows, row{"workers busy at worst", func(f Figures) string { return fmt.Sprintf("%d of %d", f.WorkersWorst, r.Workers) }})
	if !r.wholeAPI {
		rows = append(rows,
			row{"workers busy with " + r.Zone + " at worst", func(f Figures) string { return fmt.Sprint(f.WorkersWorstSick) }},
			row{"isolated after", func(f Figures) string { return seconds(f.IsolatedAfter) }},
		)
	}
	return append(rows,
		row{"all workers busy after", func(f Figures) string { return seconds(f.AllBusyAfter) }},
		row{"zones opened", func(f Figures) string { return strings.Join(append(f.ZonesOpened, none(f.ZonesOpened)...), " ") }},
		row{"whole again after the heal", r.wholeCell},
	)
}

func (r Report) hasInnocents() bool {
	for _, f := range r.Sides {
		if f.InnocentsOK != nil {
			return true
		}
	}
	return false
}

// wholeCell says how long was waited in vain.
func (r Report) wholeCell(f Figures) string {
	if f.WholeAfter == nil {
		return fmt.Sprintf("not within %g s", r.AfterSeconds)
	}
	return seconds(f.WholeAfter)
}

// printNotes says what makes a table doubtful or incomplete.
func (r Report) printNotes(w io.Writer) error {
	var notes []string
	for _, f := range r.Sides {
		switch {
		case f.NotRun != "":
			notes = append(notes, f.Side.title()+" not run: "+f.NotRun)
		case f.NotSent > 0:
			notes = append(notes, fmt.Sprintf("%s: %d requests not sent, too many open", f.Side.title(), f.NotSent))
		case f.LagP99MS > 20:
			notes = append(notes, fmt.Sprintf("%s: this machine was too busy, requests left %.0f ms late (p99)", f.Side.title(), f.LagP99MS))
		}
	}
	for _, note := range notes {
		fmt.Fprintln(w, "\n"+note)
	}
	_, err := fmt.Fprintln(w)
	return err
}

func none(zones []string) []string {
	if len(zones) == 0 {
		return []string{"none"}
	}
	return nil
}

func percentage(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", *p)
}

func millis(ms float64) string { return fmt.Sprintf("%.0f ms", ms) }

func seconds(s *float64) string {
	if s == nil {
		return "never"
	}
	return fmt.Sprintf("%.1f s", *s)
}

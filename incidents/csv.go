package incidents

import (
	"encoding/csv"
	"io"
	"strings"
	"unicode/utf8"
)

// everyOther stands for the stores of the zone that are not listed.
const everyOther = "*"

// WriteCSV writes the minutes for which each store was refused: the stores whose
// time is their own, and "*" for every other store of the zone. A name that a
// spreadsheet could take for a formula, or for that star, gets an apostrophe.
func (i *Incident) WriteCSV(to io.Writer) error {
	w := csv.NewWriter(to)
	_ = w.Write([]string{"store", "minutes_dark", "zone", "incident"})
	row := func(store string, m float64) {
		_ = w.Write([]string{store, inMinutes(m), Cell(i.Zone), i.ID})
	}
	if i.Server == "" {
		row(everyOther, i.DarkMinutes)
	}
	for _, s := range i.Stores {
		row(Cell(s.Store), s.Minutes)
	}
	w.Flush()
	return w.Error()
}

// Cell keeps a spreadsheet from taking a name for a formula.
func Cell(text string) string {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(text, " \u00a0\t\r\n"))
	if strings.ContainsRune("=+-@*|%'＝＋－＠", first) || strings.TrimLeft(text, "\t\r\n") != text {
		return "'" + text
	}
	return text
}

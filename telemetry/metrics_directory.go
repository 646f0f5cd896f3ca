package telemetry

import (
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

// A directory that is fed by a service or a database has these.
var (
	directoryDown    = newGauge("directory_down", "1 while the directory's service or database is down; what is known of stores stays in force.")
	directoryAge     = newGauge("directory_age_seconds", "Time since the directory's list or table was last read, changed or not.")
	directoryLookups = newCounter("directory_lookups_total", "Lookups by how they were answered, of a directory that asks for single keys.", "result")
)

// collectSource sends how a directory's source is, if it has one.
func collectSource(out collection, directory routing.Directory) {
	source, ok := directory.(routing.Source)
	if !ok {
		return
	}
	r := source.Report()
	out.send(directoryDown, oneIf(r.Down))
	if !r.Since.IsZero() {
		out.send(directoryAge, time.Since(r.Since).Seconds())
	}
	for result, n := range r.Lookups {
		out.send(directoryLookups, float64(n), result)
	}
}

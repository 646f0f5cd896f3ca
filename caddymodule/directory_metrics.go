package caddymodule

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// theSource is the source of the directory in force, if it has one.
var theSource atomic.Pointer[sharedSource]

// sourceMeters are the metrics of a directory that is fed by a service or a
// database.
type sourceMeters struct{}

var (
	descSourceDown    = describe("directory_down", "1 while the directory's service or database is down; what is known of stores stays in force.")
	descSourceStores  = describe("directory_stores", "Stores that the directory can list.")
	descSourceAge     = describe("directory_age_seconds", "Time since the directory's list or table was last read.")
	descSourceLookups = describe("directory_lookups_total", "Lookups by how they were answered, of a directory that asks for single keys.", "result")
)

func registerSourceMeters(registry *prometheus.Registry) error {
	err := registry.Register(sourceMeters{})
	var already prometheus.AlreadyRegisteredError
	if err != nil && !errors.As(err, &already) {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// Describe sends the descriptions of what Collect sends.
func (sourceMeters) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSourceDown, descSourceStores, descSourceAge, descSourceLookups} {
		ch <- d
	}
}

// Collect sends how the source is.
func (sourceMeters) Collect(ch chan<- prometheus.Metric) {
	source := theSource.Load()
	if source == nil {
		return
	}
	r := source.Report()
	down := 0.0
	if r.Down {
		down = 1
	}
	ch <- prometheus.MustNewConstMetric(descSourceDown, prometheus.GaugeValue, down)
	if !r.Since.IsZero() {
		ch <- prometheus.MustNewConstMetric(descSourceStores, prometheus.GaugeValue, float64(r.Stores))
		ch <- prometheus.MustNewConstMetric(descSourceAge, prometheus.GaugeValue, time.Since(r.Since).Seconds())
	}
	for result, n := range r.Lookups {
		ch <- prometheus.MustNewConstMetric(descSourceLookups, prometheus.CounterValue, float64(n), result)
	}
}

var _ prometheus.Collector = sourceMeters{}

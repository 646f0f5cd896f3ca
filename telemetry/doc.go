// Package telemetry tells operators what firebreak does: Prometheus metrics, log
// lines, Caddy events and webhooks.
//
// Metrics are read from the guard and its neighbors when somebody scrapes; the
// request path only counts what the guard does not know. Events are read by one
// Reporter at a time, which logs each of them, adds it to the incidents, and hands
// it to Caddy's event handlers.
//
// The names of log messages, fields, events and metrics are in names.go and
// metrics_names.go. Alerts are built on them: changing one is a breaking change.
package telemetry

// Package caddymodule is what Caddy loads of firebreak: the app, which holds the
// guard of the process and lends its parts to the others; the handler, which admits,
// delays and refuses requests; the transport and the upstreams for reverse_proxy; and
// the parsing of their options in a Caddyfile.
//
// Files are named by what they belong to: app_*.go, handler_*.go, flight*.go (a
// request that is on its way, and outlives its client), transport*.go,
// caddyfile_*.go. The admin API, telemetry, directories and state backends are
// packages of their own, and import nothing from here.
package caddymodule

// Package caddymodule is what Caddy loads of firebreak: the app, which holds the
// guard of the process and lends its parts to the others; the handler, which admits,
// delays and refuses requests; the transport and the upstreams for reverse_proxy; and
// the parsing of their options in a Caddyfile.
//
// Files are named by what they belong to: app_*.go, handler_*.go, transport*.go,
// caddyfile_*.go. A request that is admitted goes to package flight, which serves it
// until its deadline; the admin API, telemetry, directories and state backends are
// packages of their own, too, and import nothing from here.
package caddymodule

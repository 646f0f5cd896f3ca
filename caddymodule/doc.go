// Package caddymodule is firebreak inside Caddy: the app, the handler, the
// transport, the admin API and the Caddyfile. It is the only package of the
// project that knows Caddy.
package caddymodule

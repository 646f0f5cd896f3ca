// Package globaloption reads the global option firebreak { ... } of a Caddyfile: the
// settings of the app, which are those of package config, and which directory and state
// backend it has. What each option means is said there.
package globaloption

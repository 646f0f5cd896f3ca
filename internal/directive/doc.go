// Package directive parses the blocks of a Caddyfile from tables of options, so
// that errors about unknown, repeated and incomplete options read the same
// everywhere and give the line and an example.
package directive

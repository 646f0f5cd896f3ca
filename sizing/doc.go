// Package sizing computes firebreak's settings from what is known of a pool and
// its traffic, and what a frozen zone costs under these settings. It asks
// nobody and measures nothing; docs/sizing.md explains every formula.
package sizing

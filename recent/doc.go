// Package recent keeps what happened lately in memory, for those who watch: the
// latest events, handed on to everybody who listens, and the requests of the last
// ten minutes, zone by zone. Like the guard it outlives a reload.
package recent

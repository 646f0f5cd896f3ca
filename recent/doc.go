// Package recent keeps what happened lately in memory, for the dashboard and the event stream: the
// latest events, handed on to every subscriber, and the requests of the last
// ten minutes, zone by zone. Like the guard it outlives a reload.
package recent

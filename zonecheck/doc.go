// Package zonecheck asks a zone's own database whether it is well: by a text over
// TCP, by HTTP, and by what other packages register. A check costs no worker of the
// pool.
package zonecheck

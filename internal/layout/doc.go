// Package layout has the tests of how the packages are arranged: which may import
// which, which know Caddy or a database's client, and that a build can leave out
// PostgreSQL and Redis.
package layout

// Package postgres is what firebreak does with PostgreSQL: the directory that reads
// where stores live from a table, and the check of a zone's database. A build
// without it has neither.
package postgres

// Package mysql is what firebreak does with MySQL and MariaDB: the directory that reads
// where stores live from a table, the check of a zone's database, and what is asked of
// it about stores. A build without it has none of them.
package mysql

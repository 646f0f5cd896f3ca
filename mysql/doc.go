// Package mysql is what firebreak does with MySQL and MariaDB: the check of a zone's
// database, and what is asked of it about stores. A build without it has neither.
package mysql

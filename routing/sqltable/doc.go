// Package sqltable is a directory of stores that is read from a database as a whole:
// what is the same whatever the database is. Which one it is, is the caller's to know.
package sqltable

// Package snapshot keeps on disk what a guard must not forget when its process ends:
// workers are hung whichever process sent them their requests. The file belongs to one
// process at a time ([File.Claim]): two in front of one pool would each lend every zone
// its share of the same workers.
//
// What is in it, and what becomes of it, is decided in breaker/snapshot.go.
package snapshot

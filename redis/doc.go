// Package redis keeps the operators' switches in Redis, for a fleet: the module
// firebreak.state.redis, and its backend. A build without it lacks that module.
package redis

// Package state has the modules of the namespace firebreak.state, in which the
// operators' switches are kept. Here is only the default, Caddy's own storage;
// another backend is a module that implements [Module]: see the package redis.
//
// What a switch means, and how changes are made, is in maintenance/.
package state

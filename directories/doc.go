// Package directories has the modules of the namespace firebreak.directories, which
// know the store of a key and the zone of a store: inline, file, hash, http and learn.
// The tables behind them are in routing/, which does not know Caddy.
//
// Another source is a module that implements [Directory] or [Opener]; see the
// package postgres. A source that is fed from elsewhere is shared by all
// configurations with the same settings: see [HoldSource].
package directories

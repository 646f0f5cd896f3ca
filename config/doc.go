// Package config holds firebreak's settings: plain structs as they stand in
// JSON, their defaults, and the checks that need nothing but the settings
// themselves.
//
// Settings are written by people and may leave almost everything out. [App.Policy]
// turns them into a [Policy], in which every number is absolute and every
// default filled in; the rest of firebreak reads policies only. A policy is
// immutable once made and may be shared by goroutines.
package config

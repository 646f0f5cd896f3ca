// Package otherguards looks for a second firebreak on the machine that guards the same
// API servers, or listens at the same addresses, and warns of it: each would lend every
// zone its share of the same workers, as if it were alone. How processes find each other
// is the concern of internal/presence.
package otherguards

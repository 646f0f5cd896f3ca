package routing

// Route is where a store lives.
//
// The Store of a route read from a [Table] or [File] shares 64 KiB with other
// stores. Clone what is kept for long, or the 64 KiB outlive a reload.
type Route struct {
	Store string
	Zone  string
}

// Directory maps keys to routes.
type Directory interface {
	// Lookup returns the route of a key, or false if the key is unknown. It
	// does not block, does not allocate and is safe for concurrent use.
	Lookup(key string) (Route, bool)

	// Zones returns all zones the directory knows, sorted, in a slice the
	// caller owns. It is nil if the directory cannot tell.
	Zones() []string
}

// Lister is a Directory that can list its stores.
type Lister interface {
	Directory

	// EachStore calls yield with every store of a zone, or with every store
	// there is if zone is empty, until yield returns false.
	EachStore(zone string, yield func(store string) bool)

	// Len returns the number of stores.
	Len() int
}

package routing

import "context"

// UnknownStore stands for the store of all requests whose key names none.
const UnknownStore = "unknown"

// Locate finds where a key belongs. A directory that is an [Asker] may ask its
// source for a key that it does not know, within the Asker's own bounds.
func Locate(ctx context.Context, d Directory, key string) (Route, bool) {
	if asker, ok := d.(Asker); ok {
		return asker.Ask(ctx, key)
	}
	return d.Lookup(key)
}

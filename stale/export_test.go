package stale

import "net/http"

// Identity is the identity of a request.
func (k *Keeper) Identity(r *http.Request, zone, store string) [32]byte {
	var q Request
	k.Look(&q, r, zone, store)
	return q.identify(r.Method)
}

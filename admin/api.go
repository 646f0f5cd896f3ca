package admin

import "sync"

// API answers for one configuration.
type API struct {
	Parts

	mu        sync.Mutex // guards below
	latest    *picture
	latencies latencies
}

// New makes an API of its parts.
func New(parts Parts) *API { return &API{Parts: parts} }

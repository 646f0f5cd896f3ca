package lookup

import (
	"hash/maphash"

	lru "github.com/hashicorp/golang-lru/v2"
)

// cache is a bounded LRU in several parts, each with a lock of its own, so that
// requests on many cores do not queue for one.
//
// It is the plain LRU and not the expirable one, whose goroutine cannot be
// stopped: each change of the settings would leave one behind, with its cache.
// Here the entries know their time.
type cache[V any] struct {
	seed  maphash.Seed
	parts []*lru.Cache[string, V]
}

const (
	cacheParts = 16
	// smallCache is not worth parting: the parts would be uneven.
	smallCache = 64 * cacheParts
)

func newCache[V any](size int) *cache[V] {
	parts := cacheParts
	if size < smallCache {
		parts = 1
	}
	c := &cache[V]{seed: maphash.MakeSeed(), parts: make([]*lru.Cache[string, V], parts)}
	for i := range c.parts {
		// Fails for sizes below 1 only.
		c.parts[i], _ = lru.New[string, V](max(1, size/parts))
	}
	return c
}

func (c *cache[V]) part(key string) *lru.Cache[string, V] {
	if len(c.parts) == 1 {
		return c.parts[0]
	}
	return c.parts[maphash.String(c.seed, key)%uint64(len(c.parts))]
}

// get does not make an entry the one used last, which would take the lock from
// all others: what is in use is put again when it is renewed.
func (c *cache[V]) get(key string) (V, bool) { return c.part(key).Peek(key) }

func (c *cache[V]) put(key string, value V) { c.part(key).Add(key, value) }
func (c *cache[V]) remove(key string)       { c.part(key).Remove(key) }

func (c *cache[V]) size() (n int) {
	for _, part := range c.parts {
		n += part.Len()
	}
	return n
}

// each calls do with every entry. It holds no lock meanwhile.
func (c *cache[V]) each(do func(key string, value V)) {
	for _, part := range c.parts {
		for _, key := range part.Keys() {
			if value, ok := part.Peek(key); ok {
				do(key, value)
			}
		}
	}
}

package stale

import (
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// shard is the stores that share a lock.
type shard struct {
	memory *Memory
	epoch  atomic.Uint64 // changes with each purge; changed under mu

	mu      sync.Mutex // guards below
	shelves map[string]*shelf
}

// shelf is the answers of one store, of the zone that it lives in.
type shelf struct {
	store, zone string
	bytes       int64
	answers     *simplelru.LRU[identity, *page]
	resources   map[uint64]*page // the latest of each URL, whoever asked
}

// page is the answers of one identity, which differ in what Vary names.
type page struct {
	id       identity
	resource uint64
	older    *page // of the same resource
	newer    *page
	variants []*entry
}

// entry is one answer. It is never changed.
type entry struct {
	fields []string // names and values of the header, in turn
	body   []byte
	etag   string
	vary   []vary
	coding string // Content-Encoding
	came   time.Time
	age    time.Duration // when it came
	until  time.Time
	size   int64
}

// What the parts take beside their texts, as measured.
const (
	shelfOverhead = 1200
	entryOverhead = 720
)

// mostVariants is how many answers differ in Vary alone.
const mostVariants = 8

// keep puts an answer on its shelf, unless there was a purge since it was asked for.
// Its bytes are taken already.
func (s *shard) keep(q *Request, id identity, e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch.Load() != q.epoch {
		return false
	}
	sh := s.shelves[q.store]
	if sh != nil && sh.zone != q.zone { // the store has moved
		s.purge(sh)
		sh = nil
	}
	if sh == nil {
		sh = s.newShelf(q)
	}
	p, ok := sh.answers.Get(id)
	if !ok {
		p = &page{id: id, resource: q.resource()}
		sh.link(p)
		sh.answers.Add(id, p)
	}
	for i := 0; i < len(p.variants); i++ {
		if old := p.variants[i]; old.sameVary(e) || len(p.variants) >= mostVariants {
			s.drop(sh, p, i)
			i--
		}
	}
	p.variants = append(p.variants, e)
	sh.bytes += e.size
	s.memory.counts.kept.Add(1)
	s.memory.counts.entries.Add(1)
	return true
}

func (s *shard) newShelf(q *Request) *shelf {
	answers, _ := simplelru.NewLRU[identity, *page](math.MaxInt, nil)
	sh := &shelf{store: own(q.store), zone: own(q.zone), bytes: shelfOverhead, answers: answers, resources: make(map[uint64]*page)}
	s.shelves[sh.store] = sh
	s.memory.used.Add(shelfOverhead)
	s.memory.stores.Add(1)
	return sh
}

// link makes a page the latest of its resource.
func (sh *shelf) link(p *page) {
	if p.older = sh.resources[p.resource]; p.older != nil {
		p.older.newer = p
	}
	sh.resources[p.resource] = p
}

func (sh *shelf) unlink(p *page) {
	if p.older != nil {
		p.older.newer = p.newer
	}
	switch {
	case p.newer != nil:
		p.newer.older = p.older
	case p.older != nil:
		sh.resources[p.resource] = p.older
	default:
		delete(sh.resources, p.resource)
	}
}

// drop takes one variant off a page.
func (s *shard) drop(sh *shelf, p *page, i int) {
	size := p.variants[i].size
	p.variants = slices.Delete(p.variants, i, i+1)
	sh.bytes -= size
	s.memory.used.Add(-size)
	s.memory.counts.entries.Add(-1)
}

// remove takes a page off a shelf, and the shelf away if nothing is left on it. It
// returns how many answers there were.
func (s *shard) remove(sh *shelf, p *page) (answers int) {
	for ; len(p.variants) > 0; answers++ {
		s.drop(sh, p, len(p.variants)-1)
	}
	sh.unlink(p)
	sh.answers.Remove(p.id)
	if sh.answers.Len() == 0 {
		delete(s.shelves, sh.store)
		s.memory.used.Add(-shelfOverhead)
		s.memory.stores.Add(-1)
	}
	return answers
}

func (s *shard) evictOldest(sh *shelf) {
	if _, p, ok := sh.answers.GetOldest(); ok {
		s.memory.counts.evicted.Add(int64(s.remove(sh, p)))
	}
}

// purge forgets a shelf, which may be nil.
func (s *shard) purge(sh *shelf) (answers int) {
	if sh == nil {
		return 0
	}
	for _, p := range sh.answers.Values() {
		answers += s.remove(sh, p)
	}
	s.memory.counts.purged.Add(int64(answers))
	return answers
}

// find finds an answer for a request, nil if there is none.
func (s *shard) find(q *Request, id identity, now time.Time) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shelves[q.store]
	if sh == nil || sh.zone != q.zone {
		return nil
	}
	p, ok := sh.answers.Get(id)
	if !ok {
		return nil
	}
	var found *entry
	for _, e := range p.variants {
		if now.Before(e.until) && e.fits(q) && (found == nil || e.came.After(found.came)) {
			found = e
		}
	}
	return found
}

// forget forgets what was kept for a request.
func (s *shard) forget(q *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shelves[q.store]
	if sh == nil || sh.resources[q.resource()] == nil {
		return
	}
	if p, ok := sh.answers.Peek(q.identify(q.method)); ok {
		s.memory.counts.purged.Add(int64(s.remove(sh, p)))
	}
}

// forgetResource forgets what was kept of a URL, whoever asked.
func (s *shard) forgetResource(q *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shelves[q.store]
	if sh == nil {
		return
	}
	for p := sh.resources[q.resource()]; p != nil; {
		older := p.older
		s.memory.counts.purged.Add(int64(s.remove(sh, p)))
		p = older
	}
}

// newEntry makes an answer of its parts. shared are the fields that the client's
// response had before: they are made anew for each response.
func newEntry(h, shared http.Header, body []byte) *entry {
	e := &entry{body: body, etag: own(first(h, "Etag")), coding: own(first(h, "Content-Encoding"))}
	e.fields = keptFields(h, shared)
	e.size = entryOverhead + int64(cap(body)) + int64(len(e.etag)+len(e.coding)) + int64(cap(e.fields))*16
	for _, text := range e.fields {
		e.size += int64(len(text))
	}
	return e
}

// sameVary reports whether two answers are for the same requests.
func (e *entry) sameVary(o *entry) bool { return e.coding == o.coding && slices.Equal(e.vary, o.vary) }

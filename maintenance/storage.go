package maintenance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
)

// Storage is a backend in Caddy's storage: files, or whatever a storage plugin
// offers. Its keys, below the prefix:
//
//	head.json              the latest head; writing it is what commits a change
//	changes/<revision>     one file for each of the latest changes
//	base.ndjson            a whole state, renewed from time to time; what came
//	                       after it is in the changes
//	instances/<name>       one record for each sidecar
//	lock                   held while a change is made
//
// A change beyond the head was never acknowledged and is overwritten. Targets
// do not occur in keys, because storages fold and cut names.
type Storage struct {
	storage certmagic.Storage
	prefix  string
	calls   chan struct{} // bounds the calls that a hung storage holds

	// Held while the record of a sidecar is written or removed: a write that
	// no caller waits for any more must not come after the removal.
	publishing sync.Mutex

	writing sync.Mutex // guards below
	baseAt  uint64     // revision of the base when it was last looked at
}

// maxCalls is how many calls may be on their way to the storage at a time.
const maxCalls = 8

// How the log is kept: a base every so many changes, and for how long changes
// stay for readers that are behind and for the history.
const (
	baseEvery   = 64
	changesKept = 1100
	maxDelta    = 256
)

// NewStorage makes a backend in a storage.
func NewStorage(storage certmagic.Storage, prefix string) *Storage {
	return &Storage{storage: storage, prefix: prefix, calls: make(chan struct{}, maxCalls)}
}

// Close does nothing: the storage belongs to somebody else.
func (s *Storage) Close() error { return nil }

// Watch waits for ctx: storages do not tell of changes.
func (s *Storage) Watch(ctx context.Context, _ func()) { <-ctx.Done() }

var errStorageHangs = errors.New("the storage does not answer: all calls to it hang")

// call makes a call that may ignore its context, as calls of the file system
// do: the caller goes on when ctx ends.
func call[T any](ctx context.Context, s *Storage, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if ctx.Err() != nil { // select would choose at random
		return none, fmt.Errorf("the storage was not asked: %w", ctx.Err())
	}
	select {
	case s.calls <- struct{}{}:
	case <-ctx.Done():
		return none, errors.Join(errStorageHangs, ctx.Err())
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-s.calls }()
		value, err := f(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, fmt.Errorf("the storage did not answer: %w", ctx.Err())
	}
}

// storedHead is head.json.
type storedHead struct {
	Head
	Absorbed []string `json:"absorbed,omitempty"`
}

func (s *Storage) key(parts ...string) string {
	return path.Join(append([]string{s.prefix}, parts...)...)
}

func (s *Storage) changeKey(revision uint64) string {
	return s.key("changes", fmt.Sprintf("%020d.json", revision))
}

// load reads a key; nil if there is none.
func (s *Storage) load(ctx context.Context, key string) ([]byte, error) {
	data, err := s.storage.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && data == nil {
		data = []byte{}
	}
	return data, err
}

func (s *Storage) store(ctx context.Context, key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.storage.Store(ctx, key, append(data, '\n'))
}

// head is the latest head. One that cannot be read is found anew from the
// changes and the base.
func (s *Storage) head(ctx context.Context) (storedHead, []Corrupt, error) {
	var h storedHead
	data, err := s.load(ctx, s.key("head.json"))
	if err != nil || data == nil {
		return h, nil, err
	}
	if err := json.Unmarshal(data, &h); err == nil && !h.Empty() && h.Revision > 0 {
		return h, nil, nil
	}
	corrupt := []Corrupt{{Record: s.key("head.json"), Error: "it is no head of a state"}}
	h, err = s.findHead(ctx)
	return h, corrupt, err
}

// findHead looks for the latest change or base that can be read.
func (s *Storage) findHead(ctx context.Context) (storedHead, error) {
	var found storedHead
	base, _, err := s.base(ctx)
	if err != nil {
		return found, err
	}
	if base != nil {
		found = storedHead{base.Head, base.Absorbed}
	}
	revisions, err := s.revisions(ctx)
	if err != nil {
		return found, err
	}
	for _, revision := range revisions {
		c, _, err := s.change(ctx, revision)
		if err != nil {
			return found, err
		}
		if c == nil || base != nil && (c.Epoch != base.Epoch || c.Revision <= found.Revision) {
			continue
		}
		found.Head = c.Head
		if c.Absorbed != "" {
			found.Absorbed = append(found.Absorbed, c.Absorbed)
		}
	}
	return found, nil
}

// revisions lists the changes that are kept, in order.
func (s *Storage) revisions(ctx context.Context) ([]uint64, error) {
	keys, err := s.storage.List(ctx, s.key("changes"), false)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	list := make([]uint64, 0, len(keys))
	for _, key := range keys {
		if revision, ok := revisionOf(key); ok {
			list = append(list, revision)
		}
	}
	return sortedRevisions(list), nil
}

// revisionOf reads a change's key.
func revisionOf(key string) (uint64, bool) {
	name, ok := strings.CutSuffix(path.Base(key), ".json")
	revision, err := strconv.ParseUint(name, 10, 64)
	return revision, ok && err == nil
}

// change reads one change; nil if it is not there or broken, which corrupt
// tells apart.
func (s *Storage) change(ctx context.Context, revision uint64) (c *Change, corrupt []Corrupt, err error) {
	key := s.changeKey(revision)
	data, err := s.load(ctx, key)
	if err != nil || data == nil {
		return nil, nil, err
	}
	c, bad, err := DecodeChange(data)
	if err != nil || c.Revision != revision {
		return nil, []Corrupt{{Record: key, Error: fmt.Sprintf("it is not the change of revision %d: %v", revision, err)}}, nil
	}
	for i := range bad {
		bad[i].Record = key + ": " + bad[i].Record
	}
	return c, bad, nil
}

// base reads the whole state that the changes build on; nil if there is none.
func (s *Storage) base(ctx context.Context) (*State, []Corrupt, error) {
	key := s.key("base.ndjson")
	data, err := s.load(ctx, key)
	if err != nil || data == nil {
		return nil, nil, err
	}
	state, corrupt, err := DecodeState(data)
	if err != nil {
		return nil, []Corrupt{{Record: key, Error: err.Error()}}, nil //nolint:nilerr // it is reported as corrupt
	}
	for i := range corrupt {
		corrupt[i].Record = key + ": " + corrupt[i].Record
	}
	return state, corrupt, nil
}

func (s *Storage) storeBase(ctx context.Context, state *State) error {
	var data bytes.Buffer
	if err := state.Encode(&data); err != nil {
		return err
	}
	return s.storage.Store(ctx, s.key("base.ndjson"), data.Bytes())
}

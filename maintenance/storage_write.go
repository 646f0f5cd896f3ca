package maintenance

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"strconv"
	"time"
)

// Commit implements Backend.
func (s *Storage) Commit(ctx context.Context, at Head, c *Change) error {
	_, err := call(ctx, s, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.locked(ctx, func() error { return s.commit(ctx, at, c) })
	})
	return err
}

func (s *Storage) commit(ctx context.Context, at Head, c *Change) error {
	head, _, err := s.head(ctx)
	if err != nil {
		return err
	}
	if head.Head != at {
		return ErrConflict
	}
	if at.Empty() {
		if err := s.wipe(ctx); err != nil {
			return err
		}
	}
	if err := s.store(ctx, s.changeKey(c.Revision), c); err != nil {
		return err
	}
	next := storedHead{c.Head, head.Absorbed}
	if c.Absorbed != "" {
		next.Absorbed = append(next.Absorbed, c.Absorbed)
	}
	if err := s.store(ctx, s.key("head.json"), next); err != nil {
		return err
	}
	if c.Revision >= s.baseAt+baseEvery {
		_ = s.compact(ctx, &next) // the next one may succeed
	}
	return nil
}

// wipe removes what an earlier epoch has left behind.
func (s *Storage) wipe(ctx context.Context) error {
	s.baseAt = 0
	if err := s.remove(ctx, s.key("base.ndjson")); err != nil {
		return err
	}
	revisions, err := s.revisions(ctx)
	if err != nil {
		return err
	}
	for _, revision := range revisions {
		if err := s.remove(ctx, s.changeKey(revision)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Storage) remove(ctx context.Context, key string) error {
	if err := s.storage.Delete(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// compact renews the base and drops old changes. A state that has holes is not
// made the base: its records may be mended by hand.
func (s *Storage) compact(ctx context.Context, head *storedHead) error {
	base, _, err := s.base(ctx)
	if err == nil && base != nil && base.Epoch == head.Epoch && base.Revision+baseEvery > head.Revision {
		s.baseAt = base.Revision // another sidecar did it
		return nil
	}
	state, corrupt, err := s.whole(ctx, head)
	if err != nil || len(corrupt) > 0 {
		return err
	}
	if err := s.storeBase(ctx, state); err != nil {
		return err
	}
	s.baseAt = head.Revision
	if err := s.sweep(ctx); err != nil {
		return err
	}
	revisions, err := s.revisions(ctx)
	if err != nil {
		return err
	}
	for _, revision := range revisions {
		switch {
		case revision+changesKept < head.Revision:
			err = s.remove(ctx, s.changeKey(revision))
		case revision+2*baseEvery < head.Revision && revision+4*baseEvery >= head.Revision:
			err = s.shorten(ctx, revision)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what writers left behind that were killed while they wrote:
// files under temporary names. No other process writes there while the lock is held.
func (s *Storage) sweep(ctx context.Context) error {
	for _, folder := range []string{"", "changes"} {
		keys, err := s.storage.List(ctx, s.key(folder), false)
		if err != nil {
			return err
		}
		for _, key := range keys {
			_, err := strconv.ParseUint(path.Base(key), 10, 64)
			if _, ours := revisionOf(key); err == nil && !ours {
				if err := s.remove(ctx, key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// shorten cuts a large change that only the history needs any more.
func (s *Storage) shorten(ctx context.Context, revision uint64) error {
	c, _, err := s.change(ctx, revision)
	if err != nil || c == nil {
		return err
	}
	if short := c.Cut(); short.isCut() && !c.isCut() {
		return s.store(ctx, s.changeKey(revision), short)
	}
	return nil
}

// Restore implements Backend.
func (s *Storage) Restore(ctx context.Context, state *State) error {
	_, err := call(ctx, s, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.locked(ctx, func() error { return s.restore(ctx, state) })
	})
	return err
}

func (s *Storage) restore(ctx context.Context, state *State) error {
	head, _, err := s.head(ctx)
	if err != nil {
		return err
	}
	if !head.Empty() && (head.Epoch != state.Epoch || head.Revision >= state.Revision) {
		return ErrConflict
	}
	if head.Empty() {
		if err := s.wipe(ctx); err != nil {
			return err
		}
	}
	if err := s.storeBase(ctx, state); err != nil {
		return err
	}
	s.baseAt = state.Revision
	return s.store(ctx, s.key("head.json"), storedHead{state.Head, state.Absorbed})
}

// storedInstance is a record on a sidecar.
type storedInstance struct {
	ID     string          `json:"id"`
	TTL    time.Duration   `json:"ttl"`
	At     time.Time       `json:"at"` // by the sidecar's clock; only if the storage has none
	Record json.RawMessage `json:"record"`
}

// instanceKey names a record: an id may hold anything.
func (s *Storage) instanceKey(id string) string {
	sum := fnv.New128a()
	_, _ = sum.Write([]byte(id))
	return s.key("instances", hex.EncodeToString(sum.Sum(nil))+".json")
}

// Publish implements Backend. The time the storage gives to the record is its
// clock.
func (s *Storage) Publish(ctx context.Context, id string, record []byte, ttl time.Duration) (time.Time, error) {
	return call(ctx, s, func(ctx context.Context) (time.Time, error) {
		s.publishing.Lock()
		defer s.publishing.Unlock()
		key := s.instanceKey(id)
		if err := s.store(ctx, key, storedInstance{id, ttl, time.Now(), record}); err != nil {
			return time.Time{}, err
		}
		info, err := s.storage.Stat(ctx, key)
		return info.Modified, err
	})
}

// Withdraw implements Backend.
func (s *Storage) Withdraw(ctx context.Context, id string) error {
	_, err := call(ctx, s, func(ctx context.Context) (struct{}, error) {
		s.publishing.Lock()
		defer s.publishing.Unlock()
		return struct{}{}, s.remove(ctx, s.instanceKey(id))
	})
	return err
}

// longGone is how many times its ttl a record must be old to be deleted.
const longGone = 20

// Instances implements Backend. What is expired is told by the latest record:
// that is the storage's clock, and no sidecar's.
func (s *Storage) Instances(ctx context.Context) (map[string][]byte, error) {
	return call(ctx, s, func(ctx context.Context) (map[string][]byte, error) {
		keys, err := s.storage.List(ctx, s.key("instances"), false)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		records, latest := make(map[string]storedInstance, len(keys)), time.Time{}
		for _, key := range keys {
			if path.Ext(key) != ".json" {
				continue // being written
			}
			r, err := s.instance(ctx, key)
			if err != nil {
				return nil, err
			}
			records[key] = r
			if r.At.After(latest) {
				latest = r.At
			}
		}
		alive := make(map[string][]byte, len(records))
		for key, r := range records {
			switch age := latest.Sub(r.At); {
			case age <= r.TTL && r.ID != "":
				alive[r.ID] = r.Record
			case age > longGone*max(r.TTL, time.Second):
				_ = s.remove(ctx, key)
			}
		}
		return alive, nil
	})
}

// instance reads a record; one that is gone or broken has no id.
func (s *Storage) instance(ctx context.Context, key string) (r storedInstance, err error) {
	data, err := s.load(ctx, key)
	if err != nil || data == nil {
		return r, err
	}
	if json.Unmarshal(data, &r) != nil {
		r = storedInstance{ID: key, TTL: time.Minute, Record: []byte(fmt.Sprintf("%q", "broken"))}
	}
	if info, err := s.storage.Stat(ctx, key); err == nil && !info.Modified.IsZero() {
		r.At = info.Modified
	}
	return r, nil
}

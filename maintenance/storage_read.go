package maintenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Read implements Backend.
func (s *Storage) Read(ctx context.Context, known Head) (*Update, error) {
	return call(ctx, s, func(ctx context.Context) (*Update, error) {
		// A writer may compact while this reads: then what it wants is gone,
		// and a second look finds it.
		for n := 0; ; n++ {
			u, torn, err := s.read(ctx, known)
			if err != nil || !torn || n == 2 {
				return u, err
			}
		}
	})
}

// read reports torn if the head moved meanwhile and something was missing.
func (s *Storage) read(ctx context.Context, known Head) (u *Update, torn bool, err error) {
	head, corrupt, err := s.head(ctx)
	if err != nil {
		return nil, false, err
	}
	if head.Head == known || head.Empty() {
		return &Update{Head: head.Head, Absorbed: head.Absorbed}, false, nil
	}
	u, err = s.delta(ctx, known, &head)
	if u != nil || err != nil {
		return u, false, err
	}
	state, more, err := s.whole(ctx, &head)
	if err != nil {
		return nil, false, err
	}
	corrupt = append(corrupt, more...)
	if len(more) > 0 {
		now, _, err := s.head(ctx)
		torn = err == nil && now.Head != head.Head
	}
	return &Update{Head: head.Head, Absorbed: head.Absorbed, All: true, Set: state.Sorted(), Corrupt: corrupt}, torn, nil
}

// delta returns what has changed since a head, or nil if that cannot be told.
func (s *Storage) delta(ctx context.Context, known Head, head *storedHead) (*Update, error) {
	if known.Empty() || known.Epoch != head.Epoch || known.Revision >= head.Revision || head.Revision-known.Revision > maxDelta {
		return nil, nil
	}
	last, bad, err := s.change(ctx, known.Revision)
	if err != nil || last == nil || last.Head != known || len(bad) > 0 {
		return nil, err
	}
	sum := newFold()
	for revision := known.Revision + 1; revision <= head.Revision; revision++ {
		c, bad, err := s.change(ctx, revision)
		if err != nil || c == nil || c.Epoch != head.Epoch || len(bad) > 0 || c.isCut() {
			return nil, err
		}
		sum.add(c)
		last = c
	}
	if last.Head != head.Head {
		return nil, nil
	}
	return &Update{Head: head.Head, Absorbed: head.Absorbed, Set: sum.sets(), Clear: sum.clears()}, nil
}

// whole returns the state of a head: the base and what came after it. What
// cannot be read is left out and named.
func (s *Storage) whole(ctx context.Context, head *storedHead) (*State, []Corrupt, error) {
	state, corrupt, err := s.base(ctx)
	if err != nil {
		return nil, nil, err
	}
	if state != nil && (state.Epoch != head.Epoch || state.Revision > head.Revision) {
		corrupt = append(corrupt, Corrupt{Record: s.key("base.ndjson"), Error: fmt.Sprintf("it is of %s, not of %s", state.Head, head.Head)})
		state = nil
	}
	from := uint64(1)
	if state != nil {
		from = state.Revision + 1
	} else {
		state = &State{Switches: make(map[Target]Switch)}
		if head.Revision > changesKept {
			from = head.Revision - changesKept
			corrupt = append(corrupt, Corrupt{Record: s.key("base.ndjson"), Error: "it is missing; switches set long ago are lost"})
		}
	}
	for revision := from; revision <= head.Revision; revision++ {
		c, bad, err := s.change(ctx, revision)
		if err != nil {
			return nil, nil, err
		}
		corrupt = append(corrupt, bad...)
		switch {
		case c != nil && c.Epoch == head.Epoch:
			state.take(c)
			if c.isCut() {
				corrupt = append(corrupt, Corrupt{Record: s.changeKey(revision), Error: "only the beginning of it was kept"})
			}
		case len(bad) == 0:
			corrupt = append(corrupt, Corrupt{Record: s.changeKey(revision), Error: "it is missing"})
		}
	}
	state.Head, state.Absorbed = head.Head, head.Absorbed
	return state, corrupt, nil
}

// History implements Backend.
func (s *Storage) History(ctx context.Context, limit int) ([]Change, error) {
	return call(ctx, s, func(ctx context.Context) ([]Change, error) {
		head, _, err := s.head(ctx)
		if err != nil {
			return nil, err
		}
		revisions, err := s.revisions(ctx)
		if err != nil {
			return nil, err
		}
		var list []Change
		for _, revision := range slices.Backward(revisions) {
			if revision > head.Revision || len(list) == limit {
				continue
			}
			c, _, err := s.change(ctx, revision)
			if err != nil {
				return nil, err
			}
			if c != nil {
				list = append(list, *c)
			}
		}
		return list, nil
	})
}

// fold is the sum of several changes.
type fold struct {
	set   map[Target]Switch
	clear map[Target]bool
}

func newFold() *fold { return &fold{make(map[Target]Switch), make(map[Target]bool)} }

func (f *fold) add(c *Change) {
	for _, t := range c.Clear {
		delete(f.set, t)
		f.clear[t] = true
	}
	for _, sw := range c.Set {
		delete(f.clear, sw.Target)
		f.set[sw.Target] = sw
	}
}

func (f *fold) sets() []Switch { return (&State{Switches: f.set}).Sorted() }

func (f *fold) clears() []Target {
	list := make([]Target, 0, len(f.clear))
	for t := range f.clear {
		list = append(list, t)
	}
	slices.SortFunc(list, compareTargets)
	return list
}

func sortedRevisions(list []uint64) []uint64 {
	slices.Sort(list)
	return list
}

// DecodeChange reads a stored change. Switches and targets in it that cannot
// be read are left out and named.
func DecodeChange(data []byte) (*Change, []Corrupt, error) {
	var raw struct {
		Change
		Set   []json.RawMessage `json:"set"`
		Clear []json.RawMessage `json:"clear"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, nil, err
	}
	c := raw.Change
	if c.Empty() || c.Revision == 0 {
		return nil, nil, errors.New("it has no revision")
	}
	c.Set, c.Clear = nil, nil
	var corrupt []Corrupt
	for i, text := range raw.Set {
		sw, err := DecodeSwitch(text)
		if err != nil {
			corrupt = append(corrupt, Corrupt{Record: fmt.Sprintf("set %d", i), Error: err.Error()})
			continue
		}
		c.Set = append(c.Set, sw)
	}
	for i, text := range raw.Clear {
		var t Target
		err := json.Unmarshal(text, &t)
		if err == nil {
			err = t.Check()
		}
		if err != nil {
			corrupt = append(corrupt, Corrupt{Record: fmt.Sprintf("clear %d", i), Error: err.Error()})
			continue
		}
		c.Clear = append(c.Clear, t)
	}
	return &c, corrupt, nil
}

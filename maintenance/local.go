package maintenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/disk"
)

// loadSnapshot puts the state of the local snapshot in force, if it is newer
// than what is known.
func (b *Board) loadSnapshot() error {
	if b.opts.Snapshot == "" {
		return nil
	}
	data, err := os.ReadFile(b.opts.Snapshot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the local snapshot: %w", err)
	}
	s, ahead, corrupt, err := decodeState(data)
	if err != nil {
		return fmt.Errorf("reading the local snapshot %s: %w", b.opts.Snapshot, err)
	}
	if mine := b.snapshot(); !mine.Empty() && (mine.Epoch != s.Epoch || mine.Revision >= s.Revision) {
		return nil
	}
	b.mu.Lock()
	b.ahead = ahead
	b.mu.Unlock()
	b.adopt(s, corrupt)
	return nil
}

// snapshotEvery bounds how often the snapshot is written.
const snapshotEvery = 200 * time.Millisecond

// keepSnapshot writes the snapshot after changes, and once more at the end.
func (b *Board) keepSnapshot(ctx context.Context) {
	if b.opts.Snapshot == "" {
		return
	}
	for ctx.Err() == nil {
		b.saveSnapshot()
		select {
		case <-ctx.Done():
		case <-time.After(snapshotEvery):
		}
	}
	b.saveSnapshot()
}

func (b *Board) saveSnapshot() {
	b.mu.Lock()
	state, ahead, wanted := b.state, b.ahead, b.unsaved && !b.state.Empty()
	b.unsaved = false
	b.mu.Unlock()
	if !wanted {
		return
	}
	err := writeSnapshot(b.opts.Snapshot, state, ahead)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saveFailed = err
	b.unsaved = b.unsaved || err != nil
}

// writeSnapshot replaces the file at once, so that a kill leaves the old one
// or the new one.
func writeSnapshot(path string, s *State, ahead time.Duration) error {
	var data bytes.Buffer
	if err := s.encode(&data, ahead); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return disk.Replace(path, data.Bytes())
}

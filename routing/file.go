package routing

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// FileOptions says where a [File] is read from.
type FileOptions struct {
	// Path of the file. The format is told by the extension (.csv, .ndjson,
	// .jsonl), or else by the content.
	//
	// CSV starts with the header row "store,zone", which may go on with key
	// columns. NDJSON has one object per line:
	// {"store":"s1","zone":"z1","keys":["k1","k2"]}. A store is found by its
	// id and by each of its keys. A byte order mark, CRLF line ends and blank
	// lines are accepted.
	Path string

	// Log is told of every reload, good or refused, on the goroutine of Watch
	// or Reload. Default: none.
	Log func(FileEvent)

	// Debounce is how long the file must be left alone before Watch reads it
	// again. Default: 200ms.
	Debounce time.Duration

	// Poll is how often Watch looks at the file's time, size and inode, for
	// changes that the operating system did not announce. Default: 10s.
	Poll time.Duration
}

// FileEvent tells how a reload went.
type FileEvent struct {
	Path string

	// Err is why the file was refused or could not be watched; the table
	// that was in force stays. It is nil when a new table is in force.
	Err error

	// Stores, Keys (store ids included) and Zones count what is in force
	// after the event.
	Stores, Keys, Zones int

	// Duration of reading the file.
	Duration time.Duration
}

// ErrFileChanging means that a file was written to while it was read. Replace
// such files by rename: write a new one beside it, then rename it over.
var ErrFileChanging = errors.New("the file changed while it was read")

// File is a directory read from a CSV or NDJSON file. A new version replaces
// the table in one step; a broken one is refused whole.
type File struct {
	opts  FileOptions
	table atomic.Pointer[Table]

	mu   sync.Mutex
	last fileState // guarded by mu: what the last reload, good or not, saw
}

// OpenFile loads a file. The error names the file and line of every bad line,
// up to 20; see [LoadError].
func OpenFile(opts FileOptions) (*File, error) {
	if opts.Path == "" {
		return nil, errors.New("no path given")
	}
	if opts.Log == nil {
		opts.Log = func(FileEvent) {}
	}
	if opts.Debounce <= 0 {
		opts.Debounce = 200 * time.Millisecond
	}
	if opts.Poll <= 0 {
		opts.Poll = 10 * time.Second
	}
	f := &File{opts: opts}
	table, state, err := readTable(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("loading stores: %w", err)
	}
	f.table.Store(table)
	f.last = state
	return f, nil
}

// Reload reads the file now, whether it changed or not. On an error the table
// that was in force stays. Log is told either way.
func (f *File) Reload() error {
	f.mu.Lock()
	event := f.reloadLocked()
	f.mu.Unlock()
	f.opts.Log(event)
	return event.Err
}

// reloadIfChanged reloads a file that is not in the state of the last reload,
// or that was touched: two writes within one tick of the file system's clock
// look the same.
func (f *File) reloadIfChanged(touched bool) {
	f.mu.Lock()
	now, err := stateOf(os.Stat(f.opts.Path))
	if now.same(f.last) && (err != nil || !touched) {
		f.mu.Unlock()
		return
	}
	event := f.reloadLocked()
	f.mu.Unlock()
	f.opts.Log(event)
}

func (f *File) reloadLocked() FileEvent {
	start := time.Now()
	table, state, err := readTable(f.opts.Path)
	f.last = state
	if err != nil {
		err = fmt.Errorf("loading stores: %w", err)
	} else {
		f.table.Store(table)
	}
	return f.event(err, time.Since(start))
}

func (f *File) event(err error, took time.Duration) FileEvent {
	table := f.table.Load()
	return FileEvent{
		Path:     f.opts.Path,
		Err:      err,
		Stores:   table.Len(),
		Keys:     table.Keys(),
		Zones:    len(table.zones),
		Duration: took,
	}
}

// readTable loads the file and tells which state of the file that was.
func readTable(path string) (*Table, fileState, error) {
	file, err := os.Open(path)
	if err != nil {
		// A file that is there but not readable has a state, too.
		state, _ := stateOf(os.Stat(path))
		return nil, state, err
	}
	defer file.Close()
	before, err := stateOf(file.Stat())
	if err != nil {
		return nil, fileState{}, err
	}
	table, err := load(path, file)
	if err != nil {
		return nil, before, err
	}
	if after, err := stateOf(file.Stat()); err != nil || !after.same(before) {
		return nil, before, fmt.Errorf("%s: %w", path, ErrFileChanging)
	}
	return table, before, nil
}

// fileState tells one version of a file from another. The zero value is a
// file that is not there.
type fileState struct {
	info os.FileInfo
}

func stateOf(info os.FileInfo, err error) (fileState, error) {
	if err != nil {
		return fileState{}, err
	}
	if !info.Mode().IsRegular() {
		return fileState{}, fmt.Errorf("%s: not a regular file", info.Name())
	}
	return fileState{info: info}, nil
}

func (s fileState) same(t fileState) bool {
	if s.info == nil || t.info == nil {
		return s.info == nil && t.info == nil
	}
	return os.SameFile(s.info, t.info) &&
		s.info.Size() == t.info.Size() && s.info.ModTime().Equal(t.info.ModTime())
}

// Lookup implements [Directory].
func (f *File) Lookup(key string) (Route, bool) { return f.table.Load().Lookup(key) }

// Zones implements [Directory].
func (f *File) Zones() []string { return f.table.Load().Zones() }

// Len implements [Lister].
func (f *File) Len() int { return f.table.Load().Len() }

// EachStore implements [Lister]. It lists the table in force when it was
// called.
func (f *File) EachStore(zone string, yield func(store string) bool) {
	f.table.Load().EachStore(zone, yield)
}

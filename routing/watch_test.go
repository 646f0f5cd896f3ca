package routing_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

// watched is a File under Watch.
type watched struct {
	*routing.File
	path   string
	events chan routing.FileEvent
}

func csvOf(stores ...string) string {
	return "store,zone\n" + strings.Join(stores, ",z1\n") + ",z1\n"
}

// watchFile opens path and watches it. Polls are an hour apart if poll is 0.
func watchFile(t *testing.T, path string, poll time.Duration) *watched {
	t.Helper()
	if poll == 0 {
		poll = time.Hour
	}
	w := &watched{path: path, events: make(chan routing.FileEvent, 100)}
	f, err := routing.OpenFile(routing.FileOptions{
		Path: path, Poll: poll, Debounce: 20 * time.Millisecond,
		Log: func(e routing.FileEvent) { w.events <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.File = f
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Watch(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Error("Watch did not end with its context")
		}
	})
	return w
}

// wait returns the next event.
func (w *watched) wait(t *testing.T) routing.FileEvent {
	t.Helper()
	select {
	case e := <-w.events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event within 10s")
		panic("unreachable")
	}
}

// waitFor waits until a good event has put store in force.
func (w *watched) waitFor(t *testing.T, store string) routing.FileEvent {
	t.Helper()
	for {
		e := w.wait(t)
		if _, ok := w.Lookup(store); ok && e.Err == nil {
			return e
		}
	}
}

func (w *watched) quiet(t *testing.T) {
	t.Helper()
	select {
	case e := <-w.events:
		t.Errorf("unexpected event %+v", e)
	case <-time.After(150 * time.Millisecond):
	}
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchRenameOver(t *testing.T) {
	w := watchFile(t, write(t, "s.csv", csvOf("old")), 0)
	for i := range 3 {
		store := fmt.Sprintf("new%d", i)
		put(t, w.path+".tmp", csvOf(store, "more"))
		must(t, os.Rename(w.path+".tmp", w.path))
		e := w.waitFor(t, store)
		if e.Stores != 2 || e.Keys != 2 || e.Zones != 1 || e.Duration <= 0 || e.Path != w.path {
			t.Errorf("event = %+v", e)
		}
	}
	if _, ok := w.Lookup("old"); ok {
		t.Error("a store of the old file is still known")
	}
}

// putAlike writes a file in place so that its time, size and inode stay as they
// are: only the announcement tells.
func putAlike(t *testing.T, path, content string) {
	t.Helper()
	before, err := os.Stat(path)
	must(t, err)
	put(t, path, content)
	must(t, os.Chtimes(path, time.Time{}, before.ModTime()))
}

func TestWatchInPlace(t *testing.T) {
	w := watchFile(t, write(t, "s.csv", csvOf("s0")), 0)
	put(t, w.path, csvOf("s1", "more"))
	w.waitFor(t, "s1")
	for i := range 3 {
		store := fmt.Sprintf("s%d", i+2)
		putAlike(t, w.path, csvOf(store, "more"))
		w.waitFor(t, store)
	}
}

// TestWatchSymlinkSwap does what Kubernetes does to update a config map.
func TestWatchSymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	version := func(n int, store string) {
		data := filepath.Join(dir, fmt.Sprintf("..v%d", n))
		must(t, os.Mkdir(data, 0o700))
		put(t, filepath.Join(data, "s.csv"), csvOf(store))
		must(t, os.Symlink(filepath.Base(data), filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version(1, "one")
	path := filepath.Join(dir, "s.csv")
	must(t, os.Symlink(filepath.Join("..data", "s.csv"), path))
	w := watchFile(t, path, 0)
	for i := 2; i < 5; i++ {
		store := fmt.Sprintf("v%d", i)
		version(i, store)
		must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..v%d", i-1))))
		w.waitFor(t, store)
	}
}

func TestWatchBrokenThenFixed(t *testing.T) {
	w := watchFile(t, write(t, "s.csv", csvOf("old")), 0)
	put(t, w.path+".tmp", "store,zone\ngood,z1\nbad\n,z1\n")
	must(t, os.Rename(w.path+".tmp", w.path))
	e := w.wait(t)
	want := fmt.Sprintf("loading stores: %[1]s:3: 1 columns where the header has 2\n%[1]s:4: store is empty", w.path)
	if e.Err == nil || e.Err.Error() != want {
		t.Fatalf("error = %v, want %s", e.Err, want)
	}
	if _, ok := w.Lookup("old"); !ok || e.Stores != 1 {
		t.Error("the old table did not stay")
	}
	if _, ok := w.Lookup("good"); ok {
		t.Error("a line of the refused file is in force")
	}
	w.quiet(t)
	put(t, w.path+".tmp", csvOf("fixed"))
	must(t, os.Rename(w.path+".tmp", w.path))
	w.waitFor(t, "fixed")
}

func TestWatchDeleted(t *testing.T) {
	w := watchFile(t, write(t, "s.csv", csvOf("old")), 10*time.Millisecond)
	must(t, os.Remove(w.path))
	if e := w.wait(t); !errors.Is(e.Err, fs.ErrNotExist) {
		t.Fatalf("event = %+v, want one that tells the file is gone", e)
	}
	// Many polls later it still was said once.
	w.quiet(t)
	if _, ok := w.Lookup("old"); !ok {
		t.Error("the old table did not stay")
	}
	put(t, w.path, csvOf("back"))
	w.waitFor(t, "back")
}

// TestWatchPoll changes a file where its directory announces nothing: behind
// a link into another directory.
func TestWatchPoll(t *testing.T) {
	target := write(t, "s.csv", csvOf("old"))
	path := filepath.Join(t.TempDir(), "s.csv")
	must(t, os.Symlink(target, path))
	w := watchFile(t, path, 50*time.Millisecond)
	put(t, target, csvOf("new", "er"))
	w.waitFor(t, "new")
	w.quiet(t)
}

// TestWatchDirectoryMadeAnew deletes what is watched.
func TestWatchDirectoryMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	must(t, os.Mkdir(dir, 0o700))
	put(t, filepath.Join(dir, "s.csv"), csvOf("old"))
	w := watchFile(t, filepath.Join(dir, "s.csv"), 20*time.Millisecond)
	must(t, os.RemoveAll(dir))
	if e := w.wait(t); e.Err == nil {
		t.Fatalf("event = %+v, want an error", e)
	}
	must(t, os.Mkdir(dir, 0o700))
	put(t, w.path, csvOf("new"))
	w.waitFor(t, "new")
	// The new directory is watched, not only polled.
	putAlike(t, w.path, csvOf("wen"))
	w.waitFor(t, "wen")
}

// TestWatchSeesChangeBeforeIt makes the change between OpenFile and Watch.
func TestWatchSeesChangeBeforeIt(t *testing.T) {
	path := write(t, "s.csv", csvOf("old"))
	loaded := make(chan routing.FileEvent, 1)
	f, err := routing.OpenFile(routing.FileOptions{
		Path: path, Poll: time.Hour,
		Log: func(e routing.FileEvent) { loaded <- e },
	})
	must(t, err)
	put(t, path, csvOf("new", "er"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go f.Watch(ctx)
	if e := <-loaded; e.Err != nil || e.Stores != 2 {
		t.Errorf("event = %+v, want 2 stores", e)
	}
}

func TestWatchLeavesOtherFilesAlone(t *testing.T) {
	w := watchFile(t, write(t, "s.csv", csvOf("old")), 0)
	for i := range 5 {
		put(t, filepath.Join(filepath.Dir(w.path), fmt.Sprintf("other%d", i)), "x")
	}
	must(t, os.Chmod(w.path, 0o400))
	w.quiet(t)
}

// TestFileChangingDuringReload touches the file all the time it is read.
func TestFileChangingDuringReload(t *testing.T) {
	path := write(t, "s.csv", csvOf("old"))
	f, err := routing.OpenFile(routing.FileOptions{Path: path})
	must(t, err)
	var large strings.Builder
	large.WriteString("store,zone\n")
	for i := range 50_000 {
		fmt.Fprintf(&large, "s%d,z1\n", i)
	}
	put(t, path, large.String())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for at := time.Now(); ; at = at.Add(time.Second) {
			select {
			case <-stop:
				return
			default:
				_ = os.Chtimes(path, at, at)
			}
		}
	}()
	err = f.Reload()
	close(stop)
	<-stopped
	if !errors.Is(err, routing.ErrFileChanging) || f.Len() != 1 {
		t.Errorf("error = %v, %d stores, want ErrFileChanging and the old table", err, f.Len())
	}
	must(t, f.Reload())
	if f.Len() != 50_000 {
		t.Errorf("%d stores once the file was left alone, want 50000", f.Len())
	}
}

// TestLookupDuringReload: each lookup sees one version whole.
func TestLookupDuringReload(t *testing.T) {
	path := write(t, "s.csv", "store,zone,key\na,z1,k\n")
	f, err := routing.OpenFile(routing.FileOptions{Path: path})
	must(t, err)
	var stop atomic.Bool
	failed := make(chan routing.Route, 2)
	for range 2 {
		go func() {
			var bad routing.Route
			for !stop.Load() {
				got, ok := f.Lookup("k")
				if !ok || got != (routing.Route{Store: "a", Zone: "z1"}) && got != (routing.Route{Store: "b", Zone: "z2"}) {
					bad = got
					stop.Store(true)
				}
			}
			failed <- bad
		}()
	}
	for i := range 200 {
		if i%2 == 0 {
			put(t, path, "store,zone,key\nb,z2,k\n")
		} else {
			put(t, path, "store,zone,key\na,z1,k\n")
		}
		must(t, f.Reload())
	}
	wasStopped := stop.Swap(true)
	if a, b := <-failed, <-failed; wasStopped {
		t.Errorf("a lookup during a reload gave %v %v", a, b)
	}
}

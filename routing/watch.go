package routing

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Watch reloads the file when it changes, until ctx is done. Written in
// place, renamed over, or reached by a symlink that was swapped (as Kubernetes
// does with config maps): each is seen at once; what is not announced, as on
// network file systems, is seen by the poll. A file that is deleted is
// reported once, and the table stays.
func (f *File) Watch(ctx context.Context) {
	w := f.newWatch()
	defer w.close()
	poll := time.NewTicker(f.opts.Poll)
	defer poll.Stop()
	// What happened between OpenFile and now was not announced.
	w.settle.Reset(0)
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-w.events:
			w.note(event)
		case <-w.errors:
			// Announcements were lost, or may have been.
			w.settle.Reset(f.opts.Debounce)
		case <-poll.C:
			again := w.rearm()
			if again || !w.waiting {
				f.reloadIfChanged(again)
			}
		case <-w.settle.C:
			f.reloadIfChanged(w.touched)
			w.waiting, w.touched = false, false
		}
	}
}

// watch gathers announcements until the file is left alone.
type watch struct {
	file    *File
	notify  *fsnotify.Watcher // nil if there is none: then only the poll is left
	events  <-chan fsnotify.Event
	errors  <-chan error
	settle  *time.Timer
	waiting bool // settle is running
	touched bool // the file itself was written or replaced
}

func (f *File) newWatch() *watch {
	w := &watch{file: f, settle: time.NewTimer(time.Hour)}
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		w.notify, w.events, w.errors = notify, notify.Events, notify.Errors
		err = notify.Add(w.dir())
	}
	if err != nil {
		f.opts.Log(f.event(fmt.Errorf("watching %s: %w; changes are seen by a look every %v only",
			w.dir(), err, f.opts.Poll), 0))
	}
	return w
}

// dir is what is watched: a watch on the file itself would stay with the old
// file when a new one is renamed over it.
func (w *watch) dir() string { return filepath.Dir(w.file.opts.Path) }

// note starts the wait for the file to be left alone. Other files of the
// directory may be links on the way to it: they are looked at, but do not
// prolong the wait.
func (w *watch) note(event fsnotify.Event) {
	ours := filepath.Base(event.Name) == filepath.Base(w.file.opts.Path)
	if ours && event.Op != fsnotify.Chmod {
		w.touched = true
	}
	if ours || !w.waiting {
		w.waiting = true
		w.settle.Reset(w.file.opts.Debounce)
	}
}

// rearm watches a directory that was deleted and made anew. It reports whether
// it is watched again: what happened in it before was not announced.
func (w *watch) rearm() bool {
	if w.notify == nil || len(w.notify.WatchList()) > 0 {
		return false
	}
	// Still missing is fine: the poll goes on.
	return w.notify.Add(w.dir()) == nil
}

func (w *watch) close() {
	w.settle.Stop()
	if w.notify != nil {
		_ = w.notify.Close()
	}
}

package incidents

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/disk"
)

const (
	maxRecord    = 32 << 20         // bytes that are read of a file
	maxWrites    = 50               // records written in one go
	refreshEvery = 5 * time.Second  // an ongoing incident's figures are written so often
	retryEvery   = 10 * time.Second // after the disk failed
	maxFolders   = 20               // processes with the same folder
)

const (
	recordSuffix    = ".json"
	temporarySuffix = ".tmp"
	lockName        = "lock"
)

// files is a log's folder.
type files struct {
	home, name string
	problem    func(error)
	poke       chan struct{}
	ready      chan struct{} // closed when what was kept has been read
	done       chan struct{} // closed when nothing is written any more
	failures   atomic.Uint64
	dir        atomic.Pointer[string] // that of this process; nil: none yet

	// Of the goroutine that writes.
	unlock func()
	failed error
	retry  time.Time
}

// wake has the goroutine that writes look what there is to do.
func (f *files) wake() {
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

// keepFiles reads what was kept, then writes what changes, until ctx ends.
func (l *Log) keepFiles(ctx context.Context) {
	l.keepOnce(false)
	for {
		select {
		case <-l.files.poke:
			l.keepOnce(false)
		case <-ctx.Done():
			l.files.retry = time.Time{}
			l.keepOnce(true)
			if l.files.unlock != nil {
				l.files.unlock()
			}
			return
		}
	}
}

// keepOnce does what there is to do, unless the disk failed a moment ago.
func (l *Log) keepOnce(last bool) {
	f := &l.files
	if time.Now().Before(f.retry) {
		return
	}
	err := l.open()
	if err == nil {
		err = l.flush(last)
	}
	if err != nil {
		f.failures.Add(1)
		f.retry = time.Now().Add(retryEvery)
	}
	if (err == nil) != (f.failed == nil) && f.problem != nil {
		f.problem(err)
	}
	f.failed = err
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = err
}

// open takes a folder and reads what is in it, once.
func (l *Log) open() error {
	f := &l.files
	if f.dir.Load() != nil {
		return nil
	}
	dir, unlock, err := takeFolder(f.home, f.name)
	if err != nil {
		return err
	}
	kept, err := readFolder(dir)
	if err != nil {
		unlock()
		return err
	}
	f.unlock = unlock
	f.dir.Store(&dir)
	l.takeOver(kept)
	close(f.ready)
	return nil
}

// takeFolder finds a folder that no other process has.
func takeFolder(home, name string) (dir string, unlock func(), err error) {
	for n := 1; n <= maxFolders; n++ {
		dir = filepath.Join(home, name)
		if n > 1 {
			dir += "~" + strconv.Itoa(n)
		}
		if err = os.MkdirAll(dir, 0o700); err != nil {
			return "", nil, err
		}
		unlock, err = disk.Lock(filepath.Join(dir, lockName))
		if errors.Is(err, errors.ErrUnsupported) {
			unlock, err = func() {}, nil // then let it be one's own
		}
		if !errors.Is(err, disk.ErrLocked) {
			return dir, unlock, err
		}
	}
	return "", nil, fmt.Errorf("%s and %d others beside it are in use by other processes; set another name (instance) or dir for each", filepath.Join(home, name), maxFolders-1)
}

// readFolder reads all records. Those that cannot be read are left alone.
func readFolder(dir string) ([]*Incident, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var kept []*Incident
	for _, entry := range entries {
		switch name := entry.Name(); {
		case strings.HasSuffix(name, temporarySuffix):
			_ = os.Remove(filepath.Join(dir, name)) // of a writer that was killed
		case strings.HasSuffix(name, recordSuffix):
			if i, err := readRecord(filepath.Join(dir, name)); err == nil {
				kept = append(kept, i)
			}
		}
	}
	return kept, nil
}

// read reads the record of an incident that is known.
func (f *files) read(id string) (*Incident, error) {
	dir := f.dir.Load()
	if dir == nil {
		return nil, fs.ErrNotExist
	}
	i, err := readRecord(filepath.Join(*dir, id+recordSuffix))
	if err == nil {
		i.Books = nil
	}
	return i, err
}

func readRecord(path string) (*Incident, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, maxRecord)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	i, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if want := strings.TrimSuffix(filepath.Base(path), recordSuffix); i.ID != want {
		return nil, fmt.Errorf("%s holds the incident %q", path, i.ID)
	}
	return i, nil
}

func decode(data []byte) (*Incident, error) {
	i := new(Incident)
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(i); err != nil {
		return nil, err
	}
	return i, i.check()
}

// takeOver adds what was kept by processes before this one.
func (l *Log) takeOver(kept []*Incident) {
	l.looking.Lock()
	defer l.looking.Unlock()
	l.mu.Lock()
	mine := make(map[string]bool) // begun while the folder was read
	for _, r := range l.past {
		mine[r.summary.ID] = true
	}
	for _, i := range l.ongoing {
		mine[i.ID] = true
	}
	l.mu.Unlock()
	for _, i := range kept {
		var status breaker.ZoneStatus
		var known bool
		var out outside
		if i.Ongoing && i.Server == "" {
			status, known = l.see(i.Zone)
			out = l.outside(i.Zone)
		}
		l.mu.Lock()
		switch {
		case i.Ongoing && i.Books != nil && known && i.isOf(&status):
			l.goOn(i, &status, out)
		case mine[i.ID]:
		case !i.Ongoing:
			l.past = append(l.past, &record{summary: i.summary()})
		case i.Books != nil && i.Books.kept() && l.ongoing[i.Zone] == nil:
			l.resume(i)
			i.Books.countFrom(out)
			if known {
				i.Books.Base = *tallyOf(&status)
			}
		default:
			l.breakOff(i)
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	slices.SortStableFunc(l.past, func(a, b *record) int { return newestFirst(b.summary, a.summary) })
	l.loaded = true
	l.trim()
	l.mu.Unlock()
	l.version = nil
	l.sample(l.now())
}

// resume goes on with an incident that a switch keeps open.
func (l *Log) resume(i *Incident) {
	for cause := range i.Books.Open {
		if !desiredCause(cause) {
			i.Books.finish(cause, i.AsOf)
		}
	}
	i.carry()
	i.note(l.now(), whatRestarted, "", "firebreak was restarted; what the breakers did since "+i.AsOf.UTC().Format(time.TimeOnly)+" is not known")
	l.ongoing[i.Key()] = i
	l.touch(i)
}

// isOf reports whether the zone is still in the episode that the record is of: the guard
// remembers it.
func (i *Incident) isOf(z *breaker.ZoneStatus) bool {
	since := z.EpisodeSince
	if since.IsZero() && z.Hold != nil {
		since = z.Hold.Since
	}
	return !since.IsZero() && !since.After(i.AsOf)
}

// goOn goes on with the record of an episode that the guard remembers. What this
// process may have written of it meanwhile becomes a part of it.
func (l *Log) goOn(i *Incident, z *breaker.ZoneStatus, out outside) {
	now := l.now()
	i.note(now, whatRestarted, "", "firebreak was restarted and goes on where it ended; what came after "+i.AsOf.UTC().Format(time.TimeOnly)+" is not known")
	if fresh := l.ongoing[i.Zone]; fresh != nil {
		for _, e := range fresh.Timeline {
			i.note(e.At, e.What, e.Store, e.Text)
		}
	}
	still := darkness(z)
	for cause := range i.Books.Open {
		if !desiredCause(cause) && !still[cause] {
			i.Books.finish(cause, i.AsOf)
		}
	}
	i.find(z, now)
	i.carry()
	i.Books.countFrom(out)
	i.Books.Base = *tallyOf(z)
	i.Books.Base.Worst = 0
	i.Books.adopted, i.Books.resumed = now, true
	l.ongoing[i.Key()] = i
	l.touch(i)
}

// breakOff ends an incident that was going on when its process ended.
func (l *Log) breakOff(i *Incident) {
	i.Interrupted = "firebreak ended while this was going on; what came after is not known"
	i.note(i.AsOf, whatCutOff, "", "the record breaks off: firebreak ended")
	i.Ongoing, i.Ended = false, i.AsOf
	if i.Books != nil {
		for cause := range i.Books.Open {
			i.Books.finish(cause, i.AsOf)
		}
		i.account(i.AsOf)
		i.Books = nil
	}
	l.past = append(l.past, &record{summary: i.summary(), full: i})
	l.dirty[i.ID] = true
	if next := l.ongoing[i.Key()]; next != nil && next.Began.Sub(i.Ended) < followsBy {
		next.Follows = i.ID
	}
}

// flush writes what has changed, some records at a time. The last time it
// writes everything.
func (l *Log) flush(last bool) error {
	l.readAmended()
	renamed := false
	for n := 0; last || n < maxWrites; n++ {
		id, data, full := l.next(last && n == 0)
		if id == "" {
			break
		}
		if err := l.files.write(id, data); err != nil {
			l.mu.Lock()
			l.dirty[id] = true
			l.mu.Unlock()
			return err
		}
		renamed = true
		l.written(full)
	}
	if !renamed {
		return nil
	}
	return disk.SyncFolder(*l.files.dir.Load())
}

// next takes one record that is to be written: its id and what is to be in its
// file, which is nothing if it is to go.
func (l *Log) next(everything bool) (id string, data []byte, full *Incident) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.ongoing {
		if everything || now.Sub(i.Books.wrote) >= refreshEvery {
			l.dirty[i.ID] = true
		}
	}
	for id := range l.dirty {
		delete(l.dirty, id)
		data, full, asItIs := l.encode(id, now)
		if !asItIs {
			return id, data, full
		}
	}
	return "", nil, nil
}

// encode is what is to be in the file of an incident, nothing if it is not
// kept. asItIs is true if the file need not change. Callers hold mu.
func (l *Log) encode(id string, now time.Time) (data []byte, full *Incident, asItIs bool) {
	for _, i := range l.ongoing {
		if i.ID == id {
			i.account(now)
			i.Books.wrote = now
			data, _ = json.Marshal(i)
			return data, nil, false
		}
	}
	for _, r := range l.past {
		if r.summary.ID == id {
			if r.full == nil {
				return nil, nil, true
			}
			data, _ = json.Marshal(r.full)
			return data, r.full, false
		}
	}
	return nil, nil, false
}

// readAmended reads the records into memory whose files lack what was agreed on since.
func (l *Log) readAmended() {
	l.mu.Lock()
	var ids []string
	for _, r := range l.past {
		if r.amended {
			ids = append(ids, r.summary.ID)
			r.amended = false
		}
	}
	l.mu.Unlock()
	for _, id := range ids {
		full, err := l.files.read(id)
		if err != nil {
			continue // it stays as it is
		}
		l.mu.Lock()
		for _, r := range l.past {
			if r.summary.ID == id && r.full == nil {
				full.Episode = r.summary.Episode
				r.full = full
				l.touch(full)
			}
		}
		l.mu.Unlock()
	}
}

// written forgets the lists of an incident that is over and on disk.
func (l *Log) written(full *Incident) {
	if full == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.past {
		if r.full == full && !l.dirty[full.ID] { // else it is written once more
			r.full = nil
		}
	}
}

// write replaces a record at once, or removes it if there is no data.
func (f *files) write(id string, data []byte) error {
	path := filepath.Join(*f.dir.Load(), id+recordSuffix)
	if data == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	temporary := path + temporarySuffix
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return os.Rename(temporary, path)
}

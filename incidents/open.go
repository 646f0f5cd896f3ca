package incidents

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Options say where incidents are kept.
type Options struct {
	Dir      string // incidents are kept in a folder of it
	Instance string // the name of that folder
	Keep     int    // how many; default: 200
	Source   Source // where to look things up until Attach says otherwise

	// Problem is told that the disk does not take or give records, and with
	// nil that it does again. It is called by the goroutine that writes.
	Problem func(error)
}

// closePatience is how long Close waits for the disk.
const closePatience = 2 * time.Second

// Open makes a log. It does not wait for the disk: what was kept is read in the
// background.
func Open(o Options) *Log {
	l := &Log{
		base: time.Now(), ongoing: map[string]*Incident{}, dirty: map[string]bool{}, source: o.Source,
		files: files{
			home: o.Dir, name: safeName(o.Instance), problem: o.Problem,
			poke: make(chan struct{}, 1), ready: make(chan struct{}), done: make(chan struct{}),
		},
	}
	l.SetKeep(o.Keep)
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	l.work.Go(func() { l.run(ctx) })
	go func() {
		defer close(l.files.done)
		l.keepFiles(ctx)
	}()
	return l
}

// Close writes what is not written yet and ends the log's goroutines. A disk
// that hangs is left behind. Incidents that are going on stay so on disk: the
// next process says what becomes of them.
func (l *Log) Close() {
	l.looking.Lock()
	l.look()
	l.looking.Unlock()
	l.stop()
	l.work.Wait()
	select {
	case <-l.files.done:
	case <-time.After(closePatience):
	}
}

// Query says which incidents to list.
type Query struct {
	Zone   string // only of this zone
	Server string // only of this server
	After  string // only those before the incident of this id
	Limit  int    // default: all
}

func (q *Query) wants(i *Incident) bool {
	return (q.Zone == "" || q.Zone == i.Zone) && (q.Server == "" || q.Server == i.Server)
}

// readPatience is how long a reader waits for what was kept to be read.
const readPatience = time.Second

// List is incidents without their lists, newest first. next is what After has
// to be to get those behind them, if there are more. The error is ErrUnknown if
// there is no incident After.
func (l *Log) List(q Query) (list []Incident, next string, err error) {
	l.wait()
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Incident, 0, len(l.past)+len(l.ongoing))
	for _, r := range l.past {
		if q.wants(&r.summary) {
			all = append(all, r.summary)
		}
	}
	for _, i := range l.ongoing {
		if q.wants(i) {
			i.account(now)
			all = append(all, i.summary())
		}
	}
	slices.SortFunc(all, newestFirst)
	if q.After != "" {
		at := slices.IndexFunc(all, func(i Incident) bool { return i.ID == q.After })
		if at < 0 {
			return nil, "", ErrUnknown
		}
		all = all[at+1:]
	}
	if q.Limit > 0 && len(all) > q.Limit {
		all = all[:q.Limit]
		next = all[q.Limit-1].ID
	}
	return all, next, nil
}

func newestFirst(a, b Incident) int {
	if order := b.Began.Compare(a.Began); order != 0 {
		return order
	}
	return strings.Compare(b.ID, a.ID)
}

// ErrUnknown is returned if there is no such incident.
var ErrUnknown = errors.New("no such incident")

// Get is one incident, whole, by its own id or that of its episode. If several are of
// that, the latest.
func (l *Log) Get(id string) (Incident, error) {
	l.wait()
	found, past, err := l.inMemory(id)
	if err != nil {
		found, past, err = l.inMemory(l.ofEpisode(id))
	}
	if err != nil || !past {
		return found, err
	}
	read, problem := l.files.read(found.ID)
	if problem == nil {
		read.Episode = found.Episode // may be later
		return *read, nil
	}
	found.Interrupted = "its lists cannot be read: " + problem.Error()
	return found, nil
}

// inMemory finds an incident. It says whether its lists are on disk alone.
func (l *Log) inMemory(id string) (found Incident, onDisk bool, err error) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.ongoing {
		if i.ID == id {
			i.account(now)
			return i.whole(), false, nil
		}
	}
	for _, r := range l.past {
		if r.summary.ID != id {
			continue
		}
		if r.full != nil {
			return r.full.whole(), false, nil
		}
		return r.summary, true, nil
	}
	return Incident{}, false, ErrUnknown
}

// ofEpisode is the id of the latest incident that is of an episode, or "".
func (l *Log) ofEpisode(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.ongoing {
		if i.isOfEpisode(id) {
			return i.ID
		}
	}
	for _, r := range slices.Backward(l.past) {
		if r.summary.isOfEpisode(id) {
			return r.summary.ID
		}
	}
	return ""
}

func (l *Log) wait() {
	select {
	case <-l.files.ready:
	case <-time.After(readPatience):
	}
}

// Counts is what there is to measure.
type Counts struct {
	Kept, Ongoing int
	Failures      uint64 // of the disk
}

// Counts is how many incidents there are, and how often the disk failed.
func (l *Log) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Counts{Kept: len(l.past), Ongoing: len(l.ongoing), Failures: l.files.failures.Load()}
}

// Problem is why the disk does not take or give records, or nil.
func (l *Log) Problem() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem
}

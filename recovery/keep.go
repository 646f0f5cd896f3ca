package recovery

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/disk"
)

// A job is kept in a file of its own: a header, then a line for each store. It
// is replaced at once, so that a kill leaves the old one or the new one. What
// happens until the next is in the journal that it names.
const (
	keptFormat = 1
	keptSuffix = ".ndjson"
	lockName   = "lock"

	// saveEvery bounds how often a job's file is written.
	saveEvery = 500 * time.Millisecond

	// saveShare is which part of the time may be spent on writing.
	saveShare = 10

	// loadEvery is how often the jobs of an earlier process are asked for that
	// still holds them.
	loadEvery = time.Second
)

// keptHeader is the first line of a job's file.
type keptHeader struct {
	Format int `json:"firebreak_recovery"`
	spec
	State     State     `json:"state"`
	PausedWhy string    `json:"paused_why,omitempty"`
	Ended     time.Time `json:"ended,omitzero"`
	Summary   *counts   `json:"summary,omitempty"`
	Converted bool      `json:"converted,omitempty"`
	Forgotten counts    `json:"forgotten,omitzero"`
	Journal   int       `json:"journal,omitempty"` // the first that goes on from here; 0: there is none
}

// keptStore is a line of a job's file. Its names are short: there may be many.
type keptStore struct {
	Store    string    `json:"s"`
	Zone     string    `json:"z"`
	Released time.Time `json:"r,omitzero"`
	Passed   time.Time `json:"p,omitzero"` // of a job that only reports
	Attempts int       `json:"n,omitempty"`
	Failures int       `json:"f,omitempty"`
	GivenUp  bool      `json:"g,omitempty"`
	Reason   string    `json:"why,omitempty"`

	Passes    int       `json:"k,omitempty"`  // in a row; worth something only with a journal
	At        time.Time `json:"l,omitzero"`   // when it passed last
	Releasing string    `json:"to,omitempty"` // see storeState

	ProbeFails int `json:"pf,omitempty"`

	Repair    repairState `json:"fix,omitempty"`
	RepairWhy string      `json:"fix_why,omitempty"`
	Work      *work       `json:"work,omitempty"`
	Revision  uint64      `json:"rev,omitempty"`
}

func (j *job) encode(journal int) ([]byte, error) {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	err := enc.Encode(keptHeader{keptFormat, j.spec, j.state, j.pausedWhy, j.ended, j.summary, j.converted, j.forgotten, journal})
	for _, s := range j.stores {
		err = errors.Join(err, enc.Encode(j.kept(s)))
	}
	return data.Bytes(), err
}

// kept is what is kept of a store.
func (j *job) kept(s *storeState) *keptStore {
	k := &keptStore{
		Store: s.store, Zone: s.zone, Attempts: s.attempts, Failures: s.failures, Reason: s.reason, GivenUp: s.phase == givenUp, ProbeFails: s.probeFails,
		Repair: s.repair, RepairWhy: s.repairWhy, Work: s.work.clone(), Revision: s.revision,
	}
	switch {
	case s.phase == released:
		k.Released = s.at.UTC()
	case s.phase == passed && j.spec.DryRun:
		k.Passed = s.at.UTC()
	case s.passes > 0:
		k.Passes, k.At, k.Releasing = s.passes, s.at.UTC(), s.releasing
	}
	return k
}

// keptJob is a job as it was kept.
type keptJob struct {
	keptHeader
	stores []*keptStore
	byName map[string]*keptStore
}

func decodeJob(data []byte) (*keptJob, error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	k := &keptJob{byName: make(map[string]*keptStore)}
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &k.keptHeader) != nil || k.Format != keptFormat || k.ID == "" {
		return nil, errors.New("its first line is missing or of another format")
	}
	switch k.State {
	case Running, Paused, Done, Cancelled:
	default:
		return nil, fmt.Errorf("its state is %q", k.State)
	}
	for lines.Scan() {
		s := new(keptStore)
		if err := json.Unmarshal(lines.Bytes(), s); err != nil {
			return nil, fmt.Errorf("a line of it is no store: %w", err)
		}
		k.put(s)
	}
	return k, lines.Err()
}

// put takes in what is known of a store from now on.
func (k *keptJob) put(s *keptStore) *keptStore {
	if known := k.byName[s.Store]; known != nil {
		*known = *s
		return known
	}
	k.stores = append(k.stores, s)
	k.byName[s.Store] = s
	return s
}

// restoreJob brings a job back as it was.
func restoreJob(a *Jobs, k *keptJob) *job {
	now := time.Now()
	j := newJob(a, k.spec, nil)
	j.state, j.pausedWhy, j.ended, j.summary, j.converted = k.State, k.PausedWhy, k.Ended, k.Summary, k.Converted
	j.forgotten = k.Forgotten
	if j.state == Running {
		j.resumedAt = now
	}
	zones := make(map[string]string)
	for _, s := range k.stores {
		if zones[s.Zone] == "" {
			zones[s.Zone] = s.Zone
		}
		j.restore(s, zones[s.Zone], now)
	}
	return j
}

// restore brings a store back as it was. How long ago its last check was nobody
// knows, since clocks jump: it waits as if that had been now.
func (j *job) restore(k *keptStore, zone string, now time.Time) {
	s := &storeState{
		placed: placed{k.Store, zone}, attempts: k.Attempts, failures: k.Failures, reason: k.Reason, checked: k.Attempts+k.Passes > 0,
		repair: k.Repair, repairWhy: k.RepairWhy, work: k.Work, revision: k.Revision, probeFails: k.ProbeFails,
	}
	switch {
	case k.Repair == repairBegun && k.Released.IsZero():
		s.phase, s.resumed = repairing, now
		j.toRepair = append(j.toRepair, s)
	case k.Repair == repairWanted && k.Released.IsZero():
		s.phase = repairing
		j.toRepair = append(j.toRepair, s)
	case !k.Released.IsZero():
		s.phase, s.at, s.checked = released, k.Released, true
		j.releasedAt = maxTime(j.releasedAt, s.at)
		if j.firstAt.IsZero() || s.at.Before(j.firstAt) {
			j.firstAt = s.at
		}
	case !k.Passed.IsZero():
		s.phase, s.at, s.checked = passed, k.Passed, true
	case k.GivenUp:
		s.phase = givenUp
	case k.Passes >= j.spec.Times:
		s.passes, s.at, s.releasing = k.Passes, k.At, k.Releasing
	case k.Passes > 0:
		s.passes, s.at, s.nextAt = k.Passes, k.At, now.Add(j.spec.Every)
	case k.Failures > 0:
		s.nextAt = now.Add(j.failPause(k.Failures))
	}
	j.take(s)
}

// save writes the job's file.
func (j *job) save() error {
	if j.all.opts.Dir == "" {
		return nil
	}
	j.saving.Lock()
	defer j.saving.Unlock()
	next := j.makeJournal()
	j.mu.Lock()
	data, err := j.encode(next)
	j.dirty = false
	if next > 0 {
		j.unwritten = append(j.unwritten, entry{next: next})
	}
	j.mu.Unlock()
	if err == nil {
		err = disk.Replace(j.file(), data)
	}
	j.mu.Lock()
	old, end := j.named, j.last+1
	if err != nil {
		j.dirty = true
	} else if j.named = next; next > 0 {
		end = next
	}
	j.mu.Unlock()
	_ = removeJournals(j.file(), old, end) // or they go on from the file that is there
	return err
}

func (j *job) file() string { return filepath.Join(j.all.opts.Dir, j.spec.ID+keptSuffix) }

// keepSaved writes the job's file after changes, until the job is over or ctx
// ends, and once more at the end.
func (j *job) keepSaved(ctx context.Context) {
	wait := saveEvery
	for sleep(ctx, wait) {
		j.mu.Lock()
		dirty, over := j.dirty, j.over() && j.inFlight+j.probing == 0
		j.mu.Unlock()
		if dirty {
			began := time.Now()
			_ = j.save() // it stays dirty
			wait = max(saveEvery, saveShare*time.Since(began))
		} else if over {
			return
		}
	}
	_ = j.save()
}

// load takes hold of the folder, unless another process does, and brings back
// the jobs in it.
func (a *Jobs) load() bool {
	unlock, err := a.lockDir()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.why = err.Error()
		return false
	}
	a.unlock, a.ready, a.why = unlock, true, ""
	for _, j := range a.readAll() {
		a.jobs[j.spec.ID] = j
		if !j.over() || len(j.toRepair) > 0 {
			j.going = true
			a.work.Go(func() {
				_ = j.save() // with a journal of this process, before there is anything for it
				j.run(a.ctx)
			})
		}
	}
	return true
}

func (a *Jobs) lockDir() (unlock func(), err error) {
	if a.opts.Dir == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(a.opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder to keep them in cannot be made: %w", err)
	}
	unlock, err = disk.Lock(filepath.Join(a.opts.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("the folder they are kept in (%s) is held by another process: %w", a.opts.Dir, err)
	}
	return unlock, nil
}

// keepLoading tries until the folder is free.
func (a *Jobs) keepLoading() {
	for sleep(a.ctx, loadEvery) {
		if a.load() {
			return
		}
	}
}

// readAll reads the files of all jobs. What cannot be read is told and left.
func (a *Jobs) readAll() (all []*job) {
	if a.opts.Dir == "" {
		return nil
	}
	entries, err := os.ReadDir(a.opts.Dir)
	if err != nil {
		a.emit(Event{Kind: EventUnreadable, Detail: err.Error()})
	}
	for _, entry := range entries {
		name := entry.Name()
		path := filepath.Join(a.opts.Dir, name)
		if strings.Contains(name, keptSuffix+".") {
			_ = os.Remove(path) // a process was killed while it wrote
		}
		if !strings.HasSuffix(name, keptSuffix) {
			continue
		}
		j, err := a.read(path)
		if err != nil {
			a.emit(Event{Kind: EventUnreadable, Recovery: strings.TrimSuffix(name, keptSuffix), Detail: fmt.Sprintf("%s: %v", path, err)})
			continue
		}
		all = append(all, j)
	}
	return all
}

// read reads the file of a job, and its journals.
func (a *Jobs) read(path string) (*job, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := decodeJob(data)
	if err != nil {
		return nil, err
	}
	numbers := journalsOf(path)
	anew, why := k.replay(path, numbers)
	j := restoreJob(a, k)
	if len(numbers) > 0 { // those that a process left behind are removed with the next file
		j.named, j.last = min(k.Journal, numbers[0]), numbers[len(numbers)-1]
	}
	if anew > 0 && j.state == Running {
		j.tell(EventAnew, "", fmt.Sprintf("%s: what %s passed does not count", why, plural(anew, "store")), anew)
	}
	return j, nil
}

// tidy forgets the oldest finished jobs.
func (a *Jobs) tidy() {
	finished := 0
	for _, j := range a.all() {
		if !j.finished() {
			continue
		}
		if finished++; finished <= keptFinished {
			continue
		}
		a.remove(j)
		if a.opts.Dir != "" {
			_ = os.Remove(j.file())
		}
	}
}

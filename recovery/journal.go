package recovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/disk"
)

// A journal keeps what happened since the job's file was written: a header,
// then what is known of a store from there on, a line each time something is
// found out, in order and in one write before anybody is released for it. That
// is what a kill leaves. It is not synced: a machine that lost its power might
// have kept that a store passed and lost that it failed then. So what is in it
// counts only until the machine restarts.
//
// The job's file names the journal that goes on from it. Each time it is
// written the job goes on in a new one, and those before are removed; if it
// cannot be written, or a line of a journal cannot, then the journal that it
// names is. Without that one no count in either is worth anything.
const (
	journalFormat = 1
	journalSuffix = ".journal"

	// passesKept is how long passed checks count while no process is there.
	passesKept = time.Hour
)

// journalHeader is the first line of a journal.
type journalHeader struct {
	Format int    `json:"firebreak_recovery_journal"`
	Boot   string `json:"boot"`
}

// journalLine is any other, behind its checksum.
type journalLine struct {
	Of *keptStore `json:"of,omitempty"`

	// Without a store: the job was paused or resumed, and all counts begin anew.
	State     State  `json:"state,omitempty"`
	PausedWhy string `json:"paused_why,omitempty"`
}

// entry is something to be written to the journal.
type entry struct {
	line journalLine
	next int // the journal to go on in, in place of a line
}

// keep notes for the journal what is known of a store. Call it with mu held.
func (j *job) keep(s *storeState) {
	if j.all.opts.Dir != "" {
		j.unwritten = append(j.unwritten, entry{line: journalLine{Of: j.kept(s)}})
	}
}

// keepState notes for the journal that the job was paused or resumed. Call it
// with mu held.
func (j *job) keepState() {
	if j.all.opts.Dir != "" {
		j.unwritten = append(j.unwritten, entry{line: journalLine{State: j.state, PausedWhy: j.pausedWhy}})
	}
}

// writeJournal writes what was noted. Only the job's goroutine calls it.
func (j *job) writeJournal() {
	j.mu.Lock()
	entries := j.unwritten
	j.unwritten = nil
	j.mu.Unlock()
	if j.undropped {
		j.dropJournal()
	}
	var lines []byte
	for i := range entries {
		if next := entries[i].next; next > 0 {
			j.appendJournal(lines)
			j.openJournal(next)
			lines = nil
		} else {
			lines = appendLine(lines, &entries[i].line)
		}
	}
	j.appendJournal(lines)
}

func appendLine(lines []byte, l *journalLine) []byte {
	data, _ := json.Marshal(l) // what is in it has no other form
	return fmt.Appendf(lines, "%08x %s\n", crc32.ChecksumIEEE(data), data)
}

func readLine(line []byte) (l journalLine, ok bool) {
	sum, data, _ := bytes.Cut(line, []byte(" "))
	want := fmt.Appendf(nil, "%08x", crc32.ChecksumIEEE(data))
	return l, bytes.Equal(sum, want) && json.Unmarshal(data, &l) == nil
}

func (j *job) appendJournal(lines []byte) {
	if len(lines) == 0 || j.journal == nil {
		return
	}
	if _, err := j.journal.Write(lines); err != nil {
		j.dropJournal()
	}
}

func (j *job) openJournal(n int) {
	j.closeJournal()
	f, err := os.OpenFile(journalFile(j.file(), n), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		j.dropJournal()
		return
	}
	j.journal = f
}

func (j *job) closeJournal() {
	if j.journal != nil {
		_ = j.journal.Close()
		j.journal = nil
	}
}

// dropJournal gives the journal up until the job's file is written next, since
// something is not in it. If it cannot be removed, that is tried again.
func (j *job) dropJournal() {
	j.closeJournal()
	j.mu.Lock()
	from, to := j.named, j.last+1
	j.dirty = true
	j.mu.Unlock()
	j.undropped = removeJournals(j.file(), from, to) != nil
}

// makeJournal makes the journal that goes on from the next file of the job, and
// returns its number; 0: there is none.
func (j *job) makeJournal() int {
	header, err := json.Marshal(journalHeader{journalFormat, disk.Boot()})
	if err != nil || disk.Boot() == "" || j.finished() {
		return 0
	}
	j.mu.Lock()
	j.last++
	n := j.last
	j.mu.Unlock()
	if err := os.WriteFile(journalFile(j.file(), n), append(header, '\n'), 0o600); err != nil {
		return 0
	}
	return n
}

// journalFile is the journal of a number that belongs to a job's file.
func journalFile(path string, n int) string {
	return strings.TrimSuffix(path, keptSuffix) + "." + strconv.Itoa(n) + journalSuffix
}

// journalsOf are the numbers of the journals there are, in order.
func journalsOf(path string) (numbers []int) {
	entries, _ := os.ReadDir(filepath.Dir(path))
	prefix := strings.TrimSuffix(filepath.Base(path), keptSuffix) + "."
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), prefix)
		text, isOne := strings.CutSuffix(text, journalSuffix)
		if n, err := strconv.Atoi(text); ok && isOne && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// removeJournals removes journals from a number to before another, the first
// one first: without it none of the others counts.
func removeJournals(path string, from, to int) error {
	for _, n := range journalsOf(path) {
		if n < from || n >= to {
			continue
		}
		name := journalFile(path, n)
		err := os.Remove(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && os.Truncate(name, 0) != nil {
			return err
		}
	}
	return nil
}

// replay takes in what happened since the job's file was written. It returns
// how many stores begin anew whose passed checks cannot be counted, and why.
func (k *keptJob) replay(path string, numbers []int) (anew int, why string) {
	if k.State == Done || k.State == Cancelled {
		return 0, ""
	}
	lost := make(map[*keptStore]bool)
	body, why := readJournals(path, k.Journal, numbers)
	if why != "" {
		k.forgetPasses(lost)
	}
	for len(body) > 0 {
		text, rest, whole := bytes.Cut(body, []byte("\n"))
		body = rest
		line, ok := readLine(text)
		switch {
		case !ok && !whole: // killed while it wrote
		case !ok: // whoever it was about
			why = "a line of its journal is damaged"
			k.forgetPasses(lost)
		case line.Of != nil:
			delete(lost, k.put(line.Of))
		default:
			k.State, k.PausedWhy = line.State, line.PausedWhy
			k.forgetPasses(make(map[*keptStore]bool))
		}
	}
	if at := k.passedLast(); !at.IsZero() && time.Since(at) > passesKept+k.Every {
		why = fmt.Sprintf("the last of them passed %s ago", time.Since(at).Round(time.Second))
		k.forgetPasses(lost)
	}
	return len(lost), why
}

// forgetPasses makes all counts begin anew, and adds those that did to lost.
func (k *keptJob) forgetPasses(lost map[*keptStore]bool) {
	for _, s := range k.stores {
		if s.Passes > 0 {
			lost[s] = true
			s.Passes, s.At, s.Releasing = 0, time.Time{}, ""
		}
	}
}

// passedLast is when a store passed last.
func (k *keptJob) passedLast() (at time.Time) {
	for _, s := range k.stores {
		at = maxTime(at, s.At)
	}
	return at
}

// readJournals reads the lines of the journals from a number on, or says why
// they do not count.
func readJournals(path string, from int, numbers []int) (body []byte, why string) {
	at, found := slices.BinarySearch(numbers, from)
	if !found {
		return nil, "it has no journal"
	}
	for _, n := range numbers[at:] {
		data, err := os.ReadFile(journalFile(path, n))
		if err != nil {
			return nil, fmt.Sprintf("its journal cannot be read: %v", err)
		}
		first, lines, whole := bytes.Cut(data, []byte("\n"))
		if !whole && n > from {
			break // killed while it was made
		}
		var h journalHeader
		switch err := json.Unmarshal(first, &h); {
		case err != nil || h.Format != journalFormat:
			return nil, "its journal is damaged or of another format"
		case h.Boot != disk.Boot() || h.Boot == "":
			return nil, "the machine was restarted"
		}
		body = append(body, lines...)
	}
	return body, ""
}

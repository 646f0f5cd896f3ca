package recovery

import (
	"fmt"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

const (
	// watchEvery is how often the released stores are looked at.
	watchEvery = 250 * time.Millisecond

	// tellEvery bounds how often an event tells of released stores, where
	// there are no batches.
	tellEvery = time.Second

	// namedBad is how many stores that turned bad a pause names.
	namedBad = 5

	// badToPause is how many failures in a row a released store may have until
	// the job pauses; one hung request is enough.
	badToPause = 2
)

// watch pauses the job if stores that it released have turned bad, and ends the
// watch over a batch.
func (j *job) watch(w *Deps, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.told > 0 && j.spec.Batch == 0 && now.Sub(j.toldAt) >= tellEvery {
		j.tellBatch(now)
	}
	j.tellRepaired(now, tellEvery)
	if w == nil || j.state != Running {
		return
	}
	if !j.releasedAt.IsZero() && !now.Before(j.watchAt) {
		j.watchAt = now.Add(watchEvery)
		why, store := j.turnedBad(w, now)
		if why == "" {
			why = j.putBack(w)
		}
		if why != "" {
			j.pause(why, store)
			return
		}
	}
	if !j.watchUntil.IsZero() && !j.watchUntil.After(now) {
		j.watchUntil, j.batchOut = time.Time{}, 0
	}
}

// turnedBad says which stores that the job released are in trouble since then,
// and names the first.
func (j *job) turnedBad(w *Deps, now time.Time) (why, first string) {
	var named []string
	count := 0
	for _, zone := range j.zones() {
		troubles, openFor, evidence := w.Guard.Troubles(zone)
		if since := now.Sub(maxTime(j.firstAt, j.resumedAt)); openFor > 0 && openFor < since {
			return fmt.Sprintf("zone %s opened %s after the first release: %s", zone, (since - openFor).Round(100*time.Millisecond), evidence), ""
		}
		for i := range troubles {
			t := &troubles[i]
			s := j.byName[t.Store]
			if s == nil || s.phase != released || t.Ago >= now.Sub(maxTime(s.at, j.resumedAt)) || !serious(t) {
				continue
			}
			if count++; count <= namedBad {
				named = append(named, inTrouble(s, t, now))
			}
			if first == "" {
				first = s.store
			}
		}
	}
	if count == 0 {
		return "", ""
	}
	why = plural(count, "released store") + " turned bad: " + strings.Join(named, "; ")
	if count > namedBad {
		why += fmt.Sprintf("; and %d more", count-namedBad)
	}
	return why, first
}

// serious reports whether a trouble is more than a hiccup.
func serious(t *breaker.Trouble) bool {
	hung := t.Last == breaker.Hung || t.Last == breaker.GoneLate
	return t.State != breaker.Calm || hung || t.BadInRow >= badToPause
}

func inTrouble(s *storeState, t *breaker.Trouble, now time.Time) string {
	text := fmt.Sprintf("%s, released %s ago: ", s.store, now.Sub(s.at).Round(100*time.Millisecond))
	switch {
	case t.State != breaker.Calm:
		return text + "in quarantine: " + t.Evidence
	case t.Hung > 0:
		return text + plural(t.Hung, "request") + " hung"
	}
	return text + fmt.Sprintf("%d bad outcomes in a row, last %s", t.BadInRow, t.Last)
}

// putBack reports whether somebody has put stores that were released into maintenance
// again, not one by one but with their zone or everything.
func (j *job) putBack(w *Deps) string {
	revision := w.Board.View().State.Revision
	if revision == j.looked {
		return ""
	}
	j.looked = revision
	count, text := 0, ""
	for _, s := range j.stores {
		if sw := againInMaintenance(w, s); sw != nil {
			if count++; count == 1 {
				text = fmt.Sprintf(" in maintenance again, by the switch of %s; first of them %s", sw.Target, s.store)
			}
		}
	}
	if count == 0 {
		return ""
	}
	return plural(count, "released store") + text
}

func againInMaintenance(w *Deps, s *storeState) *maintenance.Switch {
	if s.phase != released {
		return nil
	}
	if sw := w.Board.Lookup(s.zone, s.store); sw != nil && sw.Scope != maintenance.Store {
		return sw
	}
	return nil
}

// takeBack lets the stores wait for checks again that somebody has put back into
// maintenance. Call it with mu held.
func (j *job) takeBack(w *Deps) {
	if w == nil {
		return
	}
	for _, s := range j.stores {
		if againInMaintenance(w, s) != nil {
			s.phase, s.passes, s.probed, s.nextAt, s.releasing = waiting, 0, false, time.Time{}, ""
			j.keep(s)
			j.queue.retry(s)
		}
	}
}

// keptBack reports whether a store is in maintenance by a switch of its own that a
// person set after the job began: it is not the job's to release it.
func (j *job) keptBack(s *storeState, sw *maintenance.Switch) string {
	if sw == nil || sw.Scope != maintenance.Store || sw.Revision <= max(j.spec.Revision, s.revision) || j.converted || j.spec.DryRun {
		return ""
	}
	return "put into maintenance since the recovery began: " + inWords("set", sw.By, sw.Reason)
}

// zones are the zones of the job's stores.
func (j *job) zones() []string {
	if j.spec.Zone != "" {
		return []string{j.spec.Zone}
	}
	if j.zoneList == nil {
		seen := make(map[string]bool)
		for _, s := range j.stores {
			if !seen[s.zone] {
				seen[s.zone] = true
				j.zoneList = append(j.zoneList, s.zone)
			}
		}
	}
	return j.zoneList
}

// tellBatch tells of the stores that were released since the last time. Call
// it with mu held.
func (j *job) tellBatch(now time.Time) {
	if j.told == 0 {
		return
	}
	c := j.count()
	detail := fmt.Sprintf("%s released, %d of %d so far", plural(j.told, "store"), c.Released, c.Total)
	if j.watchUntil.After(now) {
		detail += fmt.Sprintf("; watched for %s before the next", j.spec.Watch)
	}
	j.tell(EventBatch, "", detail, j.told)
	j.told, j.toldAt = 0, now
}

// pace is how fast stores come back, measured over the last of them.
type pace struct {
	at   [paceSize]time.Time // a ring
	next int
}

const (
	paceSize   = 512
	paceWindow = 30 * time.Second
)

func (p *pace) add(now time.Time, n int) {
	for range n {
		p.at[p.next%paceSize] = now
		p.next++
	}
}

// perSecond is the rate of the last half minute, or of the last 512 stores if
// they took less.
func (p *pace) perSecond(now time.Time) float64 {
	oldest, n := now, 0
	for i := max(0, p.next-paceSize); i < p.next; i++ {
		if at := p.at[i%paceSize]; now.Sub(at) <= paceWindow {
			n++
			if at.Before(oldest) {
				oldest = at
			}
		}
	}
	if n == 0 {
		return 0
	}
	return float64(n) / max(now.Sub(oldest).Seconds(), 0.1)
}

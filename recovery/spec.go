package recovery

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Bounds of what is kept.
const (
	maxStores     = 200_000 // of one job
	maxUnfinished = 20      // jobs
	keptFinished  = 50      // jobs
	keptStores    = 10_000  // of a finished job, those that fail first
	maxText       = 2000    // bytes of by, reason and the like
)

// Request is what somebody wants recovered. Nil and empty settings are taken
// from the store check of the zone.
type Request struct {
	Zone   string   // a whole zone,
	Stores []string // or these
	By     string
	Reason string
	DryRun bool // only check and report

	Parallel, Times, Batch, Retries *int
	Every, Watch                    *time.Duration
}

// Errors of Begin and of a job's actions; what they wrap says more.
var (
	ErrInvalid     = errors.New("not possible")
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("in conflict")
	ErrUnavailable = errors.New("not available now")
)

// refusal is an error for whoever asked, of one of the kinds above.
type refusal struct {
	kind error
	text string
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

// spec is what a job was told, with every default filled in.
type spec struct {
	ID       string        `json:"id"`
	Zone     string        `json:"zone,omitempty"`
	By       string        `json:"by,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	DryRun   bool          `json:"dry_run,omitempty"`
	Began    time.Time     `json:"began"`
	Revision uint64        `json:"revision"` // of the switches when it began
	Times    int           `json:"times"`
	Parallel int           `json:"parallel"`
	Retries  int           `json:"retries"`
	Batch    int           `json:"batch,omitempty"`
	Every    time.Duration `json:"every"`
	Watch    time.Duration `json:"watch,omitempty"`
}

// newSpec checks a request and fills it in from the store check.
func newSpec(q *Request, c *config.StoreCheckPolicy) (spec, error) {
	now := time.Now()
	s := spec{
		ID:   now.UTC().Format("20060102-150405-") + strings.ToLower(rand.Text()[:4]),
		Zone: q.Zone, By: q.By, Reason: q.Reason, DryRun: q.DryRun, Began: now.UTC().Truncate(time.Millisecond),
		Times: *cmp.Or(q.Times, &c.Times), Parallel: *cmp.Or(q.Parallel, &c.Parallel), Retries: *cmp.Or(q.Retries, &c.Retries),
		Batch: *cmp.Or(q.Batch, &c.Batch), Every: *cmp.Or(q.Every, &c.Every), Watch: *cmp.Or(q.Watch, &c.Watch),
	}
	switch {
	case s.Times < 1 || s.Times > config.MaxCheckTimes:
		return s, refuse(ErrInvalid, "times is %d: it must be from 1 to %d", s.Times, config.MaxCheckTimes)
	case s.Parallel < 1 || s.Parallel > config.MaxCheckParallel:
		return s, refuse(ErrInvalid, "parallel is %d: it must be from 1 to %d", s.Parallel, config.MaxCheckParallel)
	case s.Batch < 0 || s.Retries < 0 || s.Every < 0 || s.Watch < 0:
		return s, refuse(ErrInvalid, "batch, retries, every and watch must not be negative")
	case s.Batch == 0 && q.Watch != nil && *q.Watch > 0:
		return s, refuse(ErrInvalid, "watch is how long a batch is watched before the next: give batch too")
	case len(s.By) > maxText || len(s.Reason) > maxText:
		return s, refuse(ErrInvalid, "by and reason must not be longer than %d bytes", maxText)
	}
	if s.Batch == 0 {
		s.Watch = 0
	}
	return s, nil
}

// placed is a store and where it lives.
type placed struct{ store, zone string }

// targets finds the stores that a request is about: those in maintenance, or
// all of them if it only asks how they are.
func (w *Deps) targets(q *Request) ([]placed, error) {
	var all []placed
	switch {
	case (q.Zone == "") == (len(q.Stores) == 0):
		return nil, refuse(ErrInvalid, `it must name either a "zone" or "stores"`)
	case q.Zone != "":
		lister, ok := w.Directory.(routing.Lister)
		if !ok {
			return nil, refuse(ErrInvalid, "the directory cannot list the stores of a zone; name the stores instead")
		}
		all = listZone(lister, q.Zone)
	default:
		var err error
		if all, err = w.place(q.Stores); err != nil {
			return nil, err
		}
	}
	if len(all) > maxStores {
		return nil, refuse(ErrInvalid, "%d stores; a recovery takes at most %d: name fewer", len(all), maxStores)
	}
	if q.DryRun {
		return all, nil
	}
	if w.Board.View().Stale {
		return nil, refuse(ErrUnavailable, "%s", staleWords)
	}
	stores := len(all)
	all = slices.DeleteFunc(all, func(p placed) bool { return w.Board.Lookup(p.zone, p.store) == nil })
	if len(all) == 0 {
		return nil, refuse(ErrConflict, "nothing to recover: none of %s is in maintenance", plural(stores, "store"))
	}
	return all, nil
}

// listZone lists a zone's stores. Names are copied: those of a directory may
// share memory with all of its table.
func listZone(lister routing.Lister, zone string) (all []placed) {
	zone = strings.Clone(zone)
	lister.EachStore(zone, func(store string) bool {
		all = append(all, placed{strings.Clone(store), zone})
		return len(all) <= maxStores
	})
	return all
}

// placeLimit bounds how long a directory is asked where stores live; after it
// only what it knows already counts.
const placeLimit = 5 * time.Second

// place finds out where stores live.
func (w *Deps) place(names []string) (all []placed, err error) {
	zones, seen := make(map[string]string), make(map[string]bool)
	ctx, cancel := context.WithTimeout(context.Background(), placeLimit)
	defer cancel()
	lookup := w.Directory.Lookup
	if asker, ok := w.Directory.(routing.Asker); ok {
		lookup = func(name string) (routing.Route, bool) { return asker.Ask(ctx, name) }
	}
	var unknown []string
	for _, name := range names {
		route, ok := lookup(name)
		if !ok {
			unknown = append(unknown, name)
			continue
		}
		if zones[route.Zone] == "" {
			zone := strings.Clone(route.Zone)
			zones[zone] = zone
		}
		if p := (placed{strings.Clone(route.Store), zones[route.Zone]}); !seen[p.store] {
			seen[p.store] = true
			all = append(all, p)
		}
	}
	if n := len(unknown); n > 0 {
		return nil, refuse(ErrNotFound, "nothing was begun: %s in the directory: %q", plural(n, "name")+" not known", unknown[:min(n, 10)])
	}
	return all, nil
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

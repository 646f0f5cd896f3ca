package admin

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/routing"
)

// picture is what dashboards are shown at one moment. All of them share it.
type picture struct {
	at    time.Time
	step  int64 // of the history
	pool  poolView
	tiles []tile // the most troubled first

	servers []serverTile // those in trouble first; empty if there is only one
}

// poolView is the whole in few numbers.
type poolView struct {
	Instance     string            `json:"instance"`
	Workers      int               `json:"workers"`
	Live         int               `json:"live"`
	Hung         int               `json:"hung"`
	Waiting      int               `json:"waiting"`
	Suspect      string            `json:"suspect,omitempty"` // why verdicts are held back
	Bugs         uint64            `json:"bugs,omitempty"`
	Zones        int               `json:"zones"`
	States       map[string]int    `json:"states"` // zones by state
	Maintained   int               `json:"maintained"`
	Quarantined  int               `json:"quarantined"`
	Stores       int               `json:"stores,omitempty"`
	Rate         float64           `json:"rate"`                       // requests a second
	Conditions   map[condition]int `json:"conditions"`                 // zones by condition
	Servers      int               `json:"servers,omitempty"`          // 0 if there is only one
	ServersOut   int               `json:"servers_out,omitempty"`      // of them, those out of service or away
	ServersDrain int               `json:"servers_draining,omitempty"` // of them, those that are drained
	OK           *float64          `json:"ok,omitempty"`               // percent of them; absent: no requests
	Revision     uint64            `json:"revision"`
	SwitchesOn   int               `json:"switches_on"`
	SwitchesTo   int               `json:"switches_ahead"`
	StateProblem string            `json:"state_problem,omitempty"`
	Everything   *tileSwitch       `json:"everything,omitempty"` // the switch of all
	Warnings     []string          `json:"warnings,omitempty"`   // what is set wrong, or cannot be checked
	latency
}

// tile is one zone in few numbers. Times are in milliseconds since 1970.
type tile struct {
	Zone        string        `json:"zone"`
	State       breaker.State `json:"state"`
	Condition   condition     `json:"condition"`
	Observe     bool          `json:"observe,omitempty"`
	Since       int64         `json:"since,omitempty"`
	Episode     int64         `json:"episode,omitempty"`
	RetryAt     int64         `json:"retry_at,omitempty"` // the next probe
	Turn        int           `json:"turn,omitempty"`
	Live        int           `json:"live"`
	Hung        int           `json:"hung"`
	Limit       int           `json:"limit"`
	Waiting     int           `json:"waiting,omitempty"`
	Window      int           `json:"window,omitempty"`
	Bad         int           `json:"stores_bad,omitempty"`
	Seen        int           `json:"stores_seen,omitempty"`
	Quarantined int           `json:"quarantined,omitempty"`
	Stores      []string      `json:"stores,omitempty"` // in quarantine, the first few
	Culprit     string        `json:"culprit,omitempty"`
	Evidence    string        `json:"evidence,omitempty"`
	Cause       string        `json:"cause,omitempty"` // why the episode began
	Hold        *tileHold     `json:"hold,omitempty"`
	Switch      *tileSwitch   `json:"switch,omitempty"`
	Rate        float64       `json:"rate"`
	OK          *float64      `json:"ok,omitempty"`
	latency
}

type tileHold struct {
	As     string `json:"as"` // "isolated" or "admitted"
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	Until  int64  `json:"until,omitempty"`
}

type tileSwitch struct {
	Scope  maintenance.Scope `json:"scope"`
	Mode   maintenance.Mode  `json:"mode"`
	By     string            `json:"by,omitempty"`
	Reason string            `json:"reason,omitempty"`
	Since  int64             `json:"since,omitempty"`
	Until  int64             `json:"until,omitempty"`
}

const (
	// tileStores is how many stores a tile names.
	tileStores = 3

	// tileText is how long a text on a tile may be, in bytes.
	tileText = 240
)

// picture is the latest picture, or a new one if that is older than age.
func (a *API) picture(age time.Duration) *picture {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.latest; p != nil && time.Since(p.at) < age {
		return p
	}
	a.latest = a.newPicture()
	return a.latest
}

func (a *API) newPicture() *picture {
	status := a.Guard.Status()
	a.latencies.look(a.Guard, time.Now())
	p := &picture{at: time.Now(), tiles: make([]tile, 0, len(status.Zones))}
	p.pool = poolView{
		Instance: a.Instance, Workers: status.Workers, Live: status.Live, Hung: status.Hung, Waiting: status.Waiting,
		Suspect: status.PoolSuspectText, Warnings: a.warnings(), Bugs: status.InternalErrors,
		Zones: len(status.Zones), States: make(map[string]int, 4), Conditions: make(map[condition]int, 4),
	}
	for i := range status.Zones {
		z := a.tile(&status.Zones[i])
		p.pool.States[z.State.String()]++
		p.pool.Conditions[z.Condition]++
		p.pool.Quarantined += z.Quarantined
		if z.Switch != nil {
			p.pool.Maintained++
		}
		p.tiles = append(p.tiles, z)
	}
	slices.SortFunc(p.tiles, func(a, b tile) int {
		return cmp.Or(-cmp.Compare(a.Condition.rank(), b.Condition.rank()), cmp.Compare(a.Episode, b.Episode), compareNames(a.Zone, b.Zone))
	})
	p.pool.latency = a.latencies.lately[""]
	points, _, step := a.History.Everything()
	p.step = step
	if n := len(points); n > 0 {
		p.pool.Rate, p.pool.OK = points[n-1].Shares()
	}
	p.addSwitches(a)
	p.addServers(a, status.Servers)
	if lister, ok := a.Directory.(routing.Lister); ok {
		p.pool.Stores = lister.Len()
	}
	return p
}

func (p *picture) addSwitches(a *API) {
	summary := a.maintenanceSummary()
	p.pool.Revision, p.pool.SwitchesOn, p.pool.SwitchesTo = summary.Revision, summary.InForce, summary.Ahead
	switch {
	case summary.Stale:
		p.pool.StateProblem = cmp.Or(summary.Problem, "the state backend cannot be read")
	case summary.Corrupt > 0:
		p.pool.StateProblem = "the state backend holds records that cannot be read"
	}
	if sw := a.Board.Lookup("", ""); sw != nil {
		p.pool.Everything = newTileSwitch(sw)
	}
}

// tile makes the tile of a zone. Its numbers are coarse, so that what hardly
// changes is not sent again.
func (a *API) tile(z *breaker.ZoneStatus) tile {
	t := tile{
		Zone: z.Zone, State: z.State, Observe: z.Observe,
		Since: milliseconds(z.Since), Episode: milliseconds(z.EpisodeSince), RetryAt: milliseconds(z.OpenUntil), Turn: z.Turn,
		Live: z.Live, Hung: z.Hung, Limit: z.MaxInflight, Waiting: z.Waiting, Window: z.Window,
		Quarantined: z.QuarantinedCount, Stores: z.Quarantined[:min(len(z.Quarantined), tileStores)],
		Evidence: shorten.To(z.Evidence, tileText),
	}
	if cause := z.Cause; cause != z.Evidence { // else it is sent once
		t.Cause = shorten.To(cause, tileText)
	}
	if z.State != breaker.Calm {
		t.Bad, t.Seen = z.StoresBad, z.StoresSeen
	}
	if len(z.Culprits) > 0 && z.Culprits[0].State != breaker.Calm {
		t.Culprit = z.Culprits[0].Store
	}
	if h := z.Hold; h != nil {
		t.Hold = &tileHold{As: h.Word(), By: shorten.To(h.By, tileText), Reason: shorten.To(h.Reason, tileText), Until: milliseconds(h.Until)}
	}
	sw := a.Board.Lookup(z.Zone, "")
	if sw != nil {
		t.Switch = newTileSwitch(sw)
	}
	t.Condition = conditionOf(z, sw)
	t.latency = a.latencies.lately[z.Zone]
	latest := a.History.Latest(z.Zone)
	t.Rate, t.OK = latest.Shares()
	return t
}

// compareNames puts z2 before z10.
func compareNames(a, b string) int {
	x, y := strings.TrimRight(a, digits), strings.TrimRight(b, digits)
	if x != y {
		return strings.Compare(a, b)
	}
	m, n := strings.TrimLeft(a[len(x):], "0"), strings.TrimLeft(b[len(y):], "0")
	return cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n), strings.Compare(a, b))
}

const digits = "0123456789"

func newTileSwitch(sw *maintenance.Switch) *tileSwitch {
	return &tileSwitch{
		Scope: sw.Scope, Mode: sw.Mode, By: shorten.To(sw.By, tileText), Reason: shorten.To(sw.Reason, tileText),
		Since: milliseconds(sw.Since), Until: milliseconds(sw.Until),
	}
}

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

package replay

import (
	"cmp"
	"slices"
	"time"
)

// Report says what a policy would have done.
type Report struct {
	Total      ZoneReport   `json:"total"`
	Zones      []ZoneReport `json:"zones"` // the most troubled first
	Suspicions []Suspicion  `json:"suspicions"`
}

// Suspicion is a time in which no zone was taken for the cause.
type Suspicion struct {
	At       time.Time `json:"at"`
	Until    time.Time `json:"until,omitzero"`
	Evidence string    `json:"evidence"`
}

// ZoneReport is what would have happened in a zone.
type ZoneReport struct {
	Zone   string `json:"zone"`
	Log    Tally  `json:"log"`    // how its requests ended in the log
	Replay Tally  `json:"replay"` // and in the replay

	Refused     map[string]int `json:"refused"` // by reason
	Episodes    int            `json:"episodes"`
	Openings    []Opening      `json:"openings"`
	Quarantines []Quarantine   `json:"quarantines"`

	// IsolatedAfter is how many seconds after the beginning of the first
	// request that failed or was not answered by slow_after the zone opened, or
	// its first store was put into quarantine. Nil: never.
	IsolatedAfter *float64 `json:"isolated_after"`

	// WorstBusy is how many workers were busy for it at worst.
	WorstBusy int `json:"worst_busy"`
	// LogWorstBusy is the same in the log.
	LogWorstBusy int `json:"log_worst_busy"`
}

func (z *ZoneReport) isolated(after float64) {
	if z.IsolatedAfter == nil {
		z.IsolatedAfter = &after
	}
}

// Opening is an open state of a zone, with all its turns.
type Opening struct {
	At       time.Time `json:"at"`
	Until    time.Time `json:"until,omitzero"`
	Turns    int       `json:"turns"`
	After    float64   `json:"after"` // seconds since the first request that failed or was late began
	Evidence string    `json:"evidence"`
}

// Quarantine is an open state of a store, with all its turns.
type Quarantine struct {
	Store    string    `json:"store"`
	At       time.Time `json:"at"`
	Until    time.Time `json:"until,omitzero"`
	After    float64   `json:"after"`
	Evidence string    `json:"evidence"`
}

// Tally is how requests ended.
type Tally struct {
	Requests int `json:"requests"`
	OK       int `json:"ok"`
	Slow     int `json:"slow"`   // answered, but after slow_after
	Failed   int `json:"failed"` // with a fail_status, or no connection
	Hung     int `json:"hung"`   // no answer by the timeout
	Left     int `json:"left"`   // the client left

	// Refused by firebreak in the log, where what would have come of it is not
	// known.
	Refused int `json:"refused,omitempty"`
	// RefusedInnocent would have been answered well.
	RefusedInnocent int `json:"refused_innocent"`
	// RefusedBad would have hung or failed.
	RefusedBad int `json:"refused_bad"`
}

type ending uint8

const (
	endOK ending = iota
	endSlow
	endFailed
	endHung
	endLeft
	endRefused
)

func (t *Tally) add(e ending) {
	t.Requests++
	switch e {
	case endOK:
		t.OK++
	case endSlow:
		t.Slow++
	case endFailed:
		t.Failed++
	case endHung:
		t.Hung++
	case endLeft:
		t.Left++
	case endRefused:
		t.Refused++
	}
}

func (t *Tally) merge(o *Tally) {
	t.Requests += o.Requests
	t.OK += o.OK
	t.Slow += o.Slow
	t.Failed += o.Failed
	t.Hung += o.Hung
	t.Left += o.Left
	t.Refused += o.Refused
	t.RefusedInnocent += o.RefusedInnocent
	t.RefusedBad += o.RefusedBad
}

// Good is the requests that were answered well, slowly or not.
func (t *Tally) Good() int { return t.OK + t.Slow }

// report puts together what happened.
func (r *run) report() *Report {
	report := &Report{Suspicions: r.suspects, Total: ZoneReport{Refused: make(map[string]int)}}
	total := &report.Total
	for _, z := range r.zones {
		z.report.WorstBusy = r.world.Worst(z.name)
		report.Zones = append(report.Zones, z.report)
		total.Log.merge(&z.report.Log)
		total.Replay.merge(&z.report.Replay)
		total.Episodes += z.report.Episodes
		for reason, n := range z.report.Refused {
			total.Refused[reason] += n
		}
	}
	total.WorstBusy = r.world.Worst("")
	slices.SortFunc(report.Zones, func(a, b ZoneReport) int {
		return cmp.Or(-cmp.Compare(len(a.Openings), len(b.Openings)), -cmp.Compare(len(a.Quarantines), len(b.Quarantines)),
			-cmp.Compare(a.Replay.RefusedInnocent+a.Replay.RefusedBad, b.Replay.RefusedInnocent+b.Replay.RefusedBad),
			-cmp.Compare(a.WorstBusy, b.WorstBusy), cmp.Compare(a.Zone, b.Zone))
	})
	for i := range report.Zones {
		z := &report.Zones[i]
		total.Openings = append(total.Openings, z.Openings...)
		total.Quarantines = append(total.Quarantines, z.Quarantines...)
		if z.IsolatedAfter != nil {
			total.isolated(max(*z.IsolatedAfter, 0))
		}
	}
	return report
}

// InLog enters what Infer found out about the log's own workers.
func (r *Report) InLog(found Inferred) {
	r.Total.LogWorstBusy = found.WorstBusy
	for i := range r.Zones {
		r.Zones[i].LogWorstBusy = found.ZoneWorst[r.Zones[i].Zone]
	}
}

//go:build e2e

package e2e_test

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
	"github.com/firebreak-proxy/firebreak/incidents"
)

// incidentsOf asks for the incidents of a zone.
func (p *proxy) incidentsOf(t *testing.T, zone string) []incidents.Incident {
	t.Helper()
	var page struct{ Incidents []incidents.Incident }
	p.get(t, "/firebreak/incidents?zone="+zone, &page)
	return page.Incidents
}

// TestIncident: one zone freezes and heals, and every figure of its incident is
// checked against what the clients and the workers counted themselves.
func TestIncident(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, ""))
	warm(t, p, "/search")
	sick := world.databases[3]
	const calm, freeze, heal = 2 * time.Second, 8 * time.Second, 5 * time.Second
	start := time.Now()
	tr := drive(t, everyday(p, "/search", calm+freeze+heal))
	tr.sleepUntil(calm)
	sick.freeze()
	tr.sleepUntil(calm + freeze)
	sick.heal()
	rs := inZone(tr.wait(t), sick.zone)
	eventually(t, 20*time.Second, "the incident is over", func() bool {
		list := p.incidentsOf(t, sick.zone)
		return len(list) == 1 && !list[0].Ongoing
	})
	samples := pool.busy.between(start, time.Now())
	id := p.incidentsOf(t, sick.zone)[0].ID
	var i incidents.Incident
	p.get(t, "/firebreak/incidents/"+id, &i)

	checkCounts(t, i, load.Filter(rs, func(r load.Result) bool { return tr.start.Add(r.At).After(i.Began.Add(-100 * time.Millisecond)) }))
	checkMoments(t, i, rs, tr.start)
	seen := worst(samples, sick.zone)
	figure(t, "workers occupied by the zone at worst: %d says the incident, %d say the workers, every 20 ms", i.WorstOccupied, seen)
	promise(t, i.WorstOccupied == seen, i.WorstOccupied >= seen && i.WorstOccupied <= frozenLater,
		"the incident says %d workers at worst, the workers say %d", i.WorstOccupied, seen)
	if i.Openings == 0 || i.StoresDark > 0 && len(i.Stores) == 0 || i.Interrupted != "" {
		t.Errorf("%+v", i)
	}
	page := string(p.page(t, "/firebreak/incidents/"+id+"?format=markdown"))
	t.Logf("the draft of the postmortem:\n%s", page)
	listed, code := p.command(t, "incidents")
	if t.Logf("on the command line:\n%s", listed); code != 0 || !strings.Contains(listed, id) {
		t.Errorf("exit code %d", code)
	}
	checkPages(t, p, i, page)
	for _, other := range world.databases {
		if other != sick && len(p.incidentsOf(t, other.zone)) > 0 {
			promise(t, false, true, "%s, which was well, has an incident: %+v", other.zone, p.incidentsOf(t, other.zone)[0])
		}
	}

	// It survives a crash, which may lose the last second.
	time.Sleep(2 * time.Second)
	killGroup(p.cmd)
	p.start(t)
	p.listening(t)
	var after incidents.Incident
	p.get(t, "/firebreak/incidents/"+id, &after)
	if diff := cmp.Diff(i, after); diff != "" {
		t.Errorf("after kill -9, -before +after:\n%s", diff)
	}
}

// checkCounts compares the incident's counts with those of the clients.
func checkCounts(t *testing.T, i incidents.Incident, rs []load.Result) {
	t.Helper()
	refused := map[string]uint64{}
	var hung, failed uint64
	for _, r := range rs {
		switch {
		case r.Refusal == "hung":
			hung++
		case r.Refusal != "":
			refused[r.Refusal]++
		case !r.OK():
			failed++
		}
	}
	figure(t, "of %d requests to the zone: refused %v, hung %d, failed %d, say the clients; refused %v, hung %d, failed %d, says the incident",
		len(rs), refused, hung, failed, i.Refused, i.Hung, i.Failed)
	same := func(what string, says, saw uint64) {
		promise(t, says == saw, max(says, saw)-min(says, saw) <= 3+saw/10, "%s: %d, says the incident, and the clients saw %d", what, says, saw)
	}
	for reason, n := range refused {
		same("refused "+reason, i.Refused[reason], n)
	}
	for reason, n := range i.Refused {
		same("refused "+reason, n, refused[reason])
	}
	same("hung", i.Hung, hung)
	same("failed", i.Failed+i.LeftLate, failed)
	same("saved", i.Saved, refused["zone_open"]+refused["quarantine"])
}

// checkMoments compares when things happened with when clients noticed.
func checkMoments(t *testing.T, i incidents.Incident, rs []load.Result, start time.Time) {
	t.Helper()
	firstBad := lastBad(rs)
	firstOpen, lastOpen := time.Hour, time.Duration(0) // when they were answered: some waited while the zone was in doubt
	for _, r := range rs {
		if !r.OK() {
			firstBad = min(firstBad, r.At)
		}
		if r.Refusal == "zone_open" {
			firstOpen, lastOpen = min(firstOpen, r.At+r.Latency), max(lastOpen, r.At+r.Latency)
		}
	}
	began, opened := i.Began.Sub(start), i.Opened.Sub(start)
	dark := time.Duration(i.DarkMinutes * float64(time.Minute))
	figure(t, "began at %.2f s (the first request that went wrong was due at %.2f s), open from %.2f s (the first was refused for it at %.2f s): isolated after %.2f s",
		began.Seconds(), firstBad.Seconds(), opened.Seconds(), firstOpen.Seconds(), i.Opened.Sub(i.Began).Seconds())
	figure(t, "%.2f s in the dark (%.2f s from the first to the last request refused for it)", dark.Seconds(), (lastOpen - firstOpen).Seconds())
	within := func(what string, got, want, by time.Duration) {
		promise(t, (got-want).Abs() <= by, (got-want).Abs() <= 5*by, "%s: %s, want %s", what, got, want)
	}
	within("began", began, firstBad, 100*time.Millisecond)
	within("opened", opened, firstOpen, 300*time.Millisecond)
	within("dark", dark, lastOpen-firstOpen, 500*time.Millisecond)
	promise(t, i.Opened.Sub(i.Began) <= slowAfter+300*time.Millisecond, i.Opened.Sub(i.Began) <= 2*slowAfter, "isolated after %s", i.Opened.Sub(i.Began))
}

// checkPages wants the figures in the pages that people read, too.
func checkPages(t *testing.T, p *proxy, i incidents.Incident, page string) {
	t.Helper()
	for _, want := range []string{
		"# Zone " + i.Zone, fmt.Sprintf("| workers occupied at worst | %d |", i.WorstOccupied),
		fmt.Sprintf("| requests refused: zone open | %d |", i.Refused["zone_open"]),
		fmt.Sprintf("| requests that hung and were answered at their deadline | %d |", i.Hung),
		"zone cut off for ", "zone closed, its requests are let in again", "zone is calm again",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(string(p.page(t, "/firebreak/incidents/"+i.ID+"?format=csv")))).ReadAll()
	if err != nil || len(rows) != 2+len(i.Stores) || rows[1][0] != "*" || rows[1][1] != fmt.Sprintf("%.2f", i.DarkMinutes) {
		t.Errorf("the table of credits: %v %q", err, rows)
	}
}

package incidents

import (
	"fmt"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// An incident of a server lasts from the first request that it did not answer until
// it has been in service again for serverCalm looks: one that goes in and out is one
// incident.
const serverCalm = 10

// worthOut is for how long a server must be out of service for that to be kept if no
// request was lost.
const worthOut = 30 * time.Second

// whatLeft is the entry of a server that is no longer among the upstreams.
const whatLeft = "server_left"

// Key names the zone, or the server, that an incident is about. No zone has the name of a
// server's.
func (i *Incident) Key() string {
	if i.Server != "" {
		return serverKey(i.Server)
	}
	return i.Zone
}

const serverPrefix = "server "

func serverKey(address string) string { return serverPrefix + address }

// OfKey is an incident of which no more is known than its key.
func OfKey(key string) Incident {
	if server, ok := strings.CutPrefix(key, serverPrefix); ok {
		return Incident{Server: server}
	}
	return Incident{Zone: key}
}

// tellServer takes in that a server goes out of service, or comes back.
func (l *Log) tellServer(e *breaker.Event) {
	l.looking.Lock()
	defer l.looking.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	i, at := l.ongoing[serverKey(e.Server)], e.At.UTC()
	switch {
	case e.Kind == breaker.EventServerOut:
		if i == nil {
			i = l.beginServer(e, at)
		}
		i.Openings++
		i.Recovered, i.Books.calmFor = time.Time{}, 0
		i.note(at, e.Kind, "", "server is out of service, no further request is sent to it: "+e.Evidence)
	case e.Kind == breaker.EventServerBack && i != nil:
		i.Recovered = at
		i.lose(e.Lost)
		i.note(at, e.Kind, "", "server is in service again: "+e.Evidence)
	default:
		return
	}
	if at.After(i.AsOf) {
		i.AsOf = at
	}
	l.touch(i)
}

func (l *Log) beginServer(e *breaker.Event, at time.Time) *Incident {
	began := at
	if !e.First.IsZero() && e.First.Before(at) {
		began = e.First.UTC()
	}
	i := l.newIncident("", e.Server, began, e.Evidence)
	i.Opened, i.Opening, i.Books.Lost = at, shorten(e.Evidence), e.Lost
	if began.Before(at) {
		i.note(began, whatFirst, "", "the first of the requests without an answer is sent there")
	}
	return i
}

// lose takes in how many requests the server has lost since the process began.
func (i *Incident) lose(now uint64) { i.Lost = max(i.Lost, since(now, i.Books.Lost)) }

// lookAtServers brings the figures of servers' incidents up to date, and ends those
// that are over. Callers hold looking.
func (l *Log) lookAtServers() {
	ongoing := l.ongoingOf(true)
	if len(ongoing) == 0 || l.source.Servers == nil {
		return
	}
	all := make(map[string]*breaker.ServerStatus)
	list := l.source.Servers()
	for n := range list {
		all[serverKey(list[n].Address)] = &list[n]
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range ongoing {
		if i := l.ongoing[key]; i != nil {
			l.lookAtServer(i, all[key], now)
		}
	}
}

func (l *Log) lookAtServer(i *Incident, s *breaker.ServerStatus, now time.Time) {
	i.AsOf = now
	switch {
	case s == nil:
		i.note(now, whatLeft, "", "server is no longer among the upstreams")
		l.end(i, now)
		return
	case s.State == breaker.OutOfService || s.State == breaker.Away:
		i.Books.calmFor = 0
		i.Books.Silent = i.Books.Silent || s.State == breaker.OutOfService
	default:
		i.Books.calmFor++
	}
	i.lose(s.Lost)
	i.WorstOccupied = max(i.WorstOccupied, s.Hung)
	if i.Books.calmFor < serverCalm {
		return
	}
	if i.Recovered.IsZero() { // the event was lost
		i.Recovered = now
	}
	l.end(i, i.Recovered)
	l.touch(i)
}

// silentFor is how long a server does not answer before that is worth telling people. One
// that cannot be dialled may be restarted by them: then it is worthOut.
const silentFor = 5 * time.Second

// serverGrave is how grave it is that the server is out of service.
func (i *Incident) serverGrave(now time.Time) int {
	enough := worthOut
	if i.Books.Silent {
		enough = silentFor
	}
	if i.Openings == 0 || !i.Recovered.IsZero() || now.Sub(i.Opened) < enough {
		return 0
	}
	return GraveZone
}

// serverLead is the whole story of a server's incident in a few sentences.
func (i *Incident) serverLead() string {
	was := fmt.Sprintf("Since %s server %s has been out of service", i.clock(i.Began), inert(i.Server))
	if end := latest(i.Recovered, i.Ended); !end.IsZero() {
		was = fmt.Sprintf("From %s to %s (%s) server %s was out of service", i.clock(i.Began), i.clock(end), lasted(end.Sub(i.Began)), inert(i.Server))
	}
	text := fmt.Sprintf("%s: %s. %s.", was, inert(i.Evidence), upper(i.lostInWords()))
	if i.WorstOccupied > 0 {
		text += fmt.Sprintf(" At worst %s hung on it.", counted(i.WorstOccupied, "worker"))
	}
	if i.Openings > 1 {
		text += fmt.Sprintf(" It went out of service %d times.", i.Openings)
	}
	if i.Interrupted != "" {
		text += " " + upper(inert(i.Interrupted)) + "."
	}
	return text
}

func latest(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

// lostInWords is how many requests the server has lost.
func (i *Incident) lostInWords() string {
	switch i.Lost {
	case 0:
		return "no request was lost"
	case 1:
		return "1 request was lost"
	}
	return fmt.Sprintf("%d requests were lost", i.Lost)
}

// serverMarkdown is the draft of a postmortem of a server's incident.
func (i *Incident) serverMarkdown() string {
	var p page
	p.line("# Server %s, %s", inert(i.Server), i.Began.UTC().Format("2 January 2006"))
	p.line("")
	p.line("%s", i.serverLead())
	p.line("")
	p.line("## Timeline (UTC)")
	p.line("")
	i.writeTimeline(&p)
	p.line("## Impact")
	p.line("")
	p.line("| what | figure |")
	p.line("|---|---|")
	p.line("| from the first request without an answer to out of service | %s |", lasted(i.Opened.Sub(i.Began)))
	p.line("| requests lost: sent there, and not answered | %d |", i.Lost)
	p.line("| workers that hung on it at worst | %d |", i.WorstOccupied)
	p.line("| times that it went out of service | %d |", i.Openings)
	p.line("")
	i.writeQuestions(&p)
	return p.String()
}

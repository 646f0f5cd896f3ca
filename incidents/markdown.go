package incidents

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Markdown is a draft of a postmortem: what firebreak knows, and what people
// have to add. Nothing in it that came from outside can be more than text.
func (i *Incident) Markdown() string {
	if i.Server != "" {
		return i.serverMarkdown()
	}
	var p page
	p.line("# Zone %s, %s", inert(i.Zone), i.Began.UTC().Format("2 January 2006"))
	p.line("")
	p.line("%s", i.lead())
	p.line("")
	p.line("## Timeline (UTC)")
	p.line("")
	i.writeTimeline(&p)
	p.line("## Impact")
	p.line("")
	i.writeImpact(&p)
	p.line("## Culprits")
	p.line("")
	i.writeCulprits(&p)
	i.writeStores(&p)
	i.writeFleet(&p)
	i.writeQuestions(&p)
	return p.String()
}

// writeFleet writes what all sidecars saw, and each.
func (i *Incident) writeFleet(p *page) {
	if i.Episode == nil || i.Episode.Sum == nil {
		return
	}
	p.line("## All sidecars")
	p.line("")
	p.line("Everything above is of one sidecar. This is of the %s that had a part in the episode %s:", counted(len(i.Episode.Sidecars), "sidecar"), inert(i.Episode.ID))
	p.line("")
	p.line("| sidecar | began | cut off after | over after | workers at worst | hung | failed | refused |")
	p.line("|---|---|---|---|---|---|---|---|")
	after := func(s *Part, t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return lasted(t.Sub(s.Began))
	}
	row := func(name string, s *Part) {
		p.line("| %s | %s | %s | %s | %d | %d | %d | %d |", name, i.clock(s.Began), after(s, s.Opened), after(s, s.Ended), s.WorstOccupied, s.Hung, s.Failed, s.Refused)
	}
	row("all", i.Episode.Sum)
	for n := range i.Episode.Sidecars {
		row(inert(i.Episode.Sidecars[n].Sidecar), &i.Episode.Sidecars[n])
	}
	p.line("")
}

// writeQuestions ends a page: what people have to add, and which record it is of.
func (i *Incident) writeQuestions(p *page) {
	p.line("## To be filled in")
	p.line("")
	for _, question := range []string{
		"What was the cause?", "Who noticed, how and when?",
		"What was done by hand, and could it have been done sooner, or automatically?", "What will keep it from happening again?",
	} {
		p.line("- %s", question)
	}
	p.line("")
	p.line("Record %s of firebreak, as of %s.", inert(i.ID), i.AsOf.UTC().Format("2006-01-02 15:04:05"))
}

// page is a text that is being written.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// lead is the whole story in a few sentences.
func (i *Incident) lead() string {
	said := []string{fmt.Sprintf("At %s requests began to go wrong: %s.", i.clock(i.Began), inert(i.Evidence))}
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	if i.Follows != "" {
		add("It goes on from %s, which broke off.", inert(i.Follows))
	}
	switch {
	case i.Observe:
		add("The zone was in mode observe: nothing was refused.")
	case !i.Opened.IsZero():
		add("After %s the zone was cut off.", lasted(i.Opened.Sub(i.Began)))
	case i.DarkMinutes == 0:
		add("The zone as a whole went on.")
	}
	if i.WorstOccupied > 0 {
		add("At worst it occupied %s.", counted(i.WorstOccupied, "worker"))
	}
	if !i.Recovered.IsZero() {
		add("After %s everybody was let in again.", lasted(i.Recovered.Sub(i.Began)))
	}
	switch {
	case i.Interrupted != "":
		add("%s.", upper(inert(i.Interrupted)))
	case i.Ongoing:
		add("It is still going on, for %s so far.", lasted(i.AsOf.Sub(i.Began)))
	default:
		add("After %s all was calm.", lasted(i.Ended.Sub(i.Began)))
	}
	return strings.Join(said, " ")
}

func (i *Incident) writeTimeline(p *page) {
	p.line("| time | after | what happened |")
	p.line("|---|---|---|")
	for n, e := range i.Timeline {
		if n == maxTimeline/2 && i.TimelineLeftOut > 0 {
			p.line("| | | and %d more that were not kept |", i.TimelineLeftOut)
		}
		text := inert(e.Text)
		if e.Times > 1 {
			text += fmt.Sprintf(" (%d times until %s)", e.Times, i.clock(e.Last))
		}
		p.line("| %s | %s | %s |", i.clock(e.At), lasted(e.At.Sub(i.Began)), text)
	}
	p.line("")
}

func (i *Incident) writeImpact(p *page) {
	p.line("| what | figure |")
	p.line("|---|---|")
	if !i.Opened.IsZero() {
		p.line("| from the first request that went wrong to isolation | %s |", lasted(i.Opened.Sub(i.Began)))
	}
	p.line("| workers occupied at worst | %d |", i.WorstOccupied)
	p.line("| requests that hung and were answered at their deadline | %d |", i.Hung)
	if i.LeftLate > 0 {
		p.line("| requests whose client had left by then | %d |", i.LeftLate)
	}
	p.line("| requests that failed | %d |", i.Failed)
	for _, reason := range slices.Sorted(maps.Keys(i.Refused)) {
		p.line("| requests refused: %s | %d |", inert(refusalWords(reason)), i.Refused[reason])
	}
	if i.Cancelled > 0 {
		p.line("| of the hung, freed by cancelling their query in the database | %d |", i.Cancelled)
	}
	if i.FromMemory > 0 {
		p.line("| of the refused and hung, answered from memory | %d |", i.FromMemory)
	}
	if i.WouldRefuse > 0 {
		p.line("| requests that mode enforce would have refused | %d |", i.WouldRefuse)
	}
	p.line("| of the refused, kept from a worker by an open breaker | %d |", i.Saved)
	p.line("| openings of the zone | %d |", i.Openings)
	p.line("| minutes in the dark, for every store of the zone | %s |", inMinutes(i.DarkMinutes))
	p.line("| stores that were in the dark for longer | %d |", i.StoresDark)
	for _, r := range i.Recoveries {
		i.writeRecovery(p, &r)
	}
	p.line("")
}

// writeRecovery writes how many stores a recovery brought back, and until when.
func (i *Incident) writeRecovery(p *page, r *Recovery) {
	until := func(n int, at time.Time) string {
		if n == 0 || at.IsZero() {
			return ""
		}
		return ", until " + i.clock(at)
	}
	share := 0.0
	if r.Total > 0 {
		share = 100 * float64(r.Automatic) / float64(r.Total)
	}
	name := inert(r.ID)
	p.line("| recovery %s: stores brought back automatically | %d of %d (%.1f %%)%s |", name, r.Automatic, r.Total, share, until(r.Automatic, r.AutomaticAt))
	p.line("| recovery %s: of these, repaired first | %d |", name, r.Repaired)
	p.line("| recovery %s: stores brought back by hand | %d%s |", name, r.Manual, until(r.Manual, r.ManualAt))
	p.line("| recovery %s: stores that remain | %d |", name, r.Remaining)
	if r.ProbeFailed > 0 {
		p.line("| recovery %s: stores that failed a store_probe, at no worker's cost | %d |", name, r.ProbeFailed)
	}
}

func refusalWords(reason string) string {
	switch reason {
	case string(breaker.ReasonZoneOpen):
		return "zone open"
	case string(breaker.ReasonBusy):
		return "busy, no slot came free"
	case string(breaker.ReasonGone):
		return "client left while waiting"
	}
	return reason
}

func (i *Incident) writeCulprits(p *page) {
	if len(i.Culprits) == 0 {
		p.line("No store is named: the zone as a whole was sick.")
		p.line("")
		return
	}
	p.line("| store | worker-seconds wasted | failures | evidence |")
	p.line("|---|---|---|---|")
	for _, c := range i.Culprits {
		p.line("| %s | %.1f | %d | %s |", inert(c.Store), c.WorkerSeconds, c.Failures, inert(c.Evidence))
	}
	p.line("")
}

// shownStores is how many stores the page lists; the CSV has all.
const shownStores = 20

func (i *Incident) writeStores(p *page) {
	if len(i.Stores) == 0 {
		return
	}
	p.line("## Minutes in the dark")
	p.line("")
	p.line("| store | minutes |")
	p.line("|---|---|")
	for _, s := range i.Stores[:min(len(i.Stores), shownStores)] {
		p.line("| %s | %s |", inert(s.Store), inMinutes(s.Minutes))
	}
	if more := len(i.Stores) - shownStores; more > 0 {
		p.line("| and %s more, which the CSV lists | |", counted(more, "store"))
	}
	p.line("| every other store of the zone | %s |", inMinutes(i.DarkMinutes))
	if i.StoresLeftOut > 0 {
		p.line("| %s that could not be kept one by one | at least as every other |", counted(i.StoresLeftOut, "entry"))
	}
	p.line("")
}

func inMinutes(m float64) string { return fmt.Sprintf("%.2f", m) }

// clock is the time of day, with the date if it is not the first day's.
func (i *Incident) clock(t time.Time) string {
	t = t.UTC()
	if t.Format(time.DateOnly) == i.Began.UTC().Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

func counted(n int, one string) string {
	switch {
	case n == 1:
		return "1 " + one
	case strings.HasSuffix(one, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(one, "y"))
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func upper(text string) string {
	for _, r := range text {
		return string(unicode.ToUpper(r)) + text[len(string(r)):]
	}
	return text
}

// autolinks are what GitHub's markdown makes a link of by itself.
var autolinks = strings.NewReplacer("://", `\://`, "www.", `www\.`, "WWW.", `WWW\.`, "Www.", `Www\.`, "@", `\@`)

// inert makes a text from outside safe in a line or a cell of markdown.
func inert(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029':
			b.WriteByte(' ')
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			b.WriteRune('\uFFFD')
		case r == '_' && isWord(text):
			b.WriteRune(r) // within a word it means nothing
		case strings.ContainsRune("\\`*_{}[]<>#|!~&$", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return autolinks.Replace(b.String())
}

// isWord reports whether a text is one word of letters, digits and single underscores.
func isWord(text string) bool {
	return len(text) > 2 && text[0] != '_' && text[len(text)-1] != '_' && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

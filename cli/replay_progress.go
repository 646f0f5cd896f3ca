package cli

import (
	"fmt"
	"io"
	"time"
)

// replayBar is a line on a terminal that says how far a long job is. Elsewhere
// it says nothing.
type replayBar struct {
	out   io.Writer // nil: it is not shown
	what  string
	whole int64 // 0: not known
	began time.Time
	shown time.Time
}

func (s *session) replayBar(what string, whole int64) *replayBar {
	p := &replayBar{what: what, whole: whole, began: time.Now()}
	if isTerminal(s.err) {
		p.out = s.err
	}
	return p
}

const progressPause = 200 * time.Millisecond

// show prints the progress.
func (p *replayBar) show(done int64) {
	if p.out == nil || time.Since(p.shown) < progressPause {
		return
	}
	p.shown = time.Now()
	spent := p.shown.Sub(p.began)
	if p.whole == 0 {
		fmt.Fprintf(p.out, "\r\x1b[K%s: %d MB in %s", p.what, done>>20, brief(spent))
		return
	}
	share := min(1, float64(done)/float64(p.whole))
	text := fmt.Sprintf("\r\x1b[K%s: %3.0f %%", p.what, 100*share)
	if share > 0.02 {
		text += fmt.Sprintf(", about %s to go", brief(time.Duration(float64(spent)*(1-share)/share)))
	}
	fmt.Fprint(p.out, text)
}

// end takes the line away.
func (p *replayBar) end() {
	if p.out != nil && !p.shown.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

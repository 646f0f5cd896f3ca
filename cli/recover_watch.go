package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/firebreak-proxy/firebreak/recovery"
)

const (
	// watchEvery is how often a recovery is asked how it goes.
	watchEvery = 500 * time.Millisecond

	// plainEvery is how often that is said where there is no terminal.
	plainEvery = 5 * time.Second

	// watchPatience is how long the server may be away while a recovery is
	// watched: it survives a restart.
	watchPatience = time.Minute

	clearLine = "\r\x1b[K"
)

// watchRecovery shows how a recovery goes until it is no longer running. The
// end, and nothing else with --json, goes to standard output.
func (s *session) watchRecovery(id string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := progress{s: s, live: isTerminal(s.err) && !s.json}
	var answered time.Time
	for {
		v, answer, err := s.recovery(id)
		now := time.Now()
		switch {
		case err == nil:
			answered = now
		case !errors.Is(err, errUnreachable), answered.IsZero(), now.Sub(answered) > watchPatience:
			p.end()
			return err
		default:
			p.away(err)
		}
		if err == nil && v.State != recovery.Running {
			p.end()
			if s.json {
				_, err = s.out.Write(answer)
			} else {
				s.showRecovery(v)
			}
			return errors.Join(err, troubleOf(v))
		}
		if err == nil {
			p.show(v, now)
		}
		select {
		case <-ctx.Done():
			p.end()
			fmt.Fprintf(s.err, "the recovery goes on: %s recover show %s --watch\n", programName(), clean(id))
			return errTrouble
		case <-time.After(watchEvery):
		}
	}
}

// progress draws a bar on a terminal, and writes lines elsewhere.
type progress struct {
	s     *session
	live  bool
	drawn bool
	said  time.Time
}

func (p *progress) show(v *recovery.View, now time.Time) {
	switch {
	case p.live:
		width := 80
		if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && w > 20 {
			width = w
		}
		fmt.Fprint(p.s.err, clearLine+progressBar(v, width-1))
		p.drawn = true
	case !p.s.json && now.Sub(p.said) >= plainEvery:
		fmt.Fprintf(p.s.err, "%s %s, %s\n", now.Format(time.TimeOnly), recoverySums(v), recoveryPace(v))
		p.said = now
	}
}

func (p *progress) away(err error) {
	if p.live {
		fmt.Fprint(p.s.err, clearLine+cut("waiting for the server: "+clean(err.Error()), 79))
		p.drawn = true
	}
}

// end leaves the line of the bar.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.s.err, clearLine)
	}
}

// progressBar is one line: how much of a recovery is done, and how it goes.
func progressBar(v *recovery.View, width int) string {
	text := fmt.Sprintf(" %s, %s", recoverySums(v), recoveryPace(v))
	room := min(40, width-len([]rune(text))-2)
	if room < 5 {
		return string([]rune(text)[:min(len([]rune(text)), width)])
	}
	share := 0.0
	if v.Total > 0 {
		share = float64(v.Total-v.Remaining) / float64(v.Total)
	}
	full := int(math.Round(share * float64(room)))
	return "[" + strings.Repeat("█", full) + strings.Repeat("░", room-full) + "]" + text
}

// recoveryPace says how fast it goes and how long it will take.
func recoveryPace(v *recovery.View) string {
	text := "rate not known yet"
	if v.RatePerSecond > 0 {
		text = fmt.Sprintf("%.3g stores/s, about %s left", v.RatePerSecond, brief(time.Duration(v.ETASeconds)*time.Second))
	}
	if v.Waiting != "" {
		text += "; " + clean(v.Waiting)
	}
	return text
}

package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

var topCommand = &command{
	use: "top", short: "Shows the pool and its zones live, most troubled first, until Ctrl-C", args: cobra.NoArgs,
	long:     "Rates are per second since the last picture. Without a terminal it prints one\npicture and ends.",
	examples: []string{"top", "top --every 5s"},
	flags:    func(f *pflag.FlagSet) { f.Duration("every", time.Second, "How often the picture is renewed") },
	run:      runTop,
}

// Escape sequences: the alternate screen, and from the top to the end of it.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	fromTheTop  = "\x1b[H\x1b[J"
)

func runTop(s *session) error {
	every, _ := s.flags.GetDuration("every")
	if every < 100*time.Millisecond {
		return fmt.Errorf("--every %s: at least 100ms", every)
	}
	if !isTerminal(s.out) || s.json {
		var view statusView
		if goOn, err := s.get("/firebreak/status", &view); !goOn {
			return err
		}
		_, err := s.out.Write(s.picture(&view, nil, 0, 40))
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Fprint(s.out, enterScreen)
	defer fmt.Fprint(s.out, leaveScreen)
	s.refresh(ctx, every)
	return nil
}

// refresh draws until ctx ends. A server that does not answer is shown, not
// fatal: it may come back.
func (s *session) refresh(ctx context.Context, every time.Duration) {
	var before *statusView
	var at time.Time
	for ctx.Err() == nil {
		var view statusView
		now := time.Now()
		if _, err := s.get("/firebreak/status", &view); err != nil {
			fmt.Fprintf(s.out, "%s%s\n%s\n", fromTheTop, s.paint(red, "no picture at "+now.Format(time.TimeOnly)), clean(err.Error()))
		} else {
			_, _ = s.out.Write(append([]byte(fromTheTop), s.picture(&view, before, now.Sub(at), terminalRows()-6)...))
			before, at = &view, now
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

func terminalColumns() int {
	if columns, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && columns > 40 {
		return columns
	}
	return 80
}

func terminalRows() int {
	if _, rows, err := term.GetSize(int(os.Stdout.Fd())); err == nil && rows > 10 {
		return rows
	}
	return 24
}

// picture is one screen.
func (s *session) picture(v, before *statusView, passed time.Duration, rows int) []byte {
	var screen bytes.Buffer
	fmt.Fprintf(&screen, "%s  workers %s %d of %d, %d hung, %d waiting  maintenance %d  revision %d\n",
		s.now().Format(time.TimeOnly), bar(v.Occupied-v.Hung, v.Hung, v.Workers), v.Occupied, v.Workers, v.Hung, v.Waiting, v.Maintenance.InForce, v.Maintenance.Revision)
	inner := *s
	inner.out = &screen
	inner.showWarnings(v)
	last := make(map[string]*zoneView)
	if before != nil {
		for i := range before.Zones {
			last[before.Zones[i].Zone] = &before.Zones[i]
		}
	}
	table := [][]string{{"ZONE", "STATE", "FOR", "LIVE", "HUNG", "LIMIT", "OK/S", "BAD/S", "REFUSED/S", "QUARANTINED", "WORST CULPRIT"}}
	for i := range v.Zones[:min(len(v.Zones), max(rows, 1))] {
		table = append(table, s.topRow(&v.Zones[i], last[v.Zones[i].Zone], passed))
	}
	writeTable(&screen, table)
	if more := len(v.Zones) - (len(table) - 1); more > 0 {
		fmt.Fprintf(&screen, "and %d more\n", more)
	}
	return screen.Bytes()
}

func (s *session) topRow(z, before *zoneView, passed time.Duration) []string {
	length, culprit := "", ""
	if since, _ := z.cause(); !since.IsZero() {
		length = brief(s.now().Sub(since))
	}
	if now, _ := z.culprits(); len(now) > 0 {
		culprit = cut(now[0], 24)
	}
	row := []string{z.Zone, z.word(), length, strconv.Itoa(z.Live), strconv.Itoa(z.Hung), z.limit()}
	good, bad, refused := sums(z)
	if before == nil || passed <= 0 {
		row = append(row, "", "", "")
	} else {
		good0, bad0, refused0 := sums(before)
		for _, n := range []uint64{good - good0, bad - bad0, refused - refused0} {
			row = append(row, strconv.FormatFloat(float64(n)/passed.Seconds(), 'f', 0, 64))
		}
	}
	return append(row, strconv.Itoa(z.QuarantinedCount), culprit)
}

func sums(z *zoneView) (good, bad, refused uint64) {
	good = z.Outcomes["ok"] + z.Outcomes["slow"]
	for _, name := range []string{"failure", "broken", "hung", "gone_late", "no_upstream"} {
		bad += z.Outcomes[name]
	}
	for _, n := range z.Refusals {
		refused += n
	}
	return good, bad, refused
}

// bar draws the workers: # is live, x is hung.
func bar(live, hung, all int) string {
	const width = 32
	if all <= 0 {
		return ""
	}
	at := func(n int) int { return min(width, (max(n, 0)*width+all-1)/all) }
	x := at(hung)
	l := min(at(live), width-x)
	return "[" + strings.Repeat("#", l) + strings.Repeat("x", x) + strings.Repeat(".", width-l-x) + "]"
}

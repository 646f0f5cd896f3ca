package directive

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Option is one line, or one block, within a block of a Caddyfile. It fills in
// a T.
type Option[T any] struct {
	// What to write, shown when something else was written: "timeout 2s".
	Usage string

	// How many values it takes; Max < 0: any number. Used with Set only.
	Min, Max int

	// May be given more than once.
	Repeats bool

	// Takes the values of a line.
	Set func(to *T, args []string) error

	// Instead of Set: reads values and block itself. The dispenser stands on
	// the option's name.
	Block func(d *caddyfile.Dispenser, to *T) error
}

// Options are all options of one kind of block. Parsing goes through one loop,
// so that what is said about unknown, repeated and incomplete options is the
// same everywhere.
type Options[T any] struct {
	Block string // the kind of block, as errors call it: "firebreak zone"
	Known map[string]Option[T]
}

// Parse reads the block that opens behind the dispenser's current token, if
// one does.
func (o Options[T]) Parse(d *caddyfile.Dispenser, to *T) error {
	return o.ParseBlock(d, NewBlock(d), to)
}

// ParseBlock is Parse and keeps in block where the options stand.
func (o Options[T]) ParseBlock(d *caddyfile.Dispenser, block *Block, to *T) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		opt, ok := o.Known[name]
		if !ok {
			return d.Err(Unrecognized(o.Block+" option", name, slices.Sorted(maps.Keys(o.Known))))
		}
		if block.options[name] != nil && !opt.Repeats {
			return d.Errf("%s option '%s' specified twice", o.Block, name)
		}
		block.options[name] = Here(d)
		if err := o.read(d, name, opt, to); err != nil {
			return err
		}
	}
	return nil
}

func (o Options[T]) read(d *caddyfile.Dispenser, name string, opt Option[T], to *T) error {
	if opt.Block != nil {
		return opt.Block(d, to)
	}
	args := d.RemainingArgs()
	if len(args) < opt.Min || (opt.Max >= 0 && len(args) > opt.Max) {
		return d.Errf("%s option '%s' needs %s, but has %d; write for example: %s",
			o.Block, name, countWords(opt.Min, opt.Max), len(args), opt.Usage)
	}
	if err := opt.Set(to, args); err != nil {
		return d.WrapErr(fmt.Errorf("%s option '%s': %w", o.Block, name, err))
	}
	return NoBlock(d, o.Block+" option '"+name+"'")
}

// NoBlock refuses a block behind the current line: its lines would otherwise
// be taken for options of the block around it.
func NoBlock(d *caddyfile.Dispenser, what string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("%s takes no block", what)
	}
	return nil
}

// Here remembers where the dispenser stands, for errors that are found later.
func Here(d *caddyfile.Dispenser) *caddyfile.Dispenser {
	at := caddyfile.NewDispenser([]caddyfile.Token{d.Token()})
	at.Next()
	return at
}

func countWords(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("at least %s", Values(least))
	case most == 0:
		return "no value"
	case least == most:
		return Values(least)
	default:
		return fmt.Sprintf("%d to %s", least, Values(most))
	}
}

// Values is a number of values in words.
func Values(n int) string {
	if n == 1 {
		return "1 value"
	}
	return fmt.Sprintf("%d values", n)
}

// Unrecognized is the error for an unknown word: the known one that is close to it,
// and which ones there are. The known words come sorted.
func Unrecognized(what, word string, known []string) string {
	var hint string
	if near := Nearest(word, known); near != "" {
		hint = fmt.Sprintf("; did you mean '%s'?", near)
	}
	return fmt.Sprintf("unrecognized %s '%s'%s (one of: %s)", what, word, hint, strings.Join(known, ", "))
}

// Nearest is the known word that a typing mistake may have meant, or "".
func Nearest(word string, known []string) string {
	best, distance := "", 1+max(2, len(word)/3)
	for _, k := range known {
		if n := editDistance(word, k); n < distance && n < max(len(word), len(k))-1 {
			best, distance = k, n
		}
	}
	return best
}

// editDistance is the number of letters to insert, drop or change to get from
// one word to the other (Levenshtein). Long words are cut: they are no typing errors.
func editDistance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

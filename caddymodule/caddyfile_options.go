package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// option is one line, or one block, within a block of a Caddyfile. It fills in
// a T.
type option[T any] struct {
	// What to write, shown when something else was written: "timeout 2s".
	usage string

	// How many values it takes; max < 0: any number. Used with set only.
	min, max int

	// May be given more than once.
	repeats bool

	// Takes the values of a line.
	set func(to *T, args []string) error

	// Instead of set: reads values and block itself. The dispenser stands on
	// the option's name.
	block func(d *caddyfile.Dispenser, to *T) error
}

// options are all options of one kind of block. Parsing goes through one loop,
// so that what is said about unknown, repeated and incomplete options is the
// same everywhere.
type options[T any] struct {
	block string // the kind of block, as errors call it: "firebreak zone"
	known map[string]option[T]
}

// parse reads the block that opens behind the dispenser's current token, if
// one does.
func (o options[T]) parse(d *caddyfile.Dispenser, to *T) error {
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		opt, ok := o.known[name]
		if !ok {
			return d.Err(unrecognized(o.block+" option", name, slices.Sorted(maps.Keys(o.known))))
		}
		if given[name] && !opt.repeats {
			return d.Errf("%s option '%s' specified twice", o.block, name)
		}
		given[name] = true
		if err := o.read(d, name, opt, to); err != nil {
			return err
		}
	}
	return nil
}

func (o options[T]) read(d *caddyfile.Dispenser, name string, opt option[T], to *T) error {
	if opt.block != nil {
		return opt.block(d, to)
	}
	args := d.RemainingArgs()
	if len(args) < opt.min || (opt.max >= 0 && len(args) > opt.max) {
		return d.Errf("%s option '%s' needs %s, but has %d; write for example: %s",
			o.block, name, countWords(opt.min, opt.max), len(args), opt.usage)
	}
	if err := opt.set(to, args); err != nil {
		return d.WrapErr(fmt.Errorf("%s option '%s': %w", o.block, name, err))
	}
	return noBlock(d, o.block+" option '"+name+"'")
}

// noBlock refuses a block behind the current line: its lines would otherwise
// be taken for options of the block around it.
func noBlock(d *caddyfile.Dispenser, what string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("%s takes no block", what)
	}
	return nil
}

// here remembers where the dispenser stands, for errors that are found later.
func here(d *caddyfile.Dispenser) *caddyfile.Dispenser {
	at := caddyfile.NewDispenser([]caddyfile.Token{d.Token()})
	at.Next()
	return at
}

func countWords(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("at least %s", values(least))
	case most == 0:
		return "no value"
	case least == most:
		return values(least)
	default:
		return fmt.Sprintf("%d to %s", least, values(most))
	}
}

func values(n int) string {
	if n == 1 {
		return "1 value"
	}
	return fmt.Sprintf("%d values", n)
}

// unrecognized says that a word is not known, which known one is close to it,
// and which ones there are. The known words come sorted.
func unrecognized(what, word string, known []string) string {
	var hint string
	if near := nearest(word, known); near != "" {
		hint = fmt.Sprintf("; did you mean '%s'?", near)
	}
	return fmt.Sprintf("unrecognized %s '%s'%s (one of: %s)", what, word, hint, strings.Join(known, ", "))
}

// nearest is the known word that a typing mistake may have meant, or "".
func nearest(word string, known []string) string {
	best, distance := "", 1+max(2, len(word)/3)
	for _, k := range known {
		if n := editDistance(word, k); n < distance && n < max(len(word), len(k))-1 {
			best, distance = k, n
		}
	}
	return best
}

// editDistance is the number of letters to insert, drop or change to get from
// one word to the other (Levenshtein). Long words are cut: nobody means them.
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

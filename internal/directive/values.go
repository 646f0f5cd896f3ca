package directive

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-proxy/firebreak/config"
)

// The functions below make options with one value of a kind. usage is an example
// of the option for error messages; field points to where the value is stored.

// Duration reads a duration above zero: "2s", "1h30m", "7d".
func Duration[T any](usage string, field func(*T) *config.Duration) Option[T] {
	return Option[T]{Usage: usage, Min: 1, Max: 1, Set: func(to *T, args []string) error {
		d, err := config.ParseDuration(args[0])
		if err != nil {
			return err
		}
		if d <= 0 {
			return fmt.Errorf("%s is too short; write for example: %s", args[0], usage)
		}
		*field(to) = d
		return nil
	}}
}

// Share reads a share in percent: "34%" or "34".
func Share[T any](usage string, field func(*T) *float64) Option[T] {
	return Option[T]{Usage: usage, Min: 1, Max: 1, Set: func(to *T, args []string) error {
		p, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "%"), 64)
		// Written so that NaN is refused too.
		if err != nil || !(p > 0 && p <= 100) {
			return fmt.Errorf("invalid share %q: it must be above 0%% and at most 100%%; write for example: %s", args[0], usage)
		}
		*field(to) = p
		return nil
	}}
}

// Count reads a whole number of at least least.
func Count[T any](usage string, least int, field func(*T) *int) Option[T] {
	return Option[T]{Usage: usage, Min: 1, Max: 1, Set: func(to *T, args []string) (err error) {
		*field(to), err = ParseCount(args[0], usage, least)
		return err
	}}
}

// CountPtr is for numbers whose 0 differs from "not set".
func CountPtr[T any](usage string, field func(*T) **int) Option[T] {
	return Option[T]{Usage: usage, Min: 1, Max: 1, Set: func(to *T, args []string) error {
		n, err := ParseCount(args[0], usage, 0)
		*field(to) = &n
		return err
	}}
}

// ParseCount reads a whole number of at least least. usage is an example for the
// error message.
func ParseCount(s, usage string, least int) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%q is not a whole number; write for example: %s", s, usage)
	case err == nil && n < least:
		return 0, fmt.Errorf("invalid number %q: it must be at least %d; write for example: %s", s, least, usage)
	case err != nil || n > math.MaxInt32:
		return 0, fmt.Errorf("invalid number %q: it must be at most %d; write for example: %s", s, math.MaxInt32, usage)
	}
	return n, nil
}

// Amount reads a number or a percentage: "8" or "25%".
func Amount[T any](usage string, field func(*T) *config.Amount) Option[T] {
	return Option[T]{Usage: usage, Min: 1, Max: 1, Set: func(to *T, args []string) (err error) {
		*field(to), err = config.ParseAmount(args[0])
		return err
	}}
}

// Word reads one of a few words.
func Word[T any](usage string, field func(*T) *string, words ...string) Option[T] {
	slices.Sort(words)
	return Option[T]{Usage: usage, Min: 1, Max: 1, Set: func(to *T, args []string) error {
		if !slices.Contains(words, args[0]) {
			return errors.New(Unrecognized("value", args[0], words))
		}
		*field(to) = args[0]
		return nil
	}}
}

package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-proxy/firebreak/config"
)

// Options that hold one value of a kind. The field says where it goes.

func durationOption[T any](usage string, field func(*T) *config.Duration) option[T] {
	return option[T]{usage: usage, min: 1, max: 1, set: func(to *T, args []string) error {
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

// shareOption reads a share in percent: "34%" or "34".
func shareOption[T any](usage string, field func(*T) *float64) option[T] {
	return option[T]{usage: usage, min: 1, max: 1, set: func(to *T, args []string) error {
		p, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "%"), 64)
		// Written so that NaN is refused too.
		if err != nil || !(p > 0 && p <= 100) {
			return fmt.Errorf("invalid share %q: it must be above 0%% and at most 100%%; write for example: %s", args[0], usage)
		}
		*field(to) = p
		return nil
	}}
}

func countOption[T any](usage string, least int, field func(*T) *int) option[T] {
	return option[T]{usage: usage, min: 1, max: 1, set: func(to *T, args []string) (err error) {
		*field(to), err = parseCount(args[0], usage, least)
		return err
	}}
}

// countPtrOption is for numbers whose 0 differs from "not set".
func countPtrOption[T any](usage string, field func(*T) **int) option[T] {
	return option[T]{usage: usage, min: 1, max: 1, set: func(to *T, args []string) error {
		n, err := parseCount(args[0], usage, 0)
		*field(to) = &n
		return err
	}}
}

func parseCount(s, usage string, least int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > math.MaxInt32 {
		return 0, fmt.Errorf("invalid number %q: it must be at least %d; write for example: %s", s, least, usage)
	}
	return n, nil
}

func amountOption[T any](usage string, field func(*T) *config.Amount) option[T] {
	return option[T]{usage: usage, min: 1, max: 1, set: func(to *T, args []string) (err error) {
		*field(to), err = config.ParseAmount(args[0])
		return err
	}}
}

func wordOption[T any](usage string, field func(*T) *string, words ...string) option[T] {
	slices.Sort(words)
	return option[T]{usage: usage, min: 1, max: 1, set: func(to *T, args []string) error {
		if !slices.Contains(words, args[0]) {
			return errors.New(unrecognized("value", args[0], words))
		}
		*field(to) = args[0]
		return nil
	}}
}

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that reads "2s", "100ms" or "1d" and, like the
// rest of Caddy's JSON, a plain number of nanoseconds. It is written as text.
type Duration time.Duration

// ParseDuration reads a duration as time.ParseDuration does, and days ("1d").
func ParseDuration(s string) (Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || math.IsNaN(n) || math.Abs(n) > 36500 {
			return 0, fmt.Errorf("invalid duration %q: write for example 100ms, 2s, 5m or 1d", s)
		}
		return Duration(n * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("invalid duration %q: write for example 100ms, 2s, 5m or 1d", s)
	}
	return Duration(d), nil
}

// String writes the duration as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads text or a number of nanoseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var ns int64
	if err := json.Unmarshal(b, &ns); err == nil {
		*d = Duration(ns)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is text like %q or a number of nanoseconds, not %s", "2s", b)
	}
	v, err := ParseDuration(s)
	*d = v
	return err
}

// Amount is a number of workers: absolute ("8") or a share of the pool
// ("25%"). The zero value means "not set".
type Amount struct {
	count   int
	percent float64
}

// Count is an absolute amount.
func Count(n int) Amount { return Amount{count: n} }

// Percent is a share of the pool.
func Percent(p float64) Amount { return Amount{percent: p} }

var errAmount = errors.New(`write a number of workers like 8 (at least 1) or a share of the pool like 25%`)

// ParseAmount reads "8" or "25%".
func ParseAmount(s string) (Amount, error) {
	if text, ok := strings.CutSuffix(s, "%"); ok {
		p, err := strconv.ParseFloat(text, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return Amount{}, fmt.Errorf("invalid amount %q: %w", s, errAmount)
		}
		return Percent(p), nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return Amount{}, fmt.Errorf("invalid amount %q: %w", s, errAmount)
	}
	return Count(n), nil
}

// IsZero reports whether the amount was not set.
func (a Amount) IsZero() bool { return a == Amount{} }

// NeedsWorkers reports whether the amount is a share and has no meaning without the
// size of the pool.
func (a Amount) NeedsWorkers() bool { return a.percent > 0 }

// Of is the amount as a number, for a pool of so many workers: rounded down,
// at least 1.
func (a Amount) Of(workers int) int {
	if a.percent > 0 {
		return max(1, int(float64(workers)*a.percent/100))
	}
	return a.count
}

// String writes the amount as it is read.
func (a Amount) String() string {
	if a.percent > 0 {
		return strconv.FormatFloat(a.percent, 'g', -1, 64) + "%"
	}
	return strconv.Itoa(a.count)
}

// MarshalJSON writes a number, or text for a share.
func (a Amount) MarshalJSON() ([]byte, error) {
	if a.percent > 0 {
		return json.Marshal(a.String())
	}
	return json.Marshal(a.count)
}

// UnmarshalJSON reads a number or text.
func (a *Amount) UnmarshalJSON(b []byte) error {
	v, err := ParseAmount(strings.Trim(string(b), `"`))
	*a = v
	return err
}

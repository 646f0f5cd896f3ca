package refusal

import (
	"testing"
	"time"
)

// TestRetryAfter: rounded up, never below 1, at most a fifth (and the
// rounding) more.
func TestRetryAfter(t *testing.T) {
	for _, d := range []time.Duration{-time.Second, 0, time.Millisecond, 4500 * time.Millisecond, time.Minute} {
		for range 1000 {
			got := time.Duration(retryAfter(d)) * time.Second
			if got < d || got < time.Second || got > max(d, 0)*6/5+time.Second {
				t.Fatalf("retryAfter(%s) = %s", d, got)
			}
		}
	}
}

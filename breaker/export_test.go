package breaker

// Counted counts durations, none above limit, as first bytes.
func Counted(durations []int64, limit int64) *Histogram {
	h := new(histogram)
	for _, d := range durations {
		h.observe(min(d, limit), firstByteScale)
	}
	s := h.snapshot(firstByteScale)
	return &s
}

package routing

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// CompareRow fails if the fast and the thorough reading of an NDJSON line
// disagree.
func CompareRow(t *testing.T, line string) {
	t.Helper()
	got, ok := scanRow([]byte(line))
	if !ok {
		return
	}
	want, err := decodeRow([]byte(line))
	if err != nil {
		t.Fatalf("scanRow accepts %q, encoding/json does not: %v", line, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("row %q (-want +got)%s", line, diff)
	}
}

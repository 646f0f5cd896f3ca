// Package stores names the stores and zones of the example and keeps them in
// the CSV file that both firebreak and the API server read.
package stores

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
)

// PerZone is the number of stores in a zone.
const PerZone = 100

// ID names the store with this rank (0 is the busiest) in this zone (0 is z1):
// s0001 to s0100 live in z1, s0101 to s0200 in z2 and so on.
func ID(zone, rank int) string {
	return fmt.Sprintf("s%04d", zone*PerZone+rank+1)
}

// Zone names the i-th zone, counted from 0.
func Zone(i int) string {
	return fmt.Sprintf("z%d", i+1)
}

// Write writes the table of all stores: a header and one line "store,zone" each.
func Write(w io.Writer, zones int) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"store", "zone"}}
	for z := range zones {
		for rank := range PerZone {
			rows = append(rows, []string{ID(z, rank), Zone(z)})
		}
	}
	return out.WriteAll(rows)
}

// WriteFile writes the table into a file.
func WriteFile(path string, zones int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := Write(f, zones); err != nil {
		return fmt.Errorf("writing store table: %w", err)
	}
	return f.Close()
}

// ReadFile reads the table: the zone of each store.
func ReadFile(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading store table: %w", err)
	}
	zoneOf := make(map[string]string, len(rows))
	for i, row := range rows {
		if len(row) < 2 {
			return nil, fmt.Errorf("reading store table: row %d: want store,zone", i+1)
		}
		if i > 0 {
			zoneOf[row[0]] = row[1]
		}
	}
	return zoneOf, nil
}

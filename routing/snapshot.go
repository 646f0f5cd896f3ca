package routing

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// maxSnapshot is the largest file that SaveTable writes: several million
// stores.
const maxSnapshot = 512 << 20

// SaveTable writes a table to a CSV file that [LoadTable] and [OpenFile] read.
// The file is replaced in one step; a crash leaves the old one or the new one.
func SaveTable(path string, t *Table) error {
	if err := saveTable(path, t); err != nil {
		return fmt.Errorf("saving the table of stores: %w", err)
	}
	return nil
}

func saveTable(path string, t *Table) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	removeLeftovers(path)
	// Readable by this user alone, since keys may be secrets.
	file, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	if err := writeTable(file, t); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// removeLeftovers removes what processes left behind that were killed while they
// wrote.
func removeLeftovers(path string) {
	found, _ := filepath.Glob(path + ".*.tmp")
	for _, name := range found {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.Remove(name)
		}
	}
}

func writeTable(file io.Writer, t *Table) error {
	out := bufio.NewWriterSize(&boundedWriter{file, maxSnapshot}, 64<<10)
	rows := csv.NewWriter(out)
	err := rows.Write([]string{"store", "zone", "key"})
	row := make([]string, 3)
	t.EachName(func(name string, route Route) bool {
		row[0], row[1], row[2] = route.Store, route.Zone, ""
		if name != route.Store {
			row[2] = name
		}
		err = rows.Write(row)
		return err == nil
	})
	if err != nil {
		return err
	}
	if rows.Flush(); rows.Error() != nil {
		return rows.Error()
	}
	return out.Flush()
}

// boundedWriter fails when more than left bytes are written.
type boundedWriter struct {
	to   io.Writer
	left int
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, fmt.Errorf("the table takes more than %d bytes", maxSnapshot)
	}
	return w.to.Write(p)
}

// LoadTable reads what SaveTable wrote, and when that was. Without a file it
// returns no table and no error.
func LoadTable(path string) (*Table, time.Time, error) {
	table, state, err := readTable(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, time.Time{}, nil
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("reading the saved table of stores: %w", err)
	}
	return table, state.info.ModTime(), nil
}

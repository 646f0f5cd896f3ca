//go:build e2e

package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// lockRows damages stores of a zone: until release is called (or the test
// ends), every query for them hangs, and no other store notices.
func (d *database) lockRows(t *testing.T, stores ...string) (release func()) {
	t.Helper()
	psql := d.psql("-A", "-t")
	stdin, err := psql.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := psql.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := psql.Start(); err != nil {
		t.Fatal(err)
	}
	// psql ends with its input, and its transaction with psql.
	release = sync.OnceFunc(func() {
		stdin.Close()
		_ = psql.Wait()
	})
	t.Cleanup(release)
	fmt.Fprintf(stdin, "BEGIN; SELECT count(*) FROM (SELECT 1 FROM stores WHERE id IN ('%s') FOR UPDATE) x;\n",
		strings.Join(stores, "','"))
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if want := fmt.Sprintf("%d\n", len(stores)); line != want {
		t.Fatalf("locking %d rows: got %q, %v", len(stores), line, err)
	}
	go io.Copy(io.Discard, stdout)
	return release
}

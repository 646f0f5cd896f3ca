package caddymodule

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// TestMemoryLastWrite: the process ends while the memory is being written, and
// something has changed meanwhile.
func TestMemoryLastWrite(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", TempHome(t))
	policy, err := (&config.App{Workers: 32}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		name := fmt.Sprint("s", n)
		guard := breaker.New(policy, breaker.Options{})
		m := &memoryFile{guard: guard}
		app := &App{log: zap.NewNop()}
		if err := m.claim(app); err != nil {
			t.Fatal(err)
		}
		m.follow(app)
		time.Sleep(time.Duration(n) * 10 * time.Microsecond) // some of them hit a write
		guard.HoldStore("z1", name, breaker.Open, 0, "ann", "")
		m.close()
		guard.Close()
		kept, err := readMemory(m.path)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept.Zones) != 1 || kept.Zones[0].HeldStores[name] == nil {
			t.Fatalf("after %d times, the hold of the last moment is not on disk: %+v", n, kept)
		}
	}
}

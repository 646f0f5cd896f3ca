package snapshot

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// TestLastWrite: the process ends while the memory is being written, and
// something has changed meanwhile.
func TestLastWrite(t *testing.T) {
	path := Path(t.TempDir(), "web1")
	policy, err := (&config.App{Workers: 32}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		name := fmt.Sprint("s", n)
		guard := breaker.New(policy, breaker.Options{})
		f := New(guard)
		if err := f.Claim(path); err != nil {
			t.Fatal(err)
		}
		f.Follow(zap.NewNop())
		time.Sleep(time.Duration(n) * 10 * time.Microsecond) // some of them hit a write
		guard.HoldStore("z1", name, breaker.Open, 0, "ann", "")
		f.Close()
		guard.Close()
		kept, err := read(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept.Zones) != 1 || kept.Zones[0].HeldStores[name] == nil {
			t.Fatalf("after %d times, the hold of the last moment is not on disk: %+v", n, kept)
		}
	}
}

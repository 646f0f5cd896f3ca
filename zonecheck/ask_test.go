package zonecheck

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

var errLocked = errors.New("lock timeout")

// database is a connection to one in which some stores are locked.
type database struct {
	Conn   // the rest is not asked for
	locked string
}

func (d *database) Try(_ context.Context, _, store string, limit time.Duration) error {
	if store == d.locked {
		time.Sleep(limit)
		return errLocked
	}
	return nil
}

func (d *database) TimedOut(err error) bool { return errors.Is(err, errLocked) }
func (d *database) Said(error) bool         { return true }
func (d *database) Closed() bool            { return false }
func (d *database) Drop()                   {}

// TestTryWhileOneIsLocked: a store that is asked for while the probe of another one
// waits for a lock does not wait for that, and nothing is looked for once all is done.
func TestTryWhileOneIsLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lines{open: func(context.Context) (Conn, error) { return &database{locked: "bad"}, nil }}
		defer l.close()
		var mu sync.Mutex
		began, waiting := time.Now(), []string{"bad"}
		asked := time.AfterFunc(100*time.Millisecond, func() {
			mu.Lock()
			defer mu.Unlock()
			waiting = append(waiting, "good")
		})
		defer asked.Stop()
		verdicts, at := map[string]breaker.Verdict{}, map[string]time.Duration{}
		q := &breaker.Inquiry{SlowAfter: 2 * time.Second, Next: func() (store string, ok bool) {
			mu.Lock()
			defer mu.Unlock()
			if len(waiting) == 0 {
				return "", len(verdicts) < 2
			}
			store, waiting = waiting[0], waiting[1:]
			return store, true
		}}
		c := &config.Check{StoreProbe: "SELECT $1", Timeout: config.Duration(time.Second)}
		err := l.tryStores(t.Context(), c, q, func(f breaker.Findings) {
			mu.Lock()
			defer mu.Unlock()
			verdicts[f.Tried], at[f.Tried] = f.Verdict, time.Since(began)
		})
		if err != nil || verdicts["bad"] != breaker.Failed || verdicts["good"] != breaker.Passed {
			t.Errorf("%v, verdicts %v", err, verdicts)
		}
		if at["good"] > 100*time.Millisecond+probeLook {
			t.Errorf("the store that was asked for after 100 ms was tried after %s", at["good"])
		}
		if took := time.Since(began); took > time.Second+probeLook {
			t.Errorf("it took %s", took)
		}
	})
}

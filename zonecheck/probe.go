package zonecheck

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// probe tries a store on behalf of a recovery. Its connections are not those that
// troubled zones are asked over.
func (s SQL) probe(ctx context.Context, zone string, c *config.Check, store string, limit time.Duration) (breaker.Verdict, error) {
	l := linesOf("recovery of "+zone, c, s.Open)
	ctx, cancel := context.WithTimeout(ctx, limit+probeReplyTime)
	defer cancel()
	var i int
	select {
	case i = <-l.free:
		defer func() { l.free <- i }()
	case <-ctx.Done():
		return breaker.Unknown, fmt.Errorf("store_probe: all %d connections are in use", parallelProbes)
	}
	var failed bool
	err := l.probes[i].run(ctx, l, func(conn Conn) error {
		err := conn.Try(ctx, c.StoreProbe, store, limit)
		failed = err != nil && (conn.TimedOut(err) || conn.Damaged(err))
		return err
	})
	switch {
	case err == nil:
		return breaker.Passed, nil
	case failed:
		return breaker.Failed, err
	}
	return breaker.Unknown, fmt.Errorf("store_probe: %w", AnswerError(ctx, err))
}

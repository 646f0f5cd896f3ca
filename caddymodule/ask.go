package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/telemetry"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// askAgain is how often it is told that a database cannot be asked.
const askAgain = time.Minute

// askDatabase asks zones' databases about their stores, and logs that one cannot be
// asked, and that it can be again: once a minute for each zone.
func askDatabase() breaker.AskFunc {
	var mu sync.Mutex
	told := make(map[string]time.Time) // by zone
	return func(ctx context.Context, zone string, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
		err := zonecheck.Ask(ctx, zone, c, q, report)
		mu.Lock()
		defer mu.Unlock()
		at, failing := told[zone]
		switch {
		case err == nil && failing:
			delete(told, zone)
			caddy.Log().Named("firebreak").Info(telemetry.LogDatabaseAsked, zap.String("zone", zone))
		case err != nil && time.Since(at) >= askAgain:
			told[zone] = time.Now()
			caddy.Log().Named("firebreak").Warn(telemetry.LogDatabaseNotAsked,
				zap.String("zone", zone), zap.Error(err))
		}
		return err
	}
}

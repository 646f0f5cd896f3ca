package caddymodule

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/fleet/share"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// sharesAuto reports whether the part of this sidecar follows the fleet.
func (a *App) sharesAuto() bool { return a.Share == config.ShareAuto }

// followShare keeps this sidecar's part in step with the fleet until ctx ends. While
// the state cannot be read nothing changes.
func (a *App) followShare(ctx context.Context) {
	tick := time.NewTicker(share.Every)
	defer tick.Stop()
	for {
		if fleet, err := a.board.Fleet(ctx); err == nil && ctx.Err() == nil {
			a.takeShare(fleet.Instances)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *App) takeShare(fleet []maintenance.Instance) {
	mine := share.Servers(a.Guard())
	if len(mine) == 0 {
		return // not known yet
	}
	parts, changed := a.shared.sharing.Look(a.instanceID(), fleet, mine, time.Now())
	if !changed {
		return
	}
	policy, err := a.policyFor(parts)
	if err != nil {
		a.log.Error(telemetry.LogShareRefused, zap.Error(err))
		return
	}
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.policy = policy
	if next := a.settings(); a.shared.replace(a.live.mine, next) {
		a.live.mine = next
	}
	a.log.Info(telemetry.LogShare, zap.String("share", share.InWords(parts.Others)), zap.Int("workers", a.Guard().Summary().Workers))
}

// policyFor is the policy with the parts that share auto has found.
func (a *App) policyFor(parts config.Parts) (*config.Policy, error) {
	policy, err := a.App.PolicyFor(parts)
	if err == nil {
		fillCheckHeaders(policy)
	}
	return policy, err
}

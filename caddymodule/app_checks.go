package caddymodule

import (
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// knownChecks finds zone checks by protocols that this build was made without.
func knownChecks(p *config.Policy) error {
	for _, name := range slices.Sorted(maps.Keys(p.Zones)) {
		if err := knownCheck(name, p.Zones[name].Check); err != nil {
			return err
		}
	}
	return knownCheck(config.AllZones, p.Default.Check)
}

func knownCheck(zone string, c *config.Check) error {
	if c == nil || zonecheck.Knows(c.Protocol) {
		return nil
	}
	return fmt.Errorf("zone %s: check %s is not part of this build: add the package github.com/firebreak-proxy/firebreak/%s to it", zone, c.Protocol, c.Protocol)
}

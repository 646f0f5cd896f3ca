package workers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-proxy/firebreak/config"
)

// NewSource is the source of a status page, for any setting but auto and off: what
// the kernel knows is found by [NewKernel].
func NewSource(s config.ServerStatus, server string) (Source, error) {
	switch s.Source {
	case config.StatusFPM:
		return NewFPM(s.Address, !strings.HasPrefix(s.Address, "fastcgi://"+server))
	case config.StatusPuma:
		return NewPuma(s.Address, s.Token), nil
	}
	address, byHTTP := strings.CutPrefix(s.Address, "http://")
	return NewUWSGI(strings.TrimSuffix(address, "/"), byHTTP), nil
}

// CheckStatus finds what is wrong with where a status is.
func CheckStatus(s *config.ServerStatus) error {
	if err := s.Check(); err != nil || s == nil || s.Source == config.StatusAuto || s.Source == config.StatusOff {
		return err
	}
	_, err := NewSource(s.At("127.0.0.1:1"), "127.0.0.1:1")
	return err
}

// CheckStatuses does so for all settings.
func CheckStatuses(p *config.Policy) error {
	if err := CheckStatus(p.Status); err != nil {
		return fmt.Errorf("server_status: %w", err)
	}
	for _, address := range slices.Sorted(maps.Keys(p.Statuses)) {
		status := p.Statuses[address]
		if err := CheckStatus(&status); err != nil {
			return fmt.Errorf("server %s: status: %w", address, err)
		}
	}
	return nil
}

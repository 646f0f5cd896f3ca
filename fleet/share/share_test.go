package share_test

import (
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/fleet/share"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// TestFollowsTheFleet: the part follows the sidecars that name the same servers,
// and a sidecar that is missing for a moment keeps its part.
func TestFollowsTheFleet(t *testing.T) {
	const a, b = "10.0.0.1:9000", "10.0.0.2:9000"
	mine := map[string]string{a: a, b: b}
	named := func(id string, servers ...string) maintenance.Instance {
		return maintenance.Instance{ID: id, Servers: servers}
	}
	var s share.Sharing
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		name    string
		after   time.Duration
		fleet   []maintenance.Instance
		a, b    config.Part
		changed bool
	}{
		{"alone", 0, nil, config.Part{Mine: 1, Of: 1, Place: 1}, config.Part{Mine: 1, Of: 1, Place: 1}, true},
		{"nothing new", time.Second, []maintenance.Instance{named("m")}, config.Part{Mine: 1, Of: 1, Place: 1}, config.Part{Mine: 1, Of: 1, Place: 1}, false},
		{"one more in front of one", time.Second, []maintenance.Instance{named("m", a, b), named("k", a)}, config.Part{Mine: 1, Of: 2, Place: 2}, config.Part{Mine: 1, Of: 1, Place: 1}, true},
		{"and others elsewhere", time.Second, []maintenance.Instance{named("k", a), named("x", "10.0.0.9:9000"), named("y")}, config.Part{Mine: 1, Of: 2, Place: 2}, config.Part{Mine: 1, Of: 1, Place: 1}, false},
		{"the state was down and has lost its records", time.Hour, nil, config.Part{Mine: 1, Of: 2, Place: 2}, config.Part{Mine: 1, Of: 1, Place: 1}, false},
		{"4 s", 4 * time.Second, nil, config.Part{Mine: 1, Of: 2, Place: 2}, config.Part{Mine: 1, Of: 1, Place: 1}, false},
		{"8 s", 4 * time.Second, nil, config.Part{Mine: 1, Of: 2, Place: 2}, config.Part{Mine: 1, Of: 1, Place: 1}, false},
		{"12 s", 4 * time.Second, nil, config.Part{Mine: 1, Of: 1, Place: 1}, config.Part{Mine: 1, Of: 1, Place: 1}, true},
	} {
		now = now.Add(step.after)
		parts, changed := s.Look("m", step.fleet, mine, now)
		if parts.ByServer[a] != step.a || parts.ByServer[b] != step.b || changed != step.changed {
			t.Errorf("%s: got %+v, changed %t", step.name, parts, changed)
		}
	}
}

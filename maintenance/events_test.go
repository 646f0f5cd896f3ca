package maintenance_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// TestReleaseIsToldAsSuch: to release stores from their zone's switch is no
// maintenance that begins.
func TestReleaseIsToldAsSuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, maintenance.Options{Backend: newMemory()})
		zone := maintenance.Switch{Target: target(maintenance.Zone, "z7"), Reason: "disk"}
		mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{zone}})
		mustChange(t, b, &maintenance.Edit{Release: []maintenance.Placed{{Store: "a", Zone: "z7"}}})
		mustChange(t, b, &maintenance.Edit{Release: []maintenance.Placed{{Store: "e", Zone: "z7"}, {Store: "d", Zone: "z7"}, {Store: "c", Zone: "z7"}, {Store: "b", Zone: "z7"}}})
		zone.Reason = "disk and controller"
		mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{zone}})
		var told []string
		for len(b.Events()) > 0 {
			e := <-b.Events()
			told = append(told, e.Kind+" "+e.Detail)
		}
		want := []string{"switch_set zone z7", "switch_released from zone z7: a", "switch_released from zone z7: b, c, d and 1 more", "switch_set zone z7"}
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

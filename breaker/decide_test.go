package breaker

import "testing"

// TestDecide is the decision on a request of a closed zone, case by case. The
// pool has 32 workers, of which the other zones usually need 10.
func TestDecide(t *testing.T) {
	base := picture{hear: 3, limit: 32, capacity: 32, needed: 10, strikes: 2, proven: true}
	for name, tt := range map[string]struct {
		change func(p *picture)
		want   why
		class  class
	}{
		"calm":                  {func(*picture) {}, admitted, known},
		"busy but flowing":      {func(p *picture) { p.taken, p.live, p.occupied = 30, 30, 31 }, admitted, known},
		"burst":                 {func(p *picture) { p.asked, p.occupied = 4, 21 }, admitted, known},
		"burst, others need it": {func(p *picture) { p.asked, p.occupied = 4, 22 }, poolReserve, known},
		"pool full":             {func(p *picture) { p.occupied = 32 }, poolFull, known},
		"zone limit":            {func(p *picture) { p.limit, p.taken = 8, 8 }, zoneLimit, known},
		"first store in doubt":  {func(p *picture) { p.doubt, p.silent, p.asked = true, 1, 1 }, admitted, unproven},
		"third store in doubt":  {func(p *picture) { p.doubt, p.silent, p.asked = true, 2, 2 }, admitted, unproven},
		"fourth store in doubt": {func(p *picture) { p.doubt, p.silent, p.asked = true, 3, 3 }, zoneInDoubt, unproven},
		"same store in doubt":   {func(p *picture) { p.doubt, p.silent, p.asked, p.mine = true, 1, 1, 1 }, zoneInDoubt, unproven},
		"same store, late":      {func(p *picture) { p.doubt, p.silent, p.asked, p.mine, p.mineLate = true, 1, 1, 1, 1 }, admitted, unproven},
		"doubt, last workers":   {func(p *picture) { p.doubt, p.silent, p.asked, p.occupied = true, 1, 1, 28 }, poolReserve, unproven},
		"doubt, others need it": {func(p *picture) { p.doubt, p.silent, p.asked, p.stuckAll = true, 1, 1, 22 }, poolReserve, unproven},
		"doubt, it alone hangs": {func(p *picture) {
			p.doubt, p.silent, p.asked, p.stuck, p.stuckAll, p.capacity, p.needed = true, 2, 2, 2, 2, 8, 6
		}, admitted, unproven},
		"doubt, others hang": {func(p *picture) {
			p.doubt, p.silent, p.asked, p.stuck, p.stuckAll, p.capacity, p.needed = true, 2, 2, 2, 3, 8, 6
		}, poolReserve, unproven},
		"doubt, half is lost": {func(p *picture) {
			p.doubt, p.silent, p.asked, p.stuck, p.stuckAll, p.capacity, p.needed = true, 2, 2, 2, 2, 4, 2
		}, poolReserve, unproven},
		"neighbour hangs, proven":  {func(p *picture) { p.open, p.stuck, p.stuckAll = 1, 1, 1 }, admitted, known},
		"neighbour hangs":          {func(p *picture) { p.open, p.stuck, p.proven = 1, 1, false }, admitted, unproven},
		"neighbour hangs, another": {func(p *picture) { p.open, p.stuck, p.proven, p.mine = 1, 1, false, 1 }, storeUnproven, unproven},
		"store hangs, second":      {func(p *picture) { p.open, p.stuck, p.mine, p.mineOpen, p.mineLate = 1, 1, 1, 1, 1 }, admitted, unproven},
		"store hangs, third":       {func(p *picture) { p.open, p.stuck, p.mine, p.mineOpen, p.mineLate = 1, 1, 2, 1, 1 }, storeInDoubt, unproven},
		"store hangs twice":        {func(p *picture) { p.open, p.stuck, p.mine, p.mineOpen, p.mineLate = 2, 2, 2, 2, 2 }, storeInDoubt, unproven},
		"store hangs anew":         {func(p *picture) { p.open, p.stuck, p.mine, p.mineOpen, p.mineLate = 1, 2, 2, 1, 2 }, admitted, unproven}, // it was answered since the first began
		"many hang, second": {func(p *picture) {
			p.open, p.stuck, p.mine, p.mineOpen, p.mineLate = 5, 5, 1, 1, 1
		}, storeInDoubt, unproven},
		"zone has lost enough":  {func(p *picture) { p.open, p.stuck, p.asking, p.proven = 12, 12, 1, false }, zoneStuck, unproven},
		"one at a time beyond":  {func(p *picture) { p.open, p.stuck, p.proven = 12, 12, false }, admitted, unproven},
		"half of the pool lost": {func(p *picture) { p.open, p.stuck, p.proven = 16, 16, false }, zoneStuck, unproven},
		"proven at half":        {func(p *picture) { p.open, p.stuck, p.stuckAll, p.occupied = 16, 16, 16, 20 }, admitted, known},
		"slow start":            {func(p *picture) { p.window, p.live = 4, 4 }, zoneStarts, known},
		"greedy store":          {func(p *picture) { p.greedy, p.mine, p.taken, p.live, p.occupied = true, 24, 24, 24, 24 }, storeGreedy, known},
		"unknown pool":          {func(p *picture) { p.capacity, p.occupied = 0, 500; p.limit = 1 << 20 }, admitted, known},
		"shared bucket, doubt":  {func(p *picture) { p.shared, p.doubt, p.asked, p.silent, p.mine = true, true, 2, 1, 2 }, admitted, unproven},
		"shared bucket, enough": {func(p *picture) { p.shared, p.doubt, p.asked, p.silent, p.mine = true, true, 3, 1, 3 }, zoneInDoubt, unproven},
	} {
		t.Run(name, func(t *testing.T) {
			p := base
			tt.change(&p)
			got := decide(&p)
			if got.why != tt.want || got.admit != (tt.want == admitted) || got.class != tt.class {
				t.Errorf("got %q (admit %v, class %d), want %q, class %d", whys[got.why], got.admit, got.class, whys[tt.want], tt.class)
			}
		})
	}
}

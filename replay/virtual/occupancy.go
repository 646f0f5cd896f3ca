package virtual

// Occupancy is the workers that are really busy, whatever a guard's books say.
type Occupancy struct {
	busy, worst         int
	zoneBusy, zoneWorst map[string]int
}

func newOccupancy() Occupancy {
	return Occupancy{zoneBusy: make(map[string]int), zoneWorst: make(map[string]int)}
}

// Busy is how many workers a zone keeps busy now.
func (o *Occupancy) Busy(zone string) int { return o.zoneBusy[zone] }

// Worst is how many workers a zone kept busy at worst, or ("") all together.
func (o *Occupancy) Worst(zone string) int {
	if zone == "" {
		return o.worst
	}
	return o.zoneWorst[zone]
}

func (o *Occupancy) occupy(zone string) {
	o.busy++
	o.zoneBusy[zone]++
	o.worst = max(o.worst, o.busy)
	o.zoneWorst[zone] = max(o.zoneWorst[zone], o.zoneBusy[zone])
}

func (o *Occupancy) release(zone string) {
	o.busy--
	o.zoneBusy[zone]--
}

package incidents

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// Switches yields the switches in force, each with the zone it is about: that
// of its store for a store's, and none for everything's.
type Switches = iter.Seq2[*maintenance.Switch, string]

// toldOneByOne is how many changes of stores' switches get a line each.
const toldOneByOne = 3

// wanted is what people want of one zone.
type wanted []*maintenance.Switch

// sample takes in the switches in force, if they have changed. Times are of
// now: the log is told of each change at once. Callers hold looking.
func (l *Log) sample(now time.Time) {
	if l.source.Switches == nil {
		return
	}
	version, switches := l.source.Switches(l.version)
	if l.version = version; switches == nil {
		return
	}
	zones := l.ongoingZones()
	if len(zones) == 0 {
		l.version = nil
		return
	}
	byZone := make(map[string]wanted, len(zones))
	for sw, zone := range switches {
		if sw.Scope == maintenance.All {
			for _, z := range zones {
				byZone[z] = append(byZone[z], sw)
			}
		} else {
			byZone[zone] = append(byZone[zone], sw)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, zone := range zones {
		if i := l.ongoing[zone]; i != nil && i.want(byZone[zone], now) {
			l.touch(i)
		}
	}
}

// want brings the incident's books and timeline in line with the switches in
// force. It reports whether anything has changed.
func (i *Incident) want(in wanted, now time.Time) (changed bool) {
	b := i.Books
	slices.SortFunc(in, compareKeys)
	next := make(map[string]bool, len(in))
	var on, off []*maintenance.Switch // of stores, newly so
	for _, sw := range in {
		key := sw.Key()
		next[key] = true
		old, known := b.Switches[key]
		d := desired{Full: sw.Mode == maintenance.Full, Store: sw.Scope == maintenance.Store, Except: len(sw.Except)}
		d.Mine = old.Mine || !began(sw).Before(i.Began)
		if known && old == d {
			continue
		}
		if !known && len(b.Switches) >= maxStores {
			i.StoresLeftOut++
			continue
		}
		changed = true
		b.Switches[key] = d
		switch {
		case d.Store && (!known || old.Full != d.Full):
			on = append(on, sw)
		case !d.Store && (!known || old.Full != d.Full):
			i.tellZoneSwitch(sw, d, now)
		case !d.Store && d.Except > old.Except:
			i.again(now, whatLetOut, fmt.Sprintf("%s let out of the maintenance of %s so far", stores(d.Except), sw.Target))
		}
	}
	for key, d := range b.Switches {
		if next[key] {
			continue
		}
		target, _ := maintenance.ParseKey(key)
		if changed = true; d.Store {
			off = append(off, &maintenance.Switch{Target: target})
		} else {
			i.note(now, whatSwitchOff, "", fmt.Sprintf("maintenance of %s is over", target))
		}
		delete(b.Switches, key)
	}
	if changed {
		i.tellStoreSwitches(on, off, now)
		i.setDesired(in, now)
	}
	return changed
}

func compareKeys(x, y *maintenance.Switch) int {
	switch kx, ky := x.Key(), y.Key(); {
	case kx < ky:
		return -1
	case kx > ky:
		return 1
	}
	return 0
}

// began is when a switch came into force.
func began(sw *maintenance.Switch) time.Time {
	if sw.From.After(sw.Since) {
		return sw.From
	}
	return sw.Since
}

func (i *Incident) tellZoneSwitch(sw *maintenance.Switch, d desired, now time.Time) {
	text := inMaintenance(sw.Target.String(), sw)
	if !d.Mine {
		text += " (since before this)"
	}
	i.note(now, whatSwitchOn, "", text)
}

// tellStoreSwitches tells which stores went into and out of maintenance.
func (i *Incident) tellStoreSwitches(on, off []*maintenance.Switch, now time.Time) {
	if len(on) > toldOneByOne {
		i.note(now, whatSwitchOn, "", inMaintenance(stores(len(on)), on[0]))
		on = nil
	}
	for _, sw := range on {
		i.note(now, whatSwitchOn, sw.Name, inMaintenance(sw.Target.String(), sw))
	}
	if len(off) > toldOneByOne {
		i.note(now, whatSwitchOff, "", "maintenance of "+stores(len(off))+" is over")
		off = nil
	}
	slices.SortFunc(off, compareKeys)
	for _, sw := range off {
		i.note(now, whatSwitchOff, sw.Name, fmt.Sprintf("maintenance of %s is over", sw.Target))
	}
}

func inMaintenance(what string, sw *maintenance.Switch) string {
	text := what + " put into maintenance"
	if sw.Mode == maintenance.ReadOnly {
		text = what + " made read-only"
	}
	if sw.By != "" {
		text += " by " + sw.By
	}
	if sw.Reason != "" {
		text += ": " + sw.Reason
	}
	return text
}

// setDesired records the stores that are refused because of maintenance.
func (i *Incident) setDesired(in wanted, now time.Time) {
	b := i.Books
	var whole []*maintenance.Switch // full, of the zone or everything
	dark := make(map[string]bool)
	for _, sw := range in {
		switch {
		case sw.Mode != maintenance.Full:
		case sw.Scope == maintenance.Store:
			dark[storeOff+sw.Name] = true
		default:
			whole = append(whole, sw)
		}
	}
	if len(whole) > 0 {
		dark[zoneOff] = true
		for _, store := range whole[0].Except {
			if exceptedByAll(whole[1:], store) {
				dark[storeFree+store] = true
			}
		}
	}
	for cause := range b.Open {
		if desiredCause(cause) && !dark[cause] {
			b.finish(cause, now)
		}
	}
	for cause := range dark {
		if !b.begin(cause, now) {
			i.StoresLeftOut++
		}
	}
}

func exceptedByAll(switches []*maintenance.Switch, store string) bool {
	for _, sw := range switches {
		if !sw.Excepts(store) {
			return false
		}
	}
	return true
}

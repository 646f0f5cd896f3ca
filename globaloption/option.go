package globaloption

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/directories"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/state"
)

// App is the app's settings as the option has them.
type App struct {
	config.App
	Directory, State json.RawMessage // modules
	Instance         string
	Incidents        *config.Incidents
}

// Parse reads the global option:
//
//	firebreak {
//	    workers         <number>
//	    workers         <number> per_server
//	    workers         auto
//	    server_status   auto|off
//	    server_status   fpm <url>
//	    server_status   puma <address> [<token>]
//	    server_status   uwsgi <address>
//	    server          <address> {
//	        workers <number>
//	        status  <as server_status>
//	    }
//	    server_check    <path or url> { ... }
//	    share           <part>|auto
//	    max_servers_out <percent>
//	    max_open_zones  <percent>
//	    instance       <name>
//	    directory      <source> ...
//	    state          <backend> ...
//	    check          <method> <path> { ... }
//	    incidents off
//	    incidents {
//	        keep <number>
//	        dir  <path>
//	    }
//	    zone <name>|* {
//	        timeout | slow_after | body_idle | window | max_wait <duration>
//	        open_time | open_time_max | abandon_after | hung_hold <duration>
//	        max_inflight <number>|<percent>
//	        max_streams | min_bad_stores <number>
//	        fail_status <code...>
//	        mode       enforce|observe
//	        on_timeout hold|cancel
//	        check tcp <address> [send <text>] [expect <text>]
//	        check http <url> [expect <text>]
//	        check redis <address> [send <command>] [expect <text>]
//	        check postgres|mysql <dsn> {
//	            every | timeout <duration>
//	        }
//	        store_check [<method> <path>] { ... }
//	    }
//	    store {
//	        records <number>
//	        open_time | open_time_max <duration>
//	    }
//	}
func Parse(d *caddyfile.Dispenser) (*App, error) {
	d.Next() // the option's name
	b := block{at: directive.NewBlock(d), zoneAt: make(map[string]*directive.Block)}
	if d.NextArg() {
		return nil, d.Errf("global option 'firebreak' takes a block and no value, but has '%s'", d.Val())
	}
	if err := appOptions.ParseBlock(d, b.at, &b); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return &b.app, nil
}

// block is the global option while it is read.
type block struct {
	app     App
	at      *directive.Block // the block itself
	storeAt *directive.Block
	checkAt *caddyfile.Dispenser

	repairAt *caddyfile.Dispenser
	zoneAt   map[string]*directive.Block
}

var appOptions = directive.Options[block]{Block: "firebreak", Known: map[string]directive.Option[block]{
	"workers":         {Usage: "workers 32", Min: 1, Max: 2, Set: setWorkers},
	"server_status":   serverStatus("server_status", func(b *block) **config.ServerStatus { return &b.app.ServerStatus }),
	"server":          {Block: parseServer, Repeats: true},
	"server_check":    {Block: parseServerCheck},
	"share":           {Usage: "share 1/3", Min: 1, Max: 1, Set: setShare},
	"max_servers_out": directive.Share("max_servers_out 50%", func(b *block) *float64 { return &b.app.MaxServersOut }),
	"max_open_zones":  directive.Share("max_open_zones 34%", func(b *block) *float64 { return &b.app.MaxOpenZones }),
	"instance":        {Usage: "instance web1", Min: 1, Max: 1, Set: setInstance},
	"directory":       {Block: parseDirectory},
	"state":           {Block: parseState},
	"incidents":       {Block: parseIncidents},
	"zone":            {Block: parseZone, Repeats: true},
	"check":           {Block: parseStoreCheck},
	"repair":          {Block: parseRepair},
	"store":           {Block: parseStore},
}}

func setShare(b *block, args []string) error {
	if _, err := config.ParseShare(args[0]); err != nil || args[0] == "" {
		return cmp.Or(err, errors.New("it is empty; write for example: share 1/3"))
	}
	b.app.Share = args[0]
	return nil
}

func parseZone(d *caddyfile.Dispenser, b *block) error {
	at := directive.NewBlock(d)
	names := d.RemainingArgs()
	if len(names) != 1 {
		return at.Errf("firebreak option 'zone' needs one name, but has %d; write for example: zone z7 { ... }, or zone * { ... } for all zones", len(names))
	}
	zone := config.Zone{Name: names[0]}
	if zone.Name != config.AllZones {
		if err := config.CheckZoneName(zone.Name); err != nil {
			return at.WrapErr(err)
		}
	}
	if b.zoneAt[zone.Name] != nil {
		return at.Errf("firebreak zone '%s' specified twice", zone.Name)
	}
	if err := zoneOptions.ParseBlock(d, at, &zone); err != nil {
		return err
	}
	b.zoneAt[zone.Name] = at
	b.app.Zones = append(b.app.Zones, zone)
	return nil
}

func parseStore(d *caddyfile.Dispenser, b *block) error {
	b.storeAt = directive.NewBlock(d)
	if d.NextArg() {
		return d.Errf("firebreak option 'store' takes no name ('%s'): its settings hold for every store", d.Val())
	}
	return storeOptions.ParseBlock(d, b.storeAt, &b.app.Store)
}

func parseDirectory(d *caddyfile.Dispenser, b *block) (err error) {
	b.app.Directory, err = guestModule{
		option: "directory", what: "source", namespace: directories.Namespace, example: "directory file stores.csv", names: directories.Names(),
	}.parse(d)
	return err
}

func parseState(d *caddyfile.Dispenser, b *block) (err error) {
	b.app.State, err = guestModule{
		option: "state", what: "backend", namespace: state.Namespace, example: "state redis localhost:6379", names: state.Names(),
	}.parse(d)
	return err
}

// guestModule is an option whose value is a module: directory, state.
type guestModule struct {
	option, what, namespace, example string
	names                            []string // of the modules there are
}

func (g guestModule) parse(d *caddyfile.Dispenser) (json.RawMessage, error) {
	at := directive.Here(d)
	if !d.NextArg() {
		return nil, at.Errf("firebreak option '%s' needs a %s (one of: %s); write for example: %s", g.option, g.what, strings.Join(g.names, ", "), g.example)
	}
	name := d.Val()
	id := g.namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return nil, at.Err(directive.Unrecognized("firebreak "+g.option, name, g.names))
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, g.what, name, nil), nil
}

func setInstance(b *block, args []string) error {
	if err := checkInstance(args[0]); err != nil {
		return err
	}
	b.app.Instance = args[0]
	return nil
}

// checkInstance keeps names short enough for tables and keys.
func checkInstance(name string) error {
	if len(name) > 100 || strings.ContainsFunc(name, unicode.IsSpace) {
		return fmt.Errorf("%q is no name for a sidecar: up to 100 bytes without spaces", name)
	}
	return nil
}

// check finds what does not fit together, and blames the block that is wrong:
// each zone is looked at alone, on top of the zone "*".
func (b *block) check() error {
	pool := b.app.App
	pool.Zones, pool.Check, pool.Repair = nil, nil, nil
	if err := storeError(pool.Store); err != nil {
		return b.storeAt.WrapErr(err)
	}
	if err := b.app.Check.Validate(); err != nil {
		return b.checkAt.WrapErr(fmt.Errorf("firebreak option 'check': %w", err))
	}
	if err := b.app.Repair.Validate(); err != nil {
		return b.repairAt.WrapErr(fmt.Errorf("firebreak option 'repair': %w", err))
	}
	pool.Check = b.app.Check
	baseAt := b.at
	for _, zone := range b.app.Zones {
		if zone.Name == config.AllZones {
			pool.Zones = []config.Zone{zone}
			baseAt = b.zoneAt[zone.Name]
		}
	}
	if _, err := pool.Policy(); err != nil {
		return baseAt.WrapErr(err)
	}
	base := pool.Zones
	for _, zone := range b.app.Zones {
		if zone.Name == config.AllZones {
			continue
		}
		pool.Zones = append(slices.Clone(base), zone)
		if _, err := pool.Policy(); err != nil {
			return b.zoneAt[zone.Name].WrapErr(err)
		}
	}
	return nil
}

// storeError is what is wrong with the settings of stores, whatever the zones
// say.
func storeError(s config.Store) error {
	_, err := (&config.App{Workers: 1, Store: s}).Policy()
	return err
}

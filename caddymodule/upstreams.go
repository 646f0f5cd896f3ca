package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/internal/upstream"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

func init() {
	caddy.RegisterModule(ZoneUpstreams{})
}

// ZoneUpstreams gives reverse_proxy the API servers of the zone that the
// firebreak handler before it has found, for API servers that run by zone. A
// store moves to other servers when the directory has moved it to
// another zone.
//
// A zone that is not named gets the default. Without one, and for requests that
// no firebreak handler has seen, reverse_proxy logs the reason and goes on with
// its own static upstreams; if it has none it answers 503.
type ZoneUpstreams struct {
	// The addresses of each zone's API servers. The zone "unknown" is that of
	// requests whose key names no store.
	Zones map[string][]string `json:"zones,omitempty"`

	// The addresses for all other requests.
	Default []string `json:"default,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (ZoneUpstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.firebreak",
		New: func() caddy.Module { return new(ZoneUpstreams) },
	}
}

// Provision checks the settings against the directory.
func (u *ZoneUpstreams) Provision(ctx caddy.Context) error {
	if err := u.check(); err != nil {
		return fmt.Errorf("upstreams firebreak: %w", err)
	}
	module, err := ctx.App("firebreak")
	if err != nil {
		return fmt.Errorf("loading the firebreak app: %w", err)
	}
	zones := module.(*App).Directory().Zones()
	if len(zones) == 0 {
		return nil // it cannot tell, or not yet
	}
	for _, name := range slices.Sorted(maps.Keys(u.Zones)) {
		if name != config.UnknownZone && !slices.Contains(zones, name) {
			ctx.Logger().Warn(telemetry.LogZoneNoUpstreams, zap.String(telemetry.FieldZone, name), zap.String("did_you_mean", directive.Nearest(name, zones)))
		}
	}
	return nil
}

func (u *ZoneUpstreams) check() error {
	if len(u.Zones) == 0 && len(u.Default) == 0 {
		return errors.New("no upstreams; write for example: dynamic firebreak { zone z1 10.0.0.1:9000 }")
	}
	for _, name := range slices.Sorted(maps.Keys(u.Zones)) {
		if err := checkUpstreamZone(name); err != nil {
			return err
		}
		if len(u.Zones[name]) == 0 {
			return fmt.Errorf("zone %s has no address", name)
		}
		if err := checkUpstreams(u.Zones[name]); err != nil {
			return fmt.Errorf("zone %s: %w", name, err)
		}
	}
	if err := checkUpstreams(u.Default); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

func checkUpstreamZone(name string) error {
	if name == config.UnknownZone {
		return nil
	}
	return config.CheckZoneName(name)
}

// checkUpstreams checks addresses. Those with placeholders in them are known
// only when a request comes.
func checkUpstreams(addresses []string) error {
	for _, address := range addresses {
		if strings.Contains(address, "{") {
			continue
		}
		const example = "write for example: 10.0.0.1:9000 or unix//run/api.sock (TLS is set in the block of the transport)"
		parsed, err := caddy.ParseNetworkAddress(address)
		if err != nil {
			return fmt.Errorf("%q is no address: %w; %s", address, err, example)
		}
		if !parsed.IsUnixNetwork() && (parsed.PortRangeSize() != 1 || parsed.StartPort == 0 || parsed.Host == "") {
			return fmt.Errorf("%q must be a host and one port; %s", address, example)
		}
	}
	return nil
}

// GetUpstreams returns the upstreams of the request's zone. It is called for
// every attempt, and returns fresh values since reverse_proxy writes into them.
func (u *ZoneUpstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	zone, seen := zoneOf(r)
	addresses, ok := u.Zones[zone]
	if !ok {
		addresses = u.Default
	}
	switch {
	case len(addresses) > 0:
	case !seen:
		return nil, errors.New("no zone is known: the request did not pass a firebreak handler; put the directive firebreak before this reverse_proxy, or give default upstreams")
	default:
		return nil, fmt.Errorf("zone %s has no upstreams, and there is no default", zone)
	}
	values := make([]reverseproxy.Upstream, len(addresses))
	upstreams := make([]*reverseproxy.Upstream, len(addresses))
	for i, address := range addresses {
		values[i].Dial = address
		upstreams[i] = &values[i]
	}
	return upstreams, nil
}

// servers are the addresses of the servers of all zones.
func (u *ZoneUpstreams) servers() []string {
	all := slices.Clone(u.Default)
	for _, addresses := range u.Zones {
		all = append(all, addresses...)
	}
	return upstream.Addresses(all)
}

// zoneOf is the zone that a firebreak handler has found for a request.
func zoneOf(r *http.Request) (string, bool) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return "", false
	}
	value, _ := repl.Get(placeholderZone)
	zone, ok := value.(*zoneText)
	if !ok {
		return "", false
	}
	return zone.zone, true
}

var upstreamOptions = directive.Options[ZoneUpstreams]{Block: "dynamic firebreak", Known: map[string]directive.Option[ZoneUpstreams]{
	"zone":    {Usage: "zone z1 10.0.0.1:9000", Min: 2, Max: -1, Repeats: true, Set: addZoneUpstreams},
	"default": {Usage: "default 10.0.0.9:9000", Min: 1, Max: -1, Set: setDefaultUpstreams},
}}

func addZoneUpstreams(u *ZoneUpstreams, args []string) error {
	name, addresses := args[0], args[1:]
	if err := checkUpstreamZone(name); err != nil {
		return err
	}
	if _, ok := u.Zones[name]; ok {
		return fmt.Errorf("zone '%s' specified twice", name)
	}
	if err := checkUpstreams(addresses); err != nil {
		return err
	}
	if u.Zones == nil {
		u.Zones = make(map[string][]string)
	}
	u.Zones[name] = addresses
	return nil
}

func setDefaultUpstreams(u *ZoneUpstreams, args []string) error {
	u.Default = args
	return checkUpstreams(args)
}

// UnmarshalCaddyfile reads
//
//	dynamic firebreak {
//	    zone    <name> <addresses...>
//	    default <addresses...>
//	}
func (u *ZoneUpstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // firebreak
	at := directive.Here(d)
	if d.NextArg() {
		return d.Errf("dynamic firebreak takes a block and no value, but has '%s'", d.Val())
	}
	if err := upstreamOptions.Parse(d, u); err != nil {
		return err
	}
	if err := u.check(); err != nil {
		return at.WrapErr(fmt.Errorf("dynamic firebreak: %w", err))
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*ZoneUpstreams)(nil)
	_ caddyfile.Unmarshaler       = (*ZoneUpstreams)(nil)
	_ reverseproxy.UpstreamSource = (*ZoneUpstreams)(nil)
)

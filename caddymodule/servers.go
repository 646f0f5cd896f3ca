package caddymodule

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/upstream"
)

// proxied is what one reverse_proxy handler sends requests to: the API servers it
// has among its upstreams. The guard's pool is the union over all of them.
//
// It is made when the handler's transport or selection policy is provisioned, and
// changes nothing until the app starts.
type proxied struct {
	handler *reverseproxy.Handler
	owner   string // for the guard

	mu        sync.Mutex // guards below
	guard     *breaker.Guard
	changed   func() // called after the guard was told of other servers
	addresses []string
}

// owners counts the handlers of all configurations.
var owners atomic.Uint64

// proxiedBy is the app's record of the reverse_proxy handler that a module is part
// of, or nil if it is part of none. Both a transport and a selection policy of the
// same handler get the same record.
func (a *App) proxiedBy(ctx caddy.Context) *proxied {
	handler := proxyOf(ctx)
	if handler == nil {
		return nil
	}
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	for _, p := range a.live.proxied {
		if p.handler == handler {
			return p
		}
	}
	p := &proxied{handler: handler, owner: fmt.Sprintf("reverse_proxy %d", owners.Add(1))}
	for _, u := range handler.Upstreams {
		p.addresses = append(p.addresses, u.Dial)
	}
	p.addresses = upstream.Addresses(p.addresses)
	a.live.proxied = append(a.live.proxied, p)
	return p
}

// follow tells the guard which servers there are, from now on.
func (p *proxied) follow(guard *breaker.Guard, changed func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guard, p.changed = guard, changed
	if zones, ok := p.handler.DynamicUpstreams.(*ZoneUpstreams); ok {
		p.addresses = zones.servers()
	}
	guard.SetServers(p.owner, p.addresses)
}

// unfollow takes back what the guard was told.
func (p *proxied) unfollow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.guard != nil {
		p.guard.ForgetServers(p.owner)
		p.guard = nil
	}
}

// neverChanges reports whether the handler has the same upstreams for ever.
func (p *proxied) neverChanges() bool { return p != nil && p.handler.DynamicUpstreams == nil }

// speaksFastCGI reports whether the handler speaks FastCGI to its upstreams.
func (p *proxied) speaksFastCGI() bool {
	transport := p.handler.Transport
	if ours, ok := transport.(*Transport); ok {
		transport = ours.via
	}
	_, ok := transport.(*fastcgi.Transport)
	return ok
}

// fastCGIServers are the servers that are spoken to in FastCGI.
func (a *App) fastCGIServers() map[string]bool {
	servers := make(map[string]bool)
	for _, p := range a.allProxied() {
		if !p.speaksFastCGI() {
			continue
		}
		p.mu.Lock()
		for _, address := range p.addresses {
			servers[address] = true
		}
		p.mu.Unlock()
	}
	return servers
}

// see takes in the addresses of all servers that a dynamic source has given.
func (p *proxied) see(addresses []string) {
	if p == nil || p.neverChanges() {
		return
	}
	if _, byZone := p.handler.DynamicUpstreams.(*ZoneUpstreams); byZone {
		return // these are one zone's; all are known
	}
	addresses = slices.Sorted(slices.Values(addresses))
	addresses = slices.Compact(addresses)
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(p.addresses, addresses) {
		return
	}
	p.addresses = addresses
	if p.guard != nil {
		p.guard.SetServers(p.owner, addresses)
		p.changed()
	}
}

// followServers makes the app's servers the guard's.
func (a *App) followServers() {
	for _, p := range a.allProxied() {
		p.follow(a.Guard(), a.serversChanged)
	}
	a.applyDrains()
}

// serversChanged is called when there are other servers than before.
func (a *App) serversChanged() {
	a.applyDrains()
	a.shared.watches.Follow(a.log, a.fastCGIServers())
}

// unfollowServers takes back what followServers has done.
func (a *App) unfollowServers() {
	for _, p := range a.allProxied() {
		p.unfollow()
	}
}

func (a *App) allProxied() []*proxied {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	return slices.Clone(a.live.proxied)
}

// drains is held while the operators' switches are applied to servers.
var drains sync.Mutex

// applyDrains tells the guard which servers are drained by a switch. It is called
// whenever the switches or the servers may have changed.
func (a *App) applyDrains() {
	a.live.mu.Lock()
	started := a.live.mine != nil
	a.live.mu.Unlock()
	if !started {
		return
	}
	drains.Lock()
	defer drains.Unlock()
	wanted := a.board.Draining()
	for _, server := range a.Guard().Servers() {
		if drained := wanted[server.Address] != nil; drained != server.Draining {
			a.Guard().DrainServer(server.Address, drained)
		}
	}
}

// listeners are the addresses that the servers of this configuration listen at.
func (a *App) listeners() (list []string) {
	a.live.mu.Lock()
	http := a.live.http
	a.live.mu.Unlock()
	if http == nil {
		return nil
	}
	for _, server := range http.Servers {
		for _, text := range server.Listen {
			if address, err := caddy.ParseNetworkAddress(text); err == nil {
				list = append(list, address.String())
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

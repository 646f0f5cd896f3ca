package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/flight"
	"github.com/firebreak-proxy/firebreak/internal/upstream"
)

func init() {
	caddy.RegisterModule(new(Selection))
}

// Selection is a selection policy of reverse_proxy: a request goes to the API
// server with the most free workers, by firebreak's own books, in which a worker
// is occupied until it has really answered. Servers that are out of service or
// drained get requests only if no other is left, and servers that are unhealthy by
// reverse_proxy's own checks get none.
//
// Requests that no firebreak handler has admitted go to the server with the fewest
// active requests, as with least_conn.
type Selection struct {
	proxied   *proxied
	pool      atomic.Pointer[knownPool]
	strangers reverseproxy.LeastConnSelection
}

// CaddyModule returns the Caddy module information.
func (*Selection) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.firebreak",
		New: func() caddy.Module { return new(Selection) },
	}
}

// Provision makes the handler's servers known to the firebreak app.
func (s *Selection) Provision(ctx caddy.Context) error {
	module, err := ctx.App("firebreak")
	if err != nil {
		return fmt.Errorf("lb_policy firebreak: loading the firebreak app: %w", err)
	}
	retryUnsent(proxyOf(ctx))
	s.proxied = module.(*App).proxiedBy(ctx)
	return nil
}

// UnmarshalCaddyfile reads
//
//	lb_policy firebreak
func (s *Selection) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // firebreak
	if d.NextArg() {
		return d.Errf("lb_policy firebreak takes no value, but has '%s'", d.Val())
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("lb_policy firebreak takes no block, but has '%s'", d.Val())
	}
	return nil
}

// knownPool is the addresses of a pool of upstreams.
type knownPool struct {
	dials   []string            // as they are configured, or as a dynamic source gives them
	servers *breaker.Candidates // by the addresses that the guard has
}

// Select chooses the server for a request. It is called for every attempt.
func (s *Selection) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	f := flight.Of(r.Context())
	if f == nil {
		return s.strangers.Select(pool, r, w)
	}
	i := f.PickServer(s.servers(pool, r), func(i int) bool { return pool[i].Available() })
	if i < 0 {
		return nil
	}
	return pool[i]
}

// servers are the servers of the pool, in its order.
func (s *Selection) servers(pool reverseproxy.UpstreamPool, r *http.Request) *breaker.Candidates {
	if known := s.pool.Load(); known != nil && (s.proxied.neverChanges() || known.is(pool)) {
		return known.servers
	}
	dials, addresses := make([]string, len(pool)), make([]string, len(pool))
	fixed := true
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for i, u := range pool {
		dials[i], addresses[i] = u.Dial, upstream.Address(u.Dial)
		if strings.Contains(u.Dial, "{") && repl != nil {
			fixed = false
			addresses[i] = upstream.Address(repl.ReplaceAll(u.Dial, ""))
		}
	}
	servers := breaker.NewCandidates(addresses)
	if fixed {
		s.pool.Store(&knownPool{dials, servers})
		s.proxied.see(addresses)
	}
	return servers
}

// is reports whether the pool is the known one.
func (k *knownPool) is(pool reverseproxy.UpstreamPool) bool {
	if len(pool) != len(k.dials) {
		return false
	}
	for i, u := range pool {
		if u.Dial != k.dials[i] {
			return false
		}
	}
	return true
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Selection)(nil)
	_ caddyfile.Unmarshaler = (*Selection)(nil)
	_ reverseproxy.Selector = (*Selection)(nil)
)

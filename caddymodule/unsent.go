package caddymodule

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// proxyOf is the reverse_proxy handler that a module is being provisioned for, or
// nil if there is none.
func proxyOf(ctx caddy.Context) *reverseproxy.Handler {
	for _, module := range slices.Backward(ctx.Modules()) {
		if h, ok := module.(*reverseproxy.Handler); ok {
			return h
		}
	}
	return nil
}

// anotherServer is how often a request that could not be sent is tried elsewhere.
// Policies that choose by chance may hit upon the same server several times.
const anotherServer = 30

// retryUnsent makes a reverse_proxy send a request to another server if no
// connection to the first could be made, whatever its method, unless retries are
// configured. What a server may have read is never sent again by this.
func retryUnsent(h *reverseproxy.Handler) {
	if h == nil || len(h.Upstreams) < 2 && h.DynamicUpstreamsRaw == nil {
		return
	}
	if h.LoadBalancing == nil {
		h.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	lb := h.LoadBalancing
	if lb.Retries != 0 || lb.TryDuration != 0 || lb.RetryMatchRaw != nil || lb.RetryMatch != nil {
		return
	}
	lb.Retries = anotherServer
	lb.RetryMatch = caddyhttp.MatcherSets{{neverMatch{}}}
}

// triesElsewhere reports whether retryUnsent holds for a reverse_proxy.
func triesElsewhere(h *reverseproxy.Handler) bool {
	if h == nil || h.LoadBalancing == nil || len(h.LoadBalancing.RetryMatch) != 1 {
		return false
	}
	never := h.LoadBalancing.RetryMatch[0]
	return len(never) == 1 && never[0] == neverMatch{}
}

// neverMatch matches no request. As a matcher of retries it keeps reverse_proxy from
// repeating a GET that a server may have read; failures to connect are not asked
// about.
type neverMatch struct{}

// MatchWithError returns false.
func (neverMatch) MatchWithError(*http.Request) (bool, error) { return false, nil }

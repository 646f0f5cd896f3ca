package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"

	"github.com/firebreak-proxy/firebreak/flight"
	"github.com/firebreak-proxy/firebreak/internal/http1"
)

func init() {
	caddy.RegisterModule(Transport{})
}

// fastcgiPatience bounds how long a FastCGI connection may be silent, unless
// read_timeout says otherwise: Caddy's FastCGI transport cannot be interrupted
// from outside, and must not wait for a dead worker for ever.
const fastcgiPatience = time.Hour

// Transport is a transport of reverse_proxy that sees when a worker is really
// free: it keeps waiting for the answer after the client was answered. It
// wraps one of Caddy's own transports, whose options it takes.
//
// Around http, requests that go over HTTP/1.1 without TLS, upgrade nothing and have
// no body, or one of at most 32 KB whose length is announced, go over connections
// of its own, which cost less; unless keep-alive is off, or connections, idle ones
// of all servers together or the time to the response's header are limited, or a
// proxy or the PROXY protocol is to be used.
//
// A request for which no connection to an upstream can be made goes to another one
// at once, whatever its method, unless lb_retries or lb_try_duration is set. So does one
// for which another policy than lb_policy firebreak has chosen a server that is out of
// service, drained or in doubt. One that an upstream may have read is not sent again.
//
// Behind a fastcgi transport a connection cannot be closed before its answer
// has begun: at abandon_after the slot ends, but the connection stays open
// until its read_timeout (default here: 1h), and on_timeout cancel ends a slot
// only when the worker has answered.
type Transport struct {
	// The transport that does the work, a module of the namespace
	// http.reverse_proxy.transport. Default: http.
	ViaRaw json.RawMessage `json:"via,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	via    http.RoundTripper
	name   string        // of via, as long as the Caddyfile is read
	simple *http1.Client // for requests that need no more; nil: via is for all

	elsewhere bool // whether a request that is not sent goes to another upstream
}

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.firebreak",
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision loads the transport that does the work.
func (t *Transport) Provision(ctx caddy.Context) error {
	noteTransport(ctx)
	if t.ViaRaw == nil {
		t.ViaRaw = caddyconfig.JSONModuleObject(new(reverseproxy.HTTPTransport), "protocol", "http", nil)
	}
	module, err := ctx.LoadModule(t, "ViaRaw")
	if err != nil {
		return fmt.Errorf("loading the transport to go via: %w", err)
	}
	switch via := module.(type) {
	case *Transport:
		return errors.New("transport firebreak cannot go via itself: name http or fastcgi")
	case *fastcgi.Transport:
		if via.ReadTimeout == 0 {
			via.ReadTimeout = caddy.Duration(fastcgiPatience)
		}
		t.via = via
	case *reverseproxy.HTTPTransport:
		t.via = via
		if via.ProxyProtocol == "" && slices.Contains(via.Versions, "1.1") {
			t.simple = http1.New(via.Transport)
		}
	case http.RoundTripper:
		t.via = via
	default:
		return fmt.Errorf("%T is no transport", module)
	}
	proxy := proxyOf(ctx)
	retryUnsent(proxy)
	t.elsewhere = triesElsewhere(proxy)
	if app, err := ctx.AppIfConfigured("firebreak"); err == nil {
		app.(*App).proxiedBy(ctx)
	}
	return nil
}

// Cleanup closes the connections that are idle.
func (t *Transport) Cleanup() error {
	if t.simple != nil {
		t.simple.Close()
	}
	return nil
}

// RoundTrip sends a request to the API server. Requests that no firebreak
// handler admitted, such as health checks, pass as if it were not there.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	f := flight.Of(r.Context())
	if f == nil {
		return t.via.RoundTrip(r)
	}
	return f.RoundTrip(r, t.elsewhere, t.send)
}

// send makes the round trip. One that is simple is made here, on this goroutine:
// what net/http's transport does for it would cost more than all of firebreak.
func (t *Transport) send(trip *flight.Trip, r *http.Request) (*http.Response, error) {
	if t.simple == nil {
		return t.via.RoundTrip(r)
	}
	t.via.(*reverseproxy.HTTPTransport).SetScheme(r)
	if !t.simple.Takes(r) {
		return t.via.RoundTrip(r)
	}
	return t.simple.Do(r, trip.Exchange())
}

// UnmarshalCaddyfile reads the transport, with the options of the one it goes
// via:
//
//	transport firebreak [http|fastcgi] {
//	    <options of that transport>
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // firebreak
	t.name = "http"
	if d.NextArg() {
		t.name = d.Val()
	}
	if t.name != "http" && t.name != "fastcgi" {
		return d.Errf("transport firebreak goes via 'http' or 'fastcgi', not '%s'", t.name)
	}
	if d.CountRemainingArgs() > 0 {
		return d.Err("transport firebreak takes one argument: http or fastcgi")
	}
	module, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport."+t.name)
	if err != nil {
		return err
	}
	var ok bool
	if t.via, ok = module.(http.RoundTripper); !ok {
		return d.Errf("'%s' is no transport", t.name)
	}
	t.encode()
	return nil
}

// encode makes JSON of via, which Caddy's Caddyfile parser may have changed.
func (t *Transport) encode() {
	t.ViaRaw = caddyconfig.JSONModuleObject(t.via, "protocol", t.name, nil)
}

// The following is asked of transports by reverse_proxy. Where the transport
// that does the work has nothing to say, the answer is what reverse_proxy
// takes for granted of transports that do not know the question.

// TLSEnabled says whether the API server is spoken to by TLS.
func (t *Transport) TLSEnabled() bool {
	via, ok := t.via.(reverseproxy.TLSTransport)
	return ok && via.TLSEnabled()
}

// EnableTLS makes the transport use TLS.
func (t *Transport) EnableTLS(base *reverseproxy.TLSConfig) error {
	via, ok := t.via.(reverseproxy.TLSTransport)
	if !ok {
		return fmt.Errorf("transport firebreak %s does not support TLS", t.name)
	}
	defer t.encode()
	return via.EnableTLS(base)
}

// EnableH2C makes the transport use HTTP/2 without TLS.
func (t *Transport) EnableH2C() error {
	via, ok := t.via.(reverseproxy.H2CTransport)
	if !ok {
		return fmt.Errorf("transport firebreak %s does not support h2c", t.name)
	}
	defer t.encode()
	return via.EnableH2C()
}

// ProxyProtocolEnabled says whether the PROXY protocol is spoken.
func (t *Transport) ProxyProtocolEnabled() bool {
	via, ok := t.via.(reverseproxy.ProxyProtocolTransport)
	return ok && via.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme sets the scheme of a health check.
func (t *Transport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if via, ok := t.via.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		via.OverrideHealthCheckScheme(base, port)
	}
}

// DefaultBufferSizes are the request's and the response's buffers.
func (t *Transport) DefaultBufferSizes() (request, response int64) {
	if via, ok := t.via.(reverseproxy.BufferedTransport); ok {
		return via.DefaultBufferSizes()
	}
	return 0, 0
}

// RequiresContentLength says whether bodies need an announced length.
func (t *Transport) RequiresContentLength() bool {
	via, ok := t.via.(reverseproxy.ContentLengthRequiredTransport)
	return ok && via.RequiresContentLength()
}

// RequestHeaderOps are changes to every request.
func (t *Transport) RequestHeaderOps() *headers.HeaderOps {
	if via, ok := t.via.(reverseproxy.RequestHeaderOpsTransport); ok {
		return via.RequestHeaderOps()
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddy.CleanerUpper                               = (*Transport)(nil)
	_ caddyfile.Unmarshaler                            = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.BufferedTransport                   = (*Transport)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
)

package caddymodule

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/internal/placeholder"
)

// Bypass lets operators through maintenance (never through a breaker), so that
// they can try a store before its clients come back. All conditions that it
// names must hold.
type Bypass struct {
	// Ranges of client addresses: 10.0.0.0/8, 192.0.2.7, or private_ranges.
	// The client's address is found as Caddy's trusted_proxies say.
	ClientIP []string `json:"client_ip,omitempty"`

	// A request header, and the secret it must hold, of at least 16 bytes. The
	// secret may be a placeholder such as {env.BYPASS_SECRET} or
	// {file./run/secrets/bypass}. The header is taken off every request, so
	// that no upstream sees it.
	Header string `json:"header,omitempty"`
	Secret string `json:"secret,omitempty"`
}

// leastSecret is how many bytes a secret must have.
const leastSecret = 16

// check says what is wrong, as far as that is known without the environment.
func (b *Bypass) check() error {
	if len(b.ClientIP) == 0 && b.Header == "" {
		return errors.New("it lets everybody through: name ranges of client addresses, or a header and its secret")
	}
	if (b.Header == "") != (b.Secret == "") {
		return errors.New("a header needs a secret, and a secret a header")
	}
	if b.Header != "" && !validHeaderName(b.Header) {
		return fmt.Errorf("%q is no name of a header", b.Header)
	}
	if b.Secret != "" && len(b.Secret) < leastSecret && !placeholder.Pattern.MatchString(b.Secret) {
		return fmt.Errorf("the secret has %d bytes; it must have at least %d: make one with openssl rand -hex 16", len(b.Secret), leastSecret)
	}
	_, err := b.prefixes()
	return err
}

// validHeaderName says that a header of this name reaches handlers: Caddy
// drops names with underscores and dots.
func validHeaderName(name string) bool {
	for _, c := range []byte(name) {
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return name != ""
}

func (b *Bypass) prefixes() (list []netip.Prefix, err error) {
	ranges := b.ClientIP
	if at := slices.Index(ranges, "private_ranges"); at >= 0 {
		ranges = slices.Concat(ranges[:at], caddyhttp.PrivateRangesCIDR(), ranges[at+1:])
	}
	for _, text := range ranges {
		prefix, err := caddyhttp.CIDRExpressionToPrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no range of addresses: write for example 10.0.0.0/8, 192.0.2.7 or private_ranges", text)
		}
		list = append(list, prefix)
	}
	return list, nil
}

// bypass is a Bypass made ready.
type bypass struct {
	prefixes []netip.Prefix
	header   string // canonical
	secret   [sha256.Size]byte
}

// ready fills in the secret's placeholders.
func (b *Bypass) ready() (bypass, error) {
	if err := b.check(); err != nil {
		return bypass{}, err
	}
	prefixes, _ := b.prefixes()
	ready := bypass{prefixes: prefixes, header: textproto.CanonicalMIMEHeaderKey(b.Header)}
	secret, err := caddy.NewReplacer().ReplaceOrErr(b.Secret, true, true)
	if err != nil {
		return ready, fmt.Errorf("the secret: %w", err)
	}
	if b.Header != "" && len(secret) < leastSecret {
		return ready, fmt.Errorf("the secret has %d bytes after its placeholders were filled in; it must have at least %d", len(secret), leastSecret)
	}
	ready.secret = sha256.Sum256([]byte(secret))
	return ready, nil
}

// bypasses are all of a handler's.
type bypasses []bypass

// allow says that a request may pass.
func (list bypasses) allow(r *http.Request, secrets []string) bool {
	for i := range list {
		if list[i].matches(r, secrets[i]) {
			return true
		}
	}
	return false
}

// strip takes the secrets off a request and returns them, one for each bypass.
// It is called for every request: a secret must not reach the upstream at any
// time.
func (list bypasses) strip(header http.Header) (secrets []string) {
	secrets = make([]string, len(list))
	for i := range list {
		if name := list[i].header; name != "" {
			if values := header[name]; len(values) > 0 {
				secrets[i] = values[0]
			}
		}
	}
	for i := range list {
		delete(header, list[i].header)
	}
	return secrets
}

func (b *bypass) matches(r *http.Request, secret string) bool {
	if b.header != "" {
		// Of hashes, so that not even the length takes its time.
		given := sha256.Sum256([]byte(secret))
		if subtle.ConstantTimeCompare(given[:], b.secret[:]) != 1 {
			return false
		}
	}
	return len(b.prefixes) == 0 || b.from(r)
}

func (b *bypass) from(r *http.Request) bool {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(b.prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

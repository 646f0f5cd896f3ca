// Package bypass lets operators through maintenance (never through a breaker), so that
// they can try a store before its clients come back.
package bypass

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/internal/placeholder"
)

// Bypass is who is let through maintenance. All conditions that it names must hold.
type Bypass struct {
	// Ranges of client addresses: 10.0.0.0/8, 192.0.2.7, or private_ranges.
	// The client's address is found as Caddy's trusted_proxies say.
	ClientIP []string `json:"client_ip,omitempty"`

	// The request header Proxy-Authorization, and the secret it must hold, of at
	// least 16 bytes, as it is or behind "Bearer ". The secret may be a placeholder
	// such as {env.BYPASS_SECRET} or {file./run/secrets/bypass}. Other headers
	// cannot be used: Caddy would write the secret into its logs.
	Header string `json:"header,omitempty"`
	Secret string `json:"secret,omitempty"`
}

// header is the header that a secret is sent in: Caddy redacts it in its logs,
// and reverse_proxy passes it on in no route, also where there is no firebreak.
const header = "Proxy-Authorization"

// leastSecret is how many bytes a secret must have.
const leastSecret = 16

// Check says what is wrong, as far as that is known without the environment.
func (b *Bypass) Check() error {
	if len(b.ClientIP) == 0 && b.Header == "" {
		return errors.New("it lets everybody through: name ranges of client addresses, or a header and its secret")
	}
	if (b.Header == "") != (b.Secret == "") {
		return errors.New("a header needs a secret, and a secret a header")
	}
	if b.Header != "" && !strings.EqualFold(b.Header, header) {
		return fmt.Errorf("the header is %q: it must be %s, which Caddy keeps out of its logs and does not pass on", b.Header, header)
	}
	if b.Secret != "" && len(b.Secret) < leastSecret && !placeholder.Pattern.MatchString(b.Secret) {
		return fmt.Errorf("the secret has %d bytes; it must have at least %d: make one with openssl rand -hex 16", len(b.Secret), leastSecret)
	}
	_, err := b.prefixes()
	return err
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

// rule is a Bypass made ready.
type rule struct {
	prefixes []netip.Prefix
	secret   [sha256.Size]byte
	secured  bool // a secret is needed
}

// ready fills in the secret's placeholders.
func (b *Bypass) ready() (rule, error) {
	if err := b.Check(); err != nil {
		return rule{}, err
	}
	prefixes, _ := b.prefixes()
	ready := rule{prefixes: prefixes, secured: b.Header != ""}
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

// Rules are all of a handler's.
type Rules []rule

// New makes a handler's rules ready, the placeholders in their secrets filled in.
func New(list []Bypass) (Rules, error) {
	rules := make(Rules, 0, len(list))
	for i := range list {
		ready, err := list[i].ready()
		if err != nil {
			return nil, fmt.Errorf("bypass %d: %w", i+1, err)
		}
		rules = append(rules, ready)
	}
	return rules, nil
}

// Allow reports whether a request that carries this secret may pass.
func (list Rules) Allow(r *http.Request, secret string) bool {
	for i := range list {
		if list[i].matches(r, secret) {
			return true
		}
	}
	return false
}

// TakeSecret takes the secret off a request and returns it; "" if there is none. It
// is called for every request and by every handler: a secret must not reach
// handlers, logs or API servers behind it at any time.
func TakeSecret(from http.Header) string {
	values := from[header]
	if len(values) == 0 {
		return ""
	}
	delete(from, header)
	return strings.TrimPrefix(values[0], "Bearer ")
}

func (b *rule) matches(r *http.Request, secret string) bool {
	if b.secured {
		// Of hashes, so that not even the length takes its time.
		given := sha256.Sum256([]byte(secret))
		if subtle.ConstantTimeCompare(given[:], b.secret[:]) != 1 {
			return false
		}
	}
	return len(b.prefixes) == 0 || b.from(r)
}

func (b *rule) from(r *http.Request) bool {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(b.prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

package flight

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// PickServer chooses a server for the next attempt, by its index, or returns -1 if
// none is left. available reports whether a server may be chosen.
func (f *Flight) PickServer(servers *breaker.Candidates, available func(i int) bool) int {
	addresses := servers.Addresses()
	i := f.slot.PickServer(servers, func(i int) bool {
		return !slices.Contains(f.notSent, addresses[i]) && available(i)
	})
	if i >= 0 {
		f.server = addresses[i]
	}
	return i
}

// mostDeclined is how often a request is not sent to the server that a policy has
// chosen. Then it is sent there: the policy may know no other.
const mostDeclined = 8

var errDeclined = errors.New("firebreak: the server is out of service, drained or in doubt: another one is chosen")

// declines reports whether another server should be chosen than the one that a policy
// of reverse_proxy's own has chosen. To reverse_proxy that is as if no connection could
// be made.
func (f *Flight) declines(r *http.Request) bool {
	info, ok := reverseproxy.GetDialInfo(r.Context())
	if !ok || f.declined >= mostDeclined {
		return false
	}
	address := addressOf(info)
	if address == f.server || !f.slot.Declines(address) {
		return false
	}
	f.declined++
	return true
}

// sendTo books the slot on the server that the request goes to, unless PickServer
// has done so. It returns the server's address, "" if it is not known.
func (f *Flight) sendTo(r *http.Request) string {
	info, ok := reverseproxy.GetDialInfo(r.Context())
	if !ok {
		return ""
	}
	address := addressOf(info)
	if address != f.server {
		f.server = address
		f.slot.Sent(address)
	}
	return address
}

// unsent notes that no connection to a server could be made. The deadline ends
// dialling too, and says nothing of the server.
func (f *Flight) unsent(address string) {
	if address == "" || f.cause() != nil {
		return
	}
	f.slot.NotSent(address)
	f.server = ""
	f.notSent = append(f.notSent, address)
}

// addressOf is the address of the server that a request is about to be sent to.
func addressOf(d reverseproxy.DialInfo) string {
	if d.Network == "tcp" || d.Network == "" {
		return d.Address
	}
	return d.Network + "/" + d.Address
}

// isDialError reports whether no connection to the API server was made.
func isDialError(err error) bool {
	var dialErr reverseproxy.DialError
	return errors.As(err, &dialErr)
}

package caddymodule

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/upload"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
)

// receiveAhead is how much of a request's body is received before a slot is asked
// for: no worker is occupied by a client that is slow to send it.
const receiveAhead = 32 << 10

// receiving bounds the requests that are being received. It belongs to the
// process, as its memory does.
var receiving = upload.NewLimiter(
	upload.Bounds{Requests: 4096, Bytes: 32 << 20},
	upload.Bounds{Requests: 256, Bytes: 4 << 20},
)

// receive receives the request's body ahead. It reports false if the request is to
// be refused.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, a *admission) bool {
	if a.received || !receivable(r) {
		return true
	}
	a.received = true
	if a.reason = h.receiveBody(w, r, a); a.reason == "" {
		return true
	}
	if r.ProtoMajor == 1 {
		// Else net/http reads the rest of the body before it sends the answer.
		w.Header()["Connection"] = []string{"close"}
	}
	return false
}

// receiveBody receives the request's body ahead, or returns why it does not.
func (h *Handler) receiveBody(w http.ResponseWriter, r *http.Request, a *admission) breaker.Reason {
	room := int64(receiveAhead)
	if r.ContentLength > 0 {
		room = min(room, r.ContentLength)
	}
	client := upload.Client(clientAddr(r))
	if err := receiving.Take(client, room); err != nil {
		h.meters.Uploads.Inc()
		if errors.Is(err, upload.ErrClient) {
			return refusal.ReasonTooManyUploads
		}
		return breaker.ReasonBusy
	}
	defer receiving.Give(client, room)
	var err error
	if a.body, err = upload.Receive(w, r, receiveAhead, h.patience(a)); err != nil {
		h.meters.SlowRequests.Inc()
		return refusal.ReasonSlowRequest
	}
	return ""
}

// patience is how long a client may go without progress.
func (h *Handler) patience(a *admission) time.Duration {
	if h.Timeout > 0 {
		return time.Duration(h.Timeout)
	}
	if zone, ok := h.policy.Zones[a.zone]; ok {
		return zone.Timeout
	}
	return h.policy.Default.Timeout
}

// receivable reports whether the request has a body that can be received ahead:
// the clients of the others may wait for an answer before they send all of it.
func receivable(r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return false
	}
	if r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0 {
		return false
	}
	contentType := r.Header.Get("Content-Type")
	return !strings.HasPrefix(contentType, "application/grpc") && !strings.HasPrefix(contentType, "application/connect+")
}

// readsBodies reports whether keys are looked for in bodies.
func readsBodies(keys []routing.KeySpec) bool {
	for i := range keys {
		if keys[i].From == routing.FromJSON || keys[i].From == routing.FromForm {
			return true
		}
	}
	return false
}

// clientAddr is the client's address as Caddy's trusted_proxies have it; the zero
// address if it has none, as over a Unix socket.
func clientAddr(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if text == "" {
		text, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	addr, _ := netip.ParseAddr(text)
	return addr
}

package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
)

// explainAnswer is what would happen to a request now, for each firebreak
// directive of the configuration: which one a request meets depends on the
// site and its matchers.
type explainAnswer struct {
	Method   string           `json:"method"`
	URL      string           `json:"url"`
	Handlers []explainHandler `json:"handlers"`
}

type explainHandler struct {
	Keys     []string         `json:"keys"` // where this directive looks for the key
	Unknown  string           `json:"unknown"`
	Timeout  string           `json:"timeout,omitempty"` // until the first byte
	Key      string           `json:"key,omitempty"`
	FoundBy  string           `json:"found_by,omitempty"` // which of the keys it is
	Store    string           `json:"store,omitempty"`
	Zone     string           `json:"zone,omitempty"`
	ZoneInfo *explainZoneInfo `json:"zone_state,omitempty"`
	verdict
}

type explainZoneInfo struct {
	State    string `json:"state"`
	Evidence string `json:"evidence,omitempty"`
}

func adminExplain(a *API, r *http.Request) (any, error) {
	request, err := explainRequest(r)
	if err != nil {
		return nil, err
	}
	handlers := a.Handlers()
	if len(handlers) == 0 {
		return nil, apiError(http.StatusNotFound, "no firebreak directive in the running configuration: add one to a site; write for example: firebreak { key header X-API-Key }")
	}
	answer := explainAnswer{Method: request.Method, URL: request.URL.String()}
	for i := range handlers {
		// Looking for a key reads the body: each look takes a request of its
		// own.
		request, _ := explainRequest(r)
		answer.Handlers = append(answer.Handlers, a.explain(&handlers[i], request))
	}
	return answer, nil
}

// explainRequest makes the request that is asked about:
// ?url=/search?key=k1&method=POST&header=X-API-Key:k1&body={"key":"k1"}.
func explainRequest(r *http.Request) (*http.Request, error) {
	query := r.URL.Query()
	target, err := url.Parse(query.Get("url"))
	if err != nil || query.Get("url") == "" {
		return nil, apiError(http.StatusBadRequest, "the parameter url is missing or no URL; write for example: /firebreak/explain?url=%%2Fsearch%%3Fkey%%3Dk1")
	}
	method := strings.ToUpper(query.Get("method"))
	if method == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(r.Context(), method, target.String(), strings.NewReader(query.Get("body")))
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "no such request: %v", err)
	}
	request.RequestURI = target.RequestURI()
	request.RemoteAddr = r.RemoteAddr
	for _, header := range query["header"] {
		name, value, ok := strings.Cut(header, ":")
		if !ok {
			return nil, apiError(http.StatusBadRequest, "the parameter header=%s has no colon; write for example: header=X-API-Key:k1", header)
		}
		request.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	return request, nil
}

// explain asks one handler.
func (a *API) explain(h *Handler, request *http.Request) explainHandler {
	answer := explainHandler{Unknown: "pass"}
	if h.RefuseUnknown {
		answer.Unknown = "refuse"
	}
	for _, key := range h.Keys {
		answer.Keys = append(answer.Keys, key.String())
	}
	request = prepareExplained(request)
	key, why := a.explainKey(h, request, &answer)
	if answer.Verdict != "" {
		return answer
	}
	route, ok := routing.Locate(request.Context(), a.Directory, key)
	if key != "" && ok {
		a.judge(&answer, route, h, request.Method)
		return answer
	}
	if key != "" {
		why = fmt.Sprintf("no store has the key %q", key)
	}
	if h.RefuseUnknown {
		answer.verdict = verdict{Verdict: "refused", Reason: refusal.ReasonUnknownStore, Why: why + ", and unknown requests are refused here"}
		return answer
	}
	a.judge(&answer, routing.Route{Store: routing.UnknownStore, Zone: config.UnknownZone}, h, request.Method)
	answer.Why = why + "; it shares the limits of zone unknown: " + answer.Why
	return answer
}

// explainKey finds the key of a request. If there is none, it says why, or
// gives the verdict if there is one already.
func (a *API) explainKey(h *Handler, request *http.Request, answer *explainHandler) (key, why string) {
	if h.Extractor == nil {
		return "", "no key in the request"
	}
	key, source, err := h.Extractor.Find(request)
	var ambiguous *routing.AmbiguousError
	switch {
	case errors.As(err, &ambiguous):
		answer.FoundBy = ambiguous.Key.String()
		if ambiguous.Refuse && !h.ObservesUnknown {
			answer.verdict = a.ambiguousVerdict(ambiguous, request.Method)
		}
		return "", ambiguous.Detail()
	case err != nil:
		answer.verdict = verdict{Verdict: "unknown", Why: "reading the key failed: " + err.Error()}
		return "", ""
	case key == "":
		return "", "no key in the request"
	}
	answer.Key, answer.FoundBy = key, h.Keys[source].String()
	return key, ""
}

// ambiguousVerdict is that on a request that is refused for its key, unless it
// is in maintenance all the same.
func (a *API) ambiguousVerdict(why *routing.AmbiguousError, method string) verdict {
	v := a.verdict(routing.Route{Zone: config.UnknownZone}, method)
	if v.Reason == refusal.ReasonMaintenance {
		return v
	}
	return verdict{Verdict: "refused", Reason: refusal.ReasonAmbiguousKey, Why: why.Detail()}
}

// prepareExplained gives a request what Caddy's server gives it.
func prepareExplained(request *http.Request) *http.Request {
	return caddyhttp.PrepareRequest(request, caddy.NewReplacer(), new(discardWriter), new(caddyhttp.Server))
}

func (a *API) judge(answer *explainHandler, route routing.Route, h *Handler, method string) {
	zone := a.Policy.Zone(route.Zone)
	timeout := zone.Timeout
	if h.Timeout > 0 {
		timeout = h.Timeout
	}
	status := a.zoneStatus(route.Zone)
	answer.Store, answer.Zone, answer.Timeout = route.Store, route.Zone, timeout.String()
	answer.ZoneInfo = &explainZoneInfo{State: status.State.String(), Evidence: status.Evidence}
	answer.verdict = a.verdict(route, method)
}

// discardWriter is the response of a request that is only asked about.
type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(int)             {}

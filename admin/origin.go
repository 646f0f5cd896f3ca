package admin

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/firebreak-proxy/firebreak/internal/shorten"
)

// refuseForeign refuses changes that a page of somebody else made a browser
// ask for. Caddy refuses requests with the Origin of another page, and those
// for another Host unless it listens on every interface. Left open are browsers
// that send no Origin, requests through a proxy that takes the header away, and
// whatever Caddy may come to allow; all that is closed here, for every route.
//
// Programs are let through: they send none of a browser's headers.
func refuseForeign(r *http.Request) error {
	if slices.Contains(reads, r.Method) {
		return nil
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "same-origin":
		return nil
	case "", "none": // "none" is the person at the browser
	default:
		return foreign("Sec-Fetch-Site is " + site)
	}
	for _, header := range []string{"Origin", "Referer"} {
		text := r.Header.Get(header)
		if text == "" {
			continue
		}
		if from, err := url.Parse(text); err != nil || !strings.EqualFold(from.Host, r.Host) {
			return foreign(header + " is " + shorten.To(text, maxShown) + ", Host is " + shorten.To(r.Host, maxShown))
		}
		return nil
	}
	// Nothing says where it comes from. A page can send JSON elsewhere only
	// after it has asked (a preflight), which is answered with 405.
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if strings.HasPrefix(r.Header.Get("User-Agent"), "Mozilla/") && media != "application/json" {
		return apiError(http.StatusUnsupportedMediaType, "a browser must send Content-Type: application/json to change something")
	}
	return nil
}

// maxShown is how much of a header is shown in an error.
const maxShown = 200

func foreign(why string) error {
	return apiError(http.StatusForbidden, "only a page of this endpoint itself may change something here, and this comes from another one (%s)", why)
}

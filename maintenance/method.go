package maintenance

import "net/http"

// Refuses reports whether the switch refuses requests of a method.
func (s *Switch) Refuses(method string) bool {
	if s.Mode != ReadOnly {
		return true
	}
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

package zonecheck

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// tagsOf writes a query of a request, as many API servers do and as some do wrongly. It
// reports whether the query names that request, and no other.
func tagsOf(random *rand.Rand, d Dialect, request, other string) (query string, sure bool) {
	name := func(id string) string { return "/*request='" + id + "'*/ " }
	odd := []string{"O'Reilly", "*/ SELECT 1 --", "a\\'b", "日本", "%2A%2F", "--", "$$", "\x00", "', request='" + other}[random.IntN(9)]
	escaped := url.PathEscape(strings.ReplaceAll(odd, "'", "%27"))
	switch random.IntN(12) {
	case 0:
		return name(request) + "SELECT 1", true
	case 1:
		return "/*store='" + escaped + "',request='" + request + "'*/ SELECT '" + strings.ReplaceAll(strings.ReplaceAll(odd, `\`, `\\`), "'", "''") + "'", true
	case 2:
		return name(request) + "SELECT 1 " + name(request), true
	case 3: // missing
		return "SELECT 1", false
	case 4: // cut off
		return "/*store='" + escaped + "',request='" + request + "'*"[:random.IntN(3)], false
	case 5: // in a literal
		return "SELECT '" + strings.ReplaceAll(name(request), "'", "''") + "'", false
	case 6: // two
		return name(other) + name(request) + "SELECT 1", false
	case 7:
		return "/*request='" + request + "',request='" + other + "'*/ SELECT 1", false
	case 8: // an identifier
		quote := "\""
		if d.mysql {
			quote = "`"
		}
		return "SELECT 1 AS " + quote + name(request) + quote, false
	case 9: // empty
		return name("") + "SELECT 1", false
	case 10: // another key
		return "/*prequest='" + request + "', requests='" + request + "'*/ SELECT 1", false
	default: // a store that calls itself like one
		return "/*store='" + url.PathEscape("x',request='"+request) + "'*/ SELECT 1", false
	}
}

// TestOnlyTheQueryOfTheRequestIsCancelled: of a hundred thousand queries with missing,
// doubled, foreign and odd tags those are chosen that name one request that hangs, and
// no other.
func TestOnlyTheQueryOfTheRequestIsCancelled(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	tried, chosen := 0, 0
	for tried < 100_000 {
		for _, dialect := range []Dialect{PostgreSQL, MySQL} {
			finder, err := NewFinder(nil, dialect)
			if err != nil {
				t.Fatal(err)
			}
			var sessions []Session
			want := make(map[string]int) // the only session that is known to be of the request
			named := make(map[string]int)
			for i := range 1 + random.IntN(20) {
				request, other := fmt.Sprintf("R%d", random.IntN(15)), fmt.Sprintf("F%d", random.IntN(15))
				s := Session{ID: i, State: "active", Ran: 3 * time.Second}
				var sure bool
				s.Query, sure = tagsOf(random, dialect, request, other)
				brief := random.IntN(4) == 0
				if brief {
					s.Ran = time.Millisecond
				}
				if sure {
					named[request]++
					want[request] = i
					if brief {
						want[request] = -1
					}
				}
				sessions = append(sessions, s)
				tried++
			}
			for request, s := range requestsOf(sessions, finder, 2*time.Second) {
				chosen++
				if id, ok := want[request]; !ok || id != s.ID || named[request] != 1 {
					t.Fatalf("%q is cancelled for request %s", s.Query, request)
				}
				delete(want, request)
			}
			for request, id := range want {
				if id >= 0 && named[request] == 1 {
					t.Fatalf("%q is not cancelled for request %s, among %q", sessions[id].Query, request,
						slices.Collect(func(yield func(string) bool) {
							for i := range sessions {
								yield(sessions[i].Query)
							}
						}))
				}
			}
		}
	}
	if chosen < tried/20 {
		t.Errorf("of %d queries %d are chosen", tried, chosen)
	}
}

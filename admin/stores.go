package admin

import (
	"net/http"
	"strings"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/routing"
)

// storesAnswer is a page of the stores of a zone, in the directory's order.
type storesAnswer struct {
	Zone   string     `json:"zone"`
	Total  int        `json:"total"`  // of the zone
	Stores []storeRow `json:"stores"` // of this page
	Next   string     `json:"next,omitempty"`
}

type storeRow struct {
	Store       string        `json:"store"`
	State       breaker.State `json:"state"`
	Hung        int           `json:"hung,omitempty"`
	Maintenance bool          `json:"maintenance"` // a switch holds for it
}

const usualStores = 100

// adminStores serves /firebreak/zones/{zone}/stores?after=&limit=&match=.
func adminStores(a *API, r *http.Request) (any, error) {
	zone, query := r.PathValue("zone"), r.URL.Query()
	if err := a.checkKnownZone(zone); err != nil {
		return nil, err
	}
	limit, err := pageSize(query.Get("limit"), usualStores)
	if err != nil {
		return nil, err
	}
	lister, ok := a.Directory.(routing.Lister)
	if !ok {
		return nil, apiError(http.StatusNotFound, "the directory cannot list its stores; ask for one: GET /firebreak/stores/{store}")
	}
	answer := storesAnswer{Zone: zone, Stores: []storeRow{}}
	after, match := query.Get("after"), strings.ToLower(query.Get("match"))
	passed := after == ""
	lister.EachStore(zone, func(store string) bool {
		answer.Total++
		switch {
		case !passed:
			passed = store == after
		case match != "" && !strings.Contains(strings.ToLower(store), match):
		case len(answer.Stores) < limit:
			answer.Stores = append(answer.Stores, storeRow{Store: strings.Clone(store)})
		case answer.Next == "":
			answer.Next = answer.Stores[limit-1].Store
		}
		return true
	})
	if !passed {
		return nil, apiError(http.StatusGone, "the store %q, after which the next page begins, is no longer in the zone; begin anew", after)
	}
	a.fillRows(zone, answer.Stores)
	return answer, nil
}

func (a *API) fillRows(zone string, rows []storeRow) {
	for i := range rows {
		row := &rows[i]
		status := a.Guard.Store(zone, row.Store)
		row.State, row.Hung = status.State, status.Hung
		row.Maintenance = a.Board.Lookup(zone, row.Store) != nil
	}
}

// adminFleet serves /firebreak/fleet: all sidecars that share the state.
func adminFleet(a *API, r *http.Request) (any, error) {
	return a.fleet(r.Context()), nil
}

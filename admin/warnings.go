package admin

import (
	"fmt"
	"slices"
)

// mostWarnings bounds what dashboards are sent.
const mostWarnings = 20

// warnings are what is set wrong, or cannot be checked, in words.
func (a *API) warnings() []string {
	var list []string
	if a.Warnings != nil {
		list = slices.Clone(a.Warnings())
	}
	for _, server := range a.Guard.Servers() {
		switch m := server.Measured; {
		case m == nil:
		case m.Wrong != "":
			list = append(list, fmt.Sprintf("server %s: %s; write into the firebreak settings: %s", server.Address, m.Wrong, m.Write))
		case m.Problem != "":
			list = append(list, fmt.Sprintf("server %s: how busy it is cannot be read, so its number of workers is not checked: %s", server.Address, m.Problem))
		}
	}
	return list[:min(len(list), mostWarnings)]
}

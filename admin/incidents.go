package admin

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/internal/accept"
	"github.com/firebreak-proxy/firebreak/internal/directive"
)

// incidentsAnswer is a page of incidents.
type incidentsAnswer struct {
	Incidents []incidents.Incident `json:"incidents"`         // without their lists, newest first
	Next      string               `json:"next,omitempty"`    // for ?after=, if there are more
	Problem   string               `json:"problem,omitempty"` // why they cannot be kept or read
}

func (a *API) needIncidents() (Incidents, error) {
	if log := a.Incidents(); log != nil {
		return log, nil
	}
	return nil, apiError(http.StatusNotFound, "no incidents are kept: the configuration says incidents off")
}

func adminIncidents(a *API, r *http.Request) (any, error) {
	log, err := a.needIncidents()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	limit, err := pageSize(query.Get("limit"), 50)
	if err != nil {
		return nil, err
	}
	answer := incidentsAnswer{}
	answer.Incidents, answer.Next, err = log.List(incidents.Query{Zone: query.Get("zone"), Server: canonicalServer(query.Get("server")), After: query.Get("after"), Limit: limit})
	if err != nil {
		return nil, apiError(http.StatusNotFound, "no incident %q to go on after; begin anew without after", query.Get("after"))
	}
	if problem := log.Problem(); problem != nil {
		answer.Problem = problem.Error()
	}
	return answer, nil
}

// adminIncident answers with one incident, as JSON, markdown or CSV.
func adminIncident(w http.ResponseWriter, r *http.Request, a *API) error {
	log, err := a.needIncidents()
	if err != nil {
		return err
	}
	format, err := incidentFormat(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	found, err := log.Get(id)
	if errors.Is(err, incidents.ErrUnknown) {
		return apiError(http.StatusNotFound, "no incident %q; GET /firebreak/incidents lists them", id)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Vary", "Accept")
	switch format {
	case formatMarkdown:
		w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
		_, _ = w.Write([]byte(found.Markdown()))
	case formatCSV:
		var body bytes.Buffer
		if err := found.WriteCSV(&body); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		w.Header().Set("Content-Disposition", `attachment; filename="firebreak-`+found.ID+`.csv"`)
		_, _ = w.Write(body.Bytes())
	default:
		writeJSON(w, http.StatusOK, &found)
	}
	return nil
}

// The formats of an incident.
const (
	formatJSON     = "json"
	formatMarkdown = "markdown"
	formatCSV      = "csv"
)

var incidentMedia = map[string]string{
	"application/json": formatJSON, "application/*": formatJSON, "*/*": formatJSON,
	"text/markdown": formatMarkdown, "text/*": formatMarkdown, "text/plain": formatMarkdown,
	"text/csv": formatCSV,
}

// incidentFormat is what the query says, or else what is accepted most.
func incidentFormat(r *http.Request) (string, error) {
	if format := r.URL.Query().Get("format"); format != "" {
		for _, known := range []string{formatJSON, formatMarkdown, formatCSV} {
			if format == known {
				return format, nil
			}
		}
		return "", apiError(http.StatusBadRequest, "%s", directive.Unrecognized("format", format, []string{formatCSV, formatJSON, formatMarkdown}))
	}
	best, most := formatJSON, 0.0
	for _, line := range r.Header["Accept"] {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			format, ok := incidentMedia[strings.ToLower(strings.TrimSpace(name))]
			if q := accept.Quality(params); ok && q > most {
				best, most = format, q
			}
		}
	}
	return best, nil
}

package admin

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/internal/directive"

	"github.com/firebreak-proxy/firebreak/recovery"
)

// workAnswer is the work list, what waits longest first.
type workAnswer struct {
	Work []recovery.WorkItem `json:"work"`
}

// adminWork serves /firebreak/work.
func adminWork(w http.ResponseWriter, r *http.Request, a *API) error {
	query := r.URL.Query()
	format := query.Get("format")
	if formats := []string{formatCSV, formatJSON}; format != "" && !slices.Contains(formats, format) {
		return apiError(http.StatusBadRequest, "%s", directive.Unrecognized("format", format, formats))
	}
	items := a.Jobs.Work()
	if zone := query.Get("zone"); zone != "" {
		items = slices.DeleteFunc(items, func(i recovery.WorkItem) bool { return i.Zone != zone })
	}
	if format != formatCSV {
		writeJSON(w, http.StatusOK, workAnswer{items})
		return nil
	}
	body, err := workCSV(items)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="firebreak-work.csv"`)
	_, _ = w.Write(body)
	return nil
}

// workCSV is the work list for a spreadsheet, which takes no name in it for a
// formula.
func workCSV(items []recovery.WorkItem) ([]byte, error) {
	var body bytes.Buffer
	out := csv.NewWriter(&body)
	_ = out.Write([]string{"store", "zone", "state", "claimed_by", "since", "attempts", "repair", "reason", "last_note", "recovery"})
	for i := range items {
		item := &items[i]
		note := ""
		if n := len(item.Notes); n > 0 {
			note = item.Notes[n-1].Text
		}
		_ = out.Write([]string{
			incidents.Cell(item.Store), incidents.Cell(item.Zone), item.State, incidents.Cell(item.ClaimedBy), item.Since.Format(time.RFC3339),
			strconv.Itoa(item.Attempts), item.Repair, incidents.Cell(item.Reason), incidents.Cell(note), item.Recovery,
		})
	}
	out.Flush()
	return body.Bytes(), out.Error()
}

// workRequest is what somebody does about a store on the work list.
type workRequest struct {
	By   string `json:"by,omitempty"`
	To   string `json:"to,omitempty"` // who takes it over; empty: it is given back
	Note string `json:"note,omitempty"`
}

// adminWorkAction serves /firebreak/work/{store}/{action}.
func adminWorkAction(w http.ResponseWriter, r *http.Request, a *API) error {
	action := r.PathValue("action")
	if !slices.Contains(recovery.WorkActions, action) {
		return apiError(http.StatusNotFound, "%s", directive.Unrecognized("action", action, recovery.WorkActions))
	}
	var q workRequest
	if err := readJSON(w, r, maxRequest, &q); err != nil {
		return err
	}
	item, err := a.Jobs.WorkOn(r.PathValue("store"), action, q.By, q.To, q.Note)
	if err != nil {
		return recoveryError(err)
	}
	writeJSON(w, http.StatusOK, item)
	return nil
}

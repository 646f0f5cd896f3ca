package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// problem is an error of the admin API, as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"` // always about:blank
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"` // what is wrong, and what to do
	Error  string `json:"error"`  // the same, where the rest of Caddy's admin API has it
}

// apiError is an error of the admin API: its text goes to whoever asked.
func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// writeProblem answers with an error.
func writeProblem(w http.ResponseWriter, err error) {
	p := problem{Type: "about:blank", Status: http.StatusInternalServerError, Detail: err.Error()}
	var api caddy.APIError
	if errors.As(err, &api) {
		p.Status = api.HTTPStatus
		if api.Err != nil {
			p.Detail = api.Err.Error()
		}
	}
	p.Title, p.Error = http.StatusText(p.Status), p.Detail
	if p.Status >= http.StatusInternalServerError {
		caddy.Log().Named("admin.api.firebreak").Error(telemetry.LogRequestFailed, zap.Int("status", p.Status), zap.String("detail", p.Detail))
	}
	body, _ := json.MarshalIndent(p, "", "  ")
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}

// writeJSON answers with a body. It is encoded before anything is sent, so that
// a failure is not cut short behind a 200.
func writeJSON(w http.ResponseWriter, status int, answer any) {
	body, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		writeProblem(w, apiError(http.StatusInternalServerError, "encoding the answer: %v", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// Sizes of what clients may send.
const (
	maxRequest = 256 << 10
	maxBatch   = 8 << 20
)

// readJSON reads a request's body strictly: one value, no unknown fields. An
// empty body leaves to as it is.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, to any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return apiError(http.StatusRequestEntityTooLarge, "the body is larger than %d KiB; split it into several calls", limit>>10)
	case err != nil:
		return apiError(http.StatusBadRequest, "reading the body: %v", err)
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	}
	return decodeStrict(body, to)
}

func decodeStrict(body []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return jsonError(err, to)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return apiError(http.StatusBadRequest, "there is more behind the JSON object; send one")
	}
	return nil
}

// jsonError says what is wrong with a body in words.
func jsonError(err error, to any) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		if wrongType.Field == "" {
			return apiError(http.StatusBadRequest, "the body is a JSON %s; send an object", wrongType.Value)
		}
		return apiError(http.StatusBadRequest, "the field %q is a JSON %s; it must be %s", wrongType.Field, wrongType.Value, typeWords(wrongType.Type))
	}
	if name, ok := strings.CutPrefix(err.Error(), `json: unknown field "`); ok {
		return apiError(http.StatusBadRequest, "%s", directive.Unrecognized("field", strings.TrimSuffix(name, `"`), fieldNames(reflect.TypeOf(to).Elem())))
	}
	return apiError(http.StatusBadRequest, "the body is no JSON that is understood here: %v", err)
}

func typeWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "a list of strings"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Struct:
		return "a time like 2026-07-02T12:58:00Z"
	default:
		return "a string"
	}
}

// fieldNames are the names of a struct's fields in JSON, sorted.
func fieldNames(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name != "":
			names = append(names, name)
		case field.Anonymous:
			names = append(names, fieldNames(field.Type)...)
		}
	}
	slices.Sort(names)
	return names
}

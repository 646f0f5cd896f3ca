package refusal

import (
	"fmt"
	"html"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/placeholder"
)

// maxBodyFile is how large a file with a refusal's body may be.
const maxBodyFile = 1 << 20

// Writer writes refusals. All but what differs by request is rendered
// beforehand.
type Writer struct {
	exposeStore, exposeZone bool
	rendered                [formats]map[*refusalKind]rendered
	own                     []ownBody
}

// rendered is a body, cut where the seconds to wait belong.
type rendered struct {
	before, after []byte
}

// Body is an own body for refusals.
type Body struct {
	// The zone it is for, or "*". Default: "*".
	Zone string `json:"zone,omitempty"`

	// Its media type: application/json, application/problem+json, text/html or
	// text/plain.
	ContentType string `json:"content_type"`

	// The body, or a file that holds it. Placeholders like
	// {http.firebreak.retry_after} are filled in (values are escaped for HTML
	// and JSON).
	Body string `json:"body,omitempty"`
	File string `json:"file,omitempty"`
}

// ownBody is a RefusalBody made ready.
type ownBody struct {
	zone, contentType string
	format            mediaFormat
	template          string
	escape            func(string) string
}

// NewWriter makes a writer of these bodies, which shows clients the names that
// expose lists. An error names the body that cannot be used.
func NewWriter(bodies []Body, expose []string) (*Writer, error) {
	rw := &Writer{
		exposeStore: slices.Contains(expose, ExposeStore),
		exposeZone:  slices.Contains(expose, ExposeZone),
	}
	for format := range rw.rendered {
		rw.rendered[format] = make(map[*refusalKind]rendered, len(refusalKinds))
		for i := range refusalKinds {
			kind := &refusalKinds[i]
			rw.rendered[format][kind] = render(mediaFormat(format), kind)
		}
	}
	for i := range bodies {
		body, err := bodies[i].load()
		if err != nil {
			return nil, fmt.Errorf("refusal body %d: %w", i+1, err)
		}
		rw.own = append(rw.own, body)
	}
	return rw, nil
}

// secondsMark stands for the seconds while a body is rendered.
const secondsMark = "\x00"

// textMessage is the message for formats that name the time of the next try.
func (k *refusalKind) textMessage() string {
	if !k.retry {
		return k.message
	}
	return strings.TrimSuffix(strings.TrimSuffix(k.message, " Please try again later."), " Please try again shortly.")
}

func render(format mediaFormat, kind *refusalKind) rendered {
	var text string
	switch format {
	case formatProblem:
		text = renderProblem(kind)
	case formatHTML:
		text = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">" +
			"<title>" + kind.title + "</title><style>body{font:1.1em/1.5 sans-serif;max-width:32em;margin:15vh auto;padding:0 1em;color:#222}</style></head>\n" +
			"<body><h1>" + kind.title + "</h1>\n<p>" + kind.textMessage() + "</p>\n"
		if kind.retry {
			text += "<p>Please try again in " + secondsMark + ".</p>\n"
		}
		text += "</body></html>\n"
	case formatText:
		text = kind.textMessage()
		if kind.retry {
			text += " Please try again in " + secondsMark + "."
		}
		text += "\n"
	case formatGRPC, formats: // no body
	}
	before, after, _ := strings.Cut(text, secondsMark)
	return rendered{before: []byte(before), after: []byte(after)}
}

// renderMessage renders a body with an operator's message.
func renderMessage(format mediaFormat, kind *refusalKind, message string) rendered {
	own := *kind
	switch format {
	case formatProblem:
		own.message = placeholder.EscapeJSON(message)
	case formatHTML:
		own.message = html.EscapeString(message)
	case formatText, formatGRPC, formats:
		own.message = message
	}
	return render(format, &own)
}

// grpcMessage is a message as gRPC wants it in a header: percent-encoded but
// for printable ASCII.
func grpcMessage(message string) string {
	var text strings.Builder
	for _, c := range []byte(message) {
		if c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&text, "%%%02X", c)
			continue
		}
		text.WriteByte(c)
	}
	return text.String()
}

// renderProblem is an RFC 9457 problem, without its closing brace.
func renderProblem(kind *refusalKind) string {
	text := `{"type":"about:blank","title":"` + kind.title + `","status":` + strconv.Itoa(kind.status) +
		`,"detail":"` + kind.message + `","refusal":"` + string(kind.reason) + `"`
	if kind.retry {
		text += `,"retry_after":` + secondsMark
	}
	return text
}

// Respond writes a refusal.
func (rw *Writer) Respond(w http.ResponseWriter, r *http.Request, refused *Refusal) {
	header, format, a := w.Header(), formatFor(r.Header), refused.answer()
	kind := a.kind
	a.setHeader(header, r.Header)
	if format == formatGRPC {
		header["Content-Type"] = []string{contentTypes[format]}
		header["Grpc-Status"] = []string{kind.grpc}
		header["Grpc-Message"] = []string{grpcMessage(a.message())}
		w.WriteHeader(http.StatusOK)
		return
	}
	contentType := contentTypes[format]
	var body []byte
	if own := rw.ownFor(a.Zone, format); own != nil {
		contentType, body = own.contentType, rw.fill(own, r, &a)
	} else {
		body = rw.body(format, &a)
	}
	header["Content-Type"] = []string{contentType}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(kind.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// body is a body of firebreak's own.
func (rw *Writer) body(format mediaFormat, a *answer) []byte {
	parts := rw.rendered[format][a.kind]
	if a.Message != "" {
		parts = renderMessage(format, a.kind, a.Message)
	}
	body := make([]byte, 0, len(parts.before)+len(parts.after)+64)
	body = append(body, parts.before...)
	switch {
	case !a.kind.retry:
	case format == formatProblem:
		body = strconv.AppendInt(body, int64(a.seconds), 10)
	default:
		body = appendWait(body, a.seconds)
	}
	body = append(body, parts.after...)
	if format != formatProblem {
		return body
	}
	if rw.exposeZone && a.Known {
		body = append(append(body, `,"zone":`...), placeholder.QuoteJSON(a.Zone)...)
	}
	if rw.exposeStore && a.Known {
		body = append(append(body, `,"store":`...), placeholder.QuoteJSON(a.Store)...)
	}
	return append(body, "}\n"...)
}

// appendWait writes for people how long to wait, rounded up.
func appendWait(body []byte, seconds int) []byte {
	n, unit := seconds, " second"
	switch {
	case seconds > 2*60*60:
		n, unit = (seconds+60*60-1)/(60*60), " hour"
	case seconds > 2*60:
		n, unit = (seconds+60-1)/60, " minute"
	}
	body = append(strconv.AppendInt(body, int64(n), 10), unit...)
	if n != 1 {
		body = append(body, 's')
	}
	return body
}

// ownFor is the own body for a zone that fits the format best: one of the
// format, else none.
func (rw *Writer) ownFor(zone string, format mediaFormat) *ownBody {
	var forAll *ownBody
	for i := range rw.own {
		switch own := &rw.own[i]; {
		case own.format != format:
		case own.zone == zone:
			return own
		case own.zone == config.AllZones && forAll == nil:
			forAll = own
		}
	}
	return forAll
}

// fill fills the placeholders of an own body. Unknown ones are left alone.
func (rw *Writer) fill(own *ownBody, r *http.Request, a *answer) []byte {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok || !strings.Contains(own.template, "{") {
		return []byte(own.template)
	}
	a.setPlaceholders(r.Context())
	return placeholder.Pattern.ReplaceAllFunc([]byte(own.template), func(match []byte) []byte {
		name := string(match[1 : len(match)-1])
		if name == PlaceholderStore && !rw.exposeStore || name == PlaceholderZone && !rw.exposeZone {
			return nil
		}
		value, known := repl.GetString(name)
		if !known {
			return match
		}
		return []byte(own.escape(value))
	})
}

// load reads the body and finds out what it is.
func (b *Body) load() (ownBody, error) {
	own := ownBody{zone: b.Zone, contentType: b.ContentType, template: b.Body}
	if own.zone == "" {
		own.zone = config.AllZones
	}
	media, _, err := mime.ParseMediaType(b.ContentType)
	if err != nil {
		return own, fmt.Errorf("content_type %q: %w", b.ContentType, err)
	}
	switch media {
	case "application/json", "application/problem+json":
		own.format, own.escape = formatProblem, placeholder.EscapeJSON
	case "text/html":
		own.format, own.escape = formatHTML, html.EscapeString
	case "text/plain":
		own.format, own.escape = formatText, func(s string) string { return s }
	default:
		return own, fmt.Errorf("content_type %q: it must be application/json, application/problem+json, text/html or text/plain", b.ContentType)
	}
	if (b.Body == "") == (b.File == "") {
		return own, fmt.Errorf("give either body or file")
	}
	if b.File != "" {
		data, err := os.ReadFile(b.File)
		if err != nil {
			return own, fmt.Errorf("reading file: %w", err)
		}
		if len(data) > maxBodyFile {
			return own, fmt.Errorf("file %s is larger than 1 MiB", b.File)
		}
		own.template = string(data)
	}
	return own, nil
}

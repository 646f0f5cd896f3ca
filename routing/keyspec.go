package routing

import (
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// Values of [KeySpec] From.
const (
	FromQuery       = "query"
	FromHeader      = "header"
	FromJSON        = "json"
	FromForm        = "form"
	FromCookie      = "cookie"
	FromHostLabel   = "host_label"
	FromPathSegment = "path_segment"
	FromBearer      = "bearer"
	FromBasicUser   = "basic_user"
	FromPlaceholder = "placeholder"
)

// KeySpec says where in a request a key is looked for. If several are given
// they are tried in order, and the first that finds a key wins. A value that
// is empty, longer than 128 bytes, not UTF-8 or has control characters is no
// key.
//
// A request may carry two different values of one key, or one in a form that
// API servers do not all read alike. Such a key is ambiguous.
type KeySpec struct {
	// From is one of:
	//
	//   - query: the parameter Name of the URL's query
	//   - header: the request header Name. "Host" is the host without port
	//   - json: the string or number at Name in the JSON object that is the
	//     body, where Name is a path of field names with dots: "key",
	//     "auth.key"
	//   - form: the field Name of an urlencoded form that is the body.
	//     Multipart forms are not read. A body with another Content-Type than
	//     that of JSON or of a form is read only if its length is announced
	//   - cookie: the cookie Name
	//   - host_label: label Index of the host name, from the left: of
	//     shop1.example.com label 1 is shop1. In lower case
	//   - path_segment: segment Index of the URL's path: of /stores/shop1
	//     segment 2 is shop1. Empty segments do not count
	//   - bearer: the token of the header "Authorization: Bearer"
	//   - basic_user: the user name of the header "Authorization: Basic"
	//   - placeholder: Name is a text with Caddy placeholders, such as
	//     "{http.request.host}". Hosts should be in lower case in the directory
	From string `json:"from"`

	// Name of the parameter, header, field or cookie, path into the JSON
	// body, or text with placeholders.
	Name string `json:"name,omitempty"`

	// Index of the host label or path segment, from 1.
	Index int `json:"index,omitempty"`

	// What happens to a request in which this key is ambiguous:
	//
	//   - refuse: it is refused with status 400
	//   - first, last: the first or last of the values counts, as it is
	//     written. Right if the API server takes the same
	//   - unknown: the request has no key, and none is looked for elsewhere
	//
	// Default: refuse. A placeholder is never ambiguous, unless it is that of a
	// header, a cookie or a parameter of the query.
	Ambiguous string `json:"ambiguous,omitempty"`
}

// String returns the source as it stands in a Caddyfile, without options.
func (k KeySpec) String() string {
	switch {
	case k.From == FromPlaceholder:
		return k.Name
	case k.Index > 0:
		return fmt.Sprintf("%s %d", k.From, k.Index)
	}
	return strings.TrimSpace(k.From + " " + k.Name)
}

// Forms of a key source as written in a Caddyfile, for error messages.
var sourceForms = []struct{ from, arg, example string }{
	{FromQuery, "NAME", "query key"},
	{FromHeader, "NAME", "header X-Store"},
	{FromJSON, "PATH", "json auth.key"},
	{FromForm, "NAME", "form key"},
	{FromCookie, "NAME", "cookie store"},
	{FromHostLabel, "N", "host_label 1"},
	{FromPathSegment, "N", "path_segment 2"},
	{FromBearer, "", "bearer"},
	{FromBasicUser, "", "basic_user"},
}

const placeholderForm = "a {placeholder}"

// allowedSources lists the forms of all key sources.
func allowedSources() string {
	var forms []string
	for _, f := range sourceForms {
		forms = append(forms, strings.TrimSpace(f.from+" "+f.arg))
	}
	return strings.Join(forms, ", ") + " or " + placeholderForm
}

// ParseKeySpec reads a key source from the words of a Caddyfile line, such as
// "query key", "path_segment 2", "bearer" or "{http.request.host}", with or
// without "ambiguous first" behind it. The result is valid.
func ParseKeySpec(args []string) (KeySpec, error) {
	if len(args) == 0 {
		return KeySpec{}, fmt.Errorf("no key source given; use %s", allowedSources())
	}
	spec, rest, err := parseSource(args[0], args[1:])
	if err != nil {
		return KeySpec{}, err
	}
	if err := spec.parseOptions(args, rest); err != nil {
		return KeySpec{}, err
	}
	return spec, spec.Validate()
}

// parseSource reads a source and returns the words that are left.
func parseSource(word string, rest []string) (KeySpec, []string, error) {
	if strings.Contains(word, "{") {
		return KeySpec{From: FromPlaceholder, Name: word}, rest, nil
	}
	for _, form := range sourceForms {
		if form.from == word {
			spec, err := parseArg(word, form.arg, form.example, rest)
			if form.arg != "" && err == nil {
				rest = rest[1:]
			}
			return spec, rest, err
		}
	}
	return KeySpec{}, nil, unknownSource(word)
}

// parseOptions reads what stands behind a source.
func (k *KeySpec) parseOptions(args, rest []string) error {
	source := strings.Join(args[:len(args)-len(rest)], " ")
	switch {
	case len(rest) == 0:
		return nil
	case rest[0] != "ambiguous" && k.From == FromPlaceholder:
		return fmt.Errorf("unexpected %q after %s; write a text with spaces in quotes", rest[0], source)
	case rest[0] != "ambiguous":
		return fmt.Errorf("unexpected %q after %s; only ambiguous first, last, unknown or refuse can follow", rest[0], source)
	case len(rest) == 1:
		return fmt.Errorf("ambiguous needs a word: %s", ambiguousForm)
	case len(rest) > 2:
		return fmt.Errorf("unexpected %q after %s ambiguous %s", rest[2], source, rest[1])
	case rest[1] == "":
		return errAmbiguous(rest[1])
	}
	k.Ambiguous = rest[1]
	return nil
}

const ambiguousForm = "first, last, unknown or refuse"

func errAmbiguous(word string) error {
	if near := Nearest(word, ambiguousWords); near != "" {
		return fmt.Errorf("ambiguous %q, did you mean %q? (allowed: %s)", word, near, ambiguousForm)
	}
	return fmt.Errorf("ambiguous is %q: it must be %s", word, ambiguousForm)
}

func parseArg(from, arg, example string, rest []string) (KeySpec, error) {
	spec := KeySpec{From: from}
	switch {
	case arg == "":
		return spec, nil
	case len(rest) == 0 || rest[0] == "":
		return spec, fmt.Errorf("%s needs %s, for example: %s", from, arg, example)
	case arg != "N":
		spec.Name = rest[0]
		return spec, nil
	}
	n, err := strconv.Atoi(rest[0])
	if err != nil {
		return spec, fmt.Errorf("%s needs a number from 1, not %q", from, rest[0])
	}
	if n == 0 {
		return spec, errIndex(from, n)
	}
	spec.Index = n
	return spec, nil
}

func unknownSource(word string) error {
	var words []string
	for _, form := range sourceForms {
		words = append(words, form.from)
	}
	hint := ""
	if near := Nearest(word, words); near != "" {
		hint = fmt.Sprintf(", did you mean %q?", near)
	}
	return fmt.Errorf("unknown key source %q%s (allowed: %s)", word, hint, allowedSources())
}

func errIndex(from string, n int) error {
	return fmt.Errorf("%s counts from 1, got %d", from, n)
}

// Validate reports what is wrong with a key source.
func (k KeySpec) Validate() error {
	if k.From == "" {
		return fmt.Errorf("no key source given; use %s", allowedSources())
	}
	if k.Ambiguous != "" && !slices.Contains(ambiguousWords, k.Ambiguous) {
		return errAmbiguous(k.Ambiguous)
	}
	switch k.From {
	case FromQuery, FromHeader, FromJSON, FromForm, FromCookie, FromPlaceholder:
		if k.Name == "" {
			return fmt.Errorf("%s needs a name", k.From)
		}
		if k.Index != 0 {
			return fmt.Errorf("%s takes no index", k.From)
		}
		return k.validateName()
	case FromHostLabel, FromPathSegment:
		if k.Name != "" {
			return fmt.Errorf("%s takes no name", k.From)
		}
		if k.Index < 1 {
			return errIndex(k.From, k.Index)
		}
		return nil
	case FromBearer, FromBasicUser:
		if k.Name != "" || k.Index != 0 {
			return fmt.Errorf("%s takes no name and no index", k.From)
		}
		return nil
	}
	return unknownSource(k.From)
}

func (k KeySpec) validateName() error {
	switch k.From {
	case FromHeader:
		return validateHeader(k.Name)
	case FromCookie:
		if !isToken(k.Name) {
			return fmt.Errorf("%q cannot be the name of a cookie", k.Name)
		}
	case FromJSON:
		if slices.Contains(strings.Split(k.Name, "."), "") {
			return fmt.Errorf("json path %q has an empty name in it", k.Name)
		}
	case FromPlaceholder:
		if !strings.Contains(k.Name, "{") {
			return fmt.Errorf("%q has no {placeholder} in it: every request would have the same key", k.Name)
		}
	}
	return nil
}

func validateHeader(name string) error {
	if strings.ContainsAny(name, "_.") {
		return fmt.Errorf("header %q would never be found: Caddy drops request headers with _ or . in their names; "+
			"send it as %q", name, textproto.CanonicalMIMEHeaderKey(strings.NewReplacer("_", "-", ".", "-").Replace(name)))
	}
	if !isToken(name) {
		return fmt.Errorf("%q cannot be the name of a header", name)
	}
	return nil
}

// isToken reports whether s is a token as RFC 9110 has it.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

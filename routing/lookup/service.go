package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// service is the service that is asked.
type service struct {
	url    template
	list   template
	header http.Header
	client *http.Client
}

// errUnknown is the service's word that a key names no store.
var errUnknown = errors.New("no such store")

func newService(o *Options) *service {
	dial := o.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: maxTimeout}).DialContext
	}
	return &service{
		url:    newTemplate(o.URL, "{key}"),
		list:   newTemplate(o.List, "{after}"),
		header: o.Header,
		client: &http.Client{
			// No proxy of the environment and no redirects: the question goes to
			// the address that was configured or nowhere.
			Transport: &http.Transport{
				DialContext:         dial,
				MaxConnsPerHost:     o.MaxConcurrent + 1, // and the list
				MaxIdleConnsPerHost: o.MaxConcurrent + 1,
				IdleConnTimeout:     time.Minute,
				TLSHandshakeTimeout: 5 * time.Second,
				// What is read is bounded, what it inflates to would not be.
				DisableCompression:     true,
				MaxResponseHeaderBytes: maxAnswer,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// ask asks for one key.
func (s *service) ask(ctx context.Context, key string) (answer, error) {
	body, err := s.get(ctx, s.url.fill(key), maxAnswer)
	if err != nil {
		return answer{}, err
	}
	return decodeAnswer(body)
}

// page asks for the page of the list that goes on after a place.
func (s *service) page(ctx context.Context, after string) (p page, err error) {
	body, err := s.get(ctx, s.list.fill(after), maxPage)
	if errors.Is(err, errUnknown) {
		err = errors.New("answered 404 Not Found")
	}
	if err != nil {
		return page{}, err
	}
	return p, decode(body, &p)
}

func (s *service) get(ctx context.Context, address string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range s.header {
		req.Header[name] = values
	}
	if host := s.header.Get("Host"); host != "" {
		req.Host = host
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, inWords(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, inWords(ctx, err)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	case resp.StatusCode == http.StatusNotFound:
		return nil, errUnknown
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("answered %s", resp.Status)
	}
	return body, nil
}

// inWords leaves out the URL: it has the client's key in it.
func inWords(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("no answer in time")
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}

// template is a URL with a variable in it.
type template struct {
	parts []string
	query int // from this part on the variable stands in the query
}

func newTemplate(text, variable string) template {
	t := template{parts: strings.Split(text, variable)}
	for i, part := range t.parts {
		t.query = i + 1
		if strings.Contains(part, "?") {
			break
		}
	}
	return t
}

// fill puts a value into the URL.
func (t template) fill(value string) string {
	inPath := url.PathEscape(value)
	if strings.Trim(value, ".") == "" {
		// A segment of one or two dots would be taken for a way up.
		inPath = strings.ReplaceAll(value, ".", "%2E")
	}
	inQuery := url.QueryEscape(value)
	var s strings.Builder
	for i, part := range t.parts {
		switch {
		case i == 0:
		case i < t.query:
			s.WriteString(inPath)
		default:
			s.WriteString(inQuery)
		}
		s.WriteString(part)
	}
	return s.String()
}

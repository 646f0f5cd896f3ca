package workers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// FPM reads PHP-FPM's status page (pm.status_path).
//
// With pm = static the page knows how many workers there are. With dynamic and
// ondemand PHP-FPM starts more of them as it needs them, and the page does not
// say up to how many (pm.max_children): it is found out when they are all busy.
//
// The page is served by a worker of the pool, and is not served while all of them
// hang, unless the pool has a listener for it (pm.status_listen): use that.
type FPM struct {
	address string
	path    string   // of the page, by FastCGI
	page    *url.URL // by HTTP, through a web server; nil: by FastCGI
	self    bool     // the page is served by a worker of the pool
}

// NewFPM returns a source for the pool of PHP-FPM. page is where its status page
// is: "fastcgi://127.0.0.1:9001/status", "fastcgi://unix//run/php/status.sock|/status",
// or by HTTP "http://127.0.0.1/status". own is true if the page is served by a
// listener of its own (pm.status_listen).
func NewFPM(page string, own bool) (*FPM, error) {
	if strings.HasPrefix(page, "http://") {
		address, parsed, err := httpPage(page)
		if err != nil {
			return nil, err
		}
		query := parsed.Query()
		query.Set("json", "")
		parsed.RawQuery = query.Encode()
		return &FPM{address: address, page: parsed, self: !own}, nil
	}
	rest, ok := strings.CutPrefix(page, "fastcgi://")
	if !ok {
		return nil, fmt.Errorf("%q must begin with fastcgi:// or http://", page)
	}
	address, path, ok := strings.Cut(rest, "|")
	if !ok {
		address, path, ok = strings.Cut(rest, "/")
		path = "/" + path
	}
	if !ok || address == "" || address == "unix" || !strings.HasPrefix(path, "/") || path == "/" {
		return nil, fmt.Errorf("%q names no status page; write for example fastcgi://127.0.0.1:9001/status or fastcgi://unix//run/php/status.sock|/status", page)
	}
	return &FPM{address: address, path: path, self: !own}, nil
}

// Read asks for the page.
func (f *FPM) Read(ctx context.Context) (Reading, error) {
	var data []byte
	var err error
	if f.page != nil {
		data, err = fetch(ctx, f.address, f.page)
	} else {
		data, err = fastCGI(ctx, f.address, f.path, "json")
	}
	if err == nil {
		var r Reading
		if r, err = parseFPM(data, f.self); err == nil {
			return r, nil
		}
	}
	return Reading{}, fmt.Errorf("the status page of PHP-FPM at %s: %w", f.address, err)
}

// parseFPM reads the page. self is true if one of the active processes is the one
// that serves it.
func parseFPM(data []byte, self bool) (r Reading, err error) {
	var v struct {
		Manager string `json:"process manager"`
		Queue   *int   `json:"listen queue"`
		Active  *int   `json:"active processes"`
		Total   *int   `json:"total processes"`
	}
	if err := parse(data, &v); err != nil {
		return r, err
	}
	if v.Queue == nil || v.Active == nil || v.Total == nil || *v.Queue < 0 || *v.Active < 0 || *v.Total < *v.Active {
		return r, errors.New("it has no listen queue, active processes and total processes, or they cannot be: " + beginning(data))
	}
	r.Busy, r.Queued = *v.Active, *v.Queue
	if self && r.Busy > 0 {
		r.Busy--
	}
	switch v.Manager {
	case "static":
		r.Workers = *v.Total
	case "dynamic", "ondemand":
		if *v.Total > *v.Active || r.Queued == 0 {
			r.Queued = 0 // there are idle processes, which are about to take it
		} else {
			r.Workers = *v.Total // unless it is about to start more, which the next readings show
		}
	default:
		return Reading{}, fmt.Errorf("process manager is %q, which is not known", v.Manager)
	}
	return r, nil
}

package workers

import (
	"bytes"
	"strings"
	"testing"
)

const (
	fpmPage = `{"pool":"www","process manager":"static","start time":1795822904,"start since":12,"accepted conn":31,"listen queue":2,` +
		`"max listen queue":4,"listen queue len":511,"idle processes":0,"active processes":8,"total processes":8,"max active processes":8,"max children reached":0,"slow requests":0}`
	pumaSingle  = `{"started_at":"2026-11-27T12:00:00Z","backlog":1,"running":5,"pool_capacity":2,"max_threads":5,"requests_count":7}`
	pumaCluster = `{"started_at":"2026-11-27T12:00:00Z","workers":2,"phase":0,"booted_workers":2,"old_workers":0,"worker_status":[` +
		`{"pid":7,"index":0,"phase":0,"booted":true,"last_checkin":"2026-11-27T12:00:05Z","last_status":{"backlog":0,"running":5,"pool_capacity":5,"busy_threads":0,"max_threads":5,"requests_count":0}},` +
		`{"pid":8,"index":1,"phase":0,"booted":true,"last_checkin":"2026-11-27T12:00:05Z","last_status":{"backlog":3,"running":5,"pool_capacity":0,"busy_threads":8,"max_threads":5,"requests_count":9}}]}`
	uwsgiStats = `{"version":"2.0.21","listen_queue":3,"listen_queue_errors":0,"load":3,"pid":1,"workers":[` +
		`{"id":1,"pid":2,"accepting":1,"requests":4,"status":"busy","cores":[{"id":0,"in_request":1,"vars":["REQUEST_URI=/"]},{"id":1,"in_request":0}]},` +
		`{"id":2,"pid":3,"accepting":1,"requests":4,"status":"idle","cores":[{"id":0,"in_request":0},{"id":1,"in_request":0}]},` +
		`{"id":3,"pid":4,"accepting":1,"requests":4,"status":"busy"}]}`
)

func TestPages(t *testing.T) {
	fpm := func(data []byte) (Reading, error) { return parseFPM(data, false) }
	fpmSelf := func(data []byte) (Reading, error) { return parseFPM(data, true) }
	for name, test := range map[string]struct {
		parse func([]byte) (Reading, error)
		page  string
		want  Reading
		err   string // a part of it
	}{
		"FPM":                        {fpm, fpmPage, Reading{Workers: 8, Busy: 8, Queued: 2}, ""},
		"FPM, by one of its own":     {fpmSelf, fpmPage, Reading{Workers: 8, Busy: 7, Queued: 2}, ""},
		"FPM, dynamic and full":      {fpm, strings.Replace(fpmPage, "static", "dynamic", 1), Reading{Workers: 8, Busy: 8, Queued: 2}, ""},
		"FPM, dynamic, none waits":   {fpm, strings.NewReplacer("static", "dynamic", `"listen queue":2`, `"listen queue":0`).Replace(fpmPage), Reading{Busy: 8}, ""},
		"FPM, dynamic with one idle": {fpm, strings.NewReplacer("static", "ondemand", `"total processes":8`, `"total processes":9`).Replace(fpmPage), Reading{Busy: 8}, ""},
		"FPM, dynamic, full with it": {fpmSelf, strings.Replace(fpmPage, "static", "dynamic", 1), Reading{Workers: 8, Busy: 7, Queued: 2}, ""},
		"FPM, unknown manager":       {fpm, strings.Replace(fpmPage, "static", "quantum", 1), Reading{}, `process manager is "quantum"`},
		"FPM, negative":              {fpm, strings.Replace(fpmPage, `"listen queue":2`, `"listen queue":-2`, 1), Reading{}, "cannot be"},
		"FPM, more busy than all":    {fpm, strings.Replace(fpmPage, `"total processes":8`, `"total processes":7`, 1), Reading{}, "cannot be"},
		"FPM, a text":                {fpm, "pool: www\nprocess manager: static", Reading{}, "not the JSON"},
		"FPM, nothing":               {fpm, "", Reading{}, "not the JSON"},
		"FPM, null":                  {fpm, "null", Reading{}, "no listen queue"},
		"FPM, Puma's":                {fpm, pumaSingle, Reading{}, "no listen queue"},
		"FPM, words for numbers":     {fpm, strings.Replace(fpmPage, `"listen queue":2`, `"listen queue":"many"`, 1), Reading{}, "not the JSON"},
		"FPM, a huge number":         {fpm, strings.Replace(fpmPage, `"listen queue":2`, `"listen queue":1e99`, 1), Reading{}, "not the JSON"},

		"Puma, single":            {parsePuma, pumaSingle, Reading{Workers: 5, Busy: 3, Queued: 1}, ""},
		"Puma, cluster":           {parsePuma, pumaCluster, Reading{Workers: 10, Busy: 5, Queued: 3}, ""},
		"Puma, no capacity":       {parsePuma, `{"backlog":0,"max_threads":5,"busy_threads":9}`, Reading{Workers: 5, Busy: 5}, ""},
		"Puma, capacity too big":  {parsePuma, `{"backlog":0,"max_threads":5,"pool_capacity":9}`, Reading{Workers: 5}, ""},
		"Puma, a worker boots":    {parsePuma, `{"workers":1,"worker_status":[{"last_status":{}}]}`, Reading{}, "about to boot"},
		"Puma, no workers":        {parsePuma, `{"workers":0,"worker_status":[]}`, Reading{}, "no workers"},
		"Puma, an error":          {parsePuma, `{"error":"Invalid auth token"}`, Reading{}, "no max_threads"},
		"Puma, a list":            {parsePuma, `[]`, Reading{}, "not the JSON"},
		"Puma, negative":          {parsePuma, `{"backlog":-1,"max_threads":5,"pool_capacity":5}`, Reading{}, "no max_threads"},
		"uWSGI":                   {parseUWSGI, uwsgiStats, Reading{Workers: 5, Busy: 2, Queued: 3}, ""},
		"uWSGI, no workers":       {parseUWSGI, `{"listen_queue":0,"workers":[]}`, Reading{}, "no workers"},
		"uWSGI, cut off":          {parseUWSGI, uwsgiStats[:len(uwsgiStats)/2], Reading{}, "not the JSON"},
		"uWSGI, a web page":       {parseUWSGI, "<html>" + strings.Repeat("x", 200), Reading{}, `x..."`},
		"uWSGI, a negative queue": {parseUWSGI, strings.Replace(uwsgiStats, `"listen_queue":3`, `"listen_queue":-3`, 1), Reading{}, "no workers"},
	} {
		got, err := test.parse([]byte(test.page))
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %+v, %v; want an error with %q", name, got, err, test.err)
			}
		case err != nil || got != test.want:
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
	}
}

func TestPageAddresses(t *testing.T) {
	for page, want := range map[string]string{
		"fastcgi://127.0.0.1:9001/status":         "127.0.0.1:9001 /status",
		"fastcgi://unix//run/php/s.sock|/a/b":     "unix//run/php/s.sock /a/b",
		"fastcgi://unix//run/php/s.sock":          "no status page",
		"fastcgi://127.0.0.1:9001":                "no status page",
		"fastcgi:///status":                       "no status page",
		"fastcgi://127.0.0.1:9001|status":         "no status page",
		"127.0.0.1:9001/status":                   "must begin with",
		"":                                        "must begin with",
		"http://127.0.0.1/status?full":            "127.0.0.1:80 http://127.0.0.1/status?full=&json=",
		"http://[::1]:81/status":                  "[::1]:81 http://[::1]:81/status?json=",
		"http:///status":                          "must be a URL",
		"http://127.0.0.1:port/status":            "is no URL",
		"fastcgi://unix/@php|/status":             "unix/@php /status",
		"fastcgi://[::1]:9001/fpm/status.of.pool": "[::1]:9001 /fpm/status.of.pool",
	} {
		f, err := NewFPM(page, true)
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case f.page != nil:
			got = f.address + " " + f.page.String()
		default:
			got = f.address + " " + f.path
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: %s, want %s", page, got, want)
		}
	}
	if page := NewPuma("127.0.0.1:9293", "a&b").page; page.String() != "http://puma/stats?token=a%26b" || page.Query().Get("token") != "a&b" {
		t.Errorf("Puma's page is %s", page)
	}
	if _, _, err := httpPage("http://x:1/%zz"); err == nil {
		t.Error("an impossible URL is taken")
	}
}

func record(kind byte, content string) []byte { return fastCGIRecord(nil, kind, []byte(content)) }

// TestFastCGIAnswers reads what no FastCGI server should send.
func TestFastCGIAnswers(t *testing.T) {
	end := string(record(fcgiEnd, "\x00\x00\x00\x00\x00\x00\x00\x00"))
	page := "Content-Type: application/json\r\n\r\n{}"
	for name, test := range map[string]struct{ answer, want string }{
		"a page":             {string(record(fcgiStdout, page)) + end, "{}"},
		"in two parts":       {string(record(fcgiStdout, page[:10])) + string(record(fcgiStdout, page[10:])) + end, "{}"},
		"with padding":       {"\x01\x06\x00\x01\x00\x09\x03\x00A: b\r\n\r\nxpad" + end, "x"},
		"not found":          {string(record(fcgiStdout, "Status: 404 Not Found\r\n\r\nFile not found.")) + end, "error: it answered 404 Not Found"},
		"a complaint":        {string(record(fcgiStderr, "Primary script unknown")) + end, "error: its answer is empty: \"Primary script unknown\""},
		"nothing":            {"", "error: its FastCGI answer broke off"},
		"half a header":      {"\x01\x06\x00", "error: its FastCGI answer broke off"},
		"half a record":      {"\x01\x06\x00\x01\x00\x09\x00\x00A: b", "error: its FastCGI answer broke off"},
		"HTTP":               {"HTTP/1.1 400 Bad Request\r\n\r\n", "error: it does not speak FastCGI"},
		"no headers":         {string(record(fcgiStdout, "hello\r\n\r\n")) + end, "error: its answer has no headers"},
		"without an end":     {string(record(fcgiStdout, page)), "error: its FastCGI answer broke off"},
		"without a last one": {string(record(fcgiStdout, page)) + string(record(fcgiStdout, "")) + end, "{}"},
	} {
		got := ""
		out, err := fastCGIOutput(strings.NewReader(test.answer))
		var body []byte
		if err == nil {
			body, err = fastCGIBody(out)
		}
		if got = string(body); err != nil {
			got = "error: " + err.Error()
		}
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	endless := bytes.Repeat(record(fcgiStdout, strings.Repeat("x", 60000)), 100)
	if _, err := fastCGIOutput(bytes.NewReader(endless)); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an endless page: %v", err)
	}
}

func FuzzPages(f *testing.F) {
	for _, page := range []string{fpmPage, pumaSingle, pumaCluster, uwsgiStats, "", "null", "[]"} {
		f.Add([]byte(page))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func([]byte) (Reading, error){
			func(d []byte) (Reading, error) { return parseFPM(d, true) }, parsePuma, parseUWSGI,
		} {
			if r, err := parse(data); err == nil && (r.Workers < 0 || r.Busy < 0 || r.Queued < 0) {
				t.Errorf("%+v", r)
			}
		}
		if out, err := fastCGIOutput(bytes.NewReader(data)); err == nil {
			_, _ = fastCGIBody(out)
		}
	})
}

package caddymodule_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestOutcomes checks what each way to end counts as.
func TestOutcomes(t *testing.T) {
	dialErr := reverseproxy.NewDialError(errors.New("connection refused"))
	cases := []struct {
		name    string
		next    func(http.ResponseWriter, *http.Request) error
		status  int
		outcome breaker.Outcome
	}{
		{"nothing written", func(http.ResponseWriter, *http.Request) error { return nil }, 200, breaker.OK},
		{"not found", status(404), 404, breaker.OK},
		{"failing status", status(500), 500, breaker.Failure},
		{"not a failing status", status(501), 501, breaker.OK},
		{"upstream's refusal", func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Firebreak-Refusal", "busy")
			w.WriteHeader(503)
			return nil
		}, 503, breaker.Refused},
		{"gRPC unavailable", grpcStatus("14"), 200, breaker.Failure},
		{"gRPC not found", grpcStatus("5"), 200, breaker.OK},
		{"gRPC internal in trailers", func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/grpc+proto")
			_, err := io.WriteString(w, "message")
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "13")
			return err
		}, 200, breaker.Failure},
		{"dial error", fails(caddyhttp.Error(502, dialErr)), 502, breaker.NoUpstream},
		{"connection broken", fails(caddyhttp.Error(502, io.ErrUnexpectedEOF)), 502, breaker.Broken},
		{"error without a status", fails(errors.New("oops")), 500, breaker.Failure},
		{"client's mistake", fails(caddyhttp.Error(413, errors.New("too large"))), 413, breaker.Gone},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := startNext(t, "", "", c.next)
			res, _ := s.get(t, "/?key=a")
			if res.StatusCode != c.status {
				t.Errorf("status = %d, want %d", res.StatusCode, c.status)
			}
			s.wantOutcome(t, "z1", c.outcome, 1)
			s.wantSlots(t, "z1", 0, 0)
		})
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(code); return nil }
}

func fails(err error) func(http.ResponseWriter, *http.Request) error {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

func grpcStatus(code string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", code)
		w.WriteHeader(200)
		return nil
	}
}

// TestDeadlineIsStrict lets a handler ignore its context, as Caddy's FastCGI
// transport does.
func TestDeadlineIsStrict(t *testing.T) {
	stuck := newGate(t)
	late := make(chan error, 1)
	s := startNext(t, "", "", func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("X-Late", "yes")
		if r.URL.Query().Has("log") {
			return nil
		}
		stuck.wait()
		caddyhttp.SetVar(r.Context(), "late", true)
		w.WriteHeader(200)
		_, err := io.WriteString(w, "late")
		late <- err
		return nil
	})
	start := time.Now()
	res, body := s.get(t, "/?key=a")
	within(t, "the answer", time.Since(start), 500*time.Millisecond, 2*time.Second)
	wantHung(t, res, body)
	if res.Header.Get("X-Late") != "" {
		t.Error("the answer has a header field of the handler that was left behind")
	}
	s.wantOutcome(t, "z1", breaker.Hung, 1)
	s.wantSlots(t, "z1", 0, 1)
	stuck.release()
	if err := <-late; err == nil {
		t.Error("a write after the deadline was taken; want an error")
	}
	// The late answer shows that the worker is free, long before hung_hold.
	s.wantSlots(t, "z1", 0, 0)
	within(t, "the slot", time.Since(start), 500*time.Millisecond, 2*time.Second)
}

// TestHungHold: a handler that merely notices the deadline says nothing about
// its worker, so the slot is held for hung_hold.
func TestHungHold(t *testing.T) {
	s := startNext(t, "", "", func(_ http.ResponseWriter, r *http.Request) error {
		<-r.Context().Done()
		return r.Context().Err()
	})
	start := time.Now()
	res, body := s.get(t, "/?key=a")
	wantHung(t, res, body)
	s.wantSlots(t, "z1", 0, 1)
	s.wantSlots(t, "z1", 0, 0)
	within(t, "the hold", time.Since(start), 2*time.Second, 6*time.Second)
}

// TestTryDurationCannotStretchDeadline: reverse_proxy's retries ignore contexts.
func TestTryDurationCannotStretchDeadline(t *testing.T) {
	for _, transport := range []string{"", viaFirebreak, viaNetHTTP} {
		t.Run(transport, func(t *testing.T) {
			s := startGuarded(t, "", "", "reverse_proxy "+deadAddress(t)+" {\n lb_try_duration 8s\n lb_try_interval 50ms\n"+transport+"\n}")
			start := time.Now()
			res, body := s.get(t, "/?key=a")
			within(t, "the answer", time.Since(start), 500*time.Millisecond, 2*time.Second)
			wantHung(t, res, body)
			s.wantSlots(t, "z1", 0, 1)
		})
	}
}

// TestClientLeaves: the slot stays on the books.
func TestClientLeaves(t *testing.T) {
	stuck := newGate(t)
	s := startNext(t, "", "", func(http.ResponseWriter, *http.Request) error { stuck.wait(); return nil })
	for _, c := range []struct {
		after   time.Duration
		outcome breaker.Outcome
	}{{50 * time.Millisecond, breaker.GoneLate}, {350 * time.Millisecond, breaker.GoneLate}} {
		ctx, cancel := context.WithTimeout(t.Context(), c.after)
		_, err := s.do(ctx, http.MethodGet, "/?key=a", nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error = %v, want a deadline", err)
		}
	}
	s.wantSlots(t, "z1", 0, 2)
	s.wantOutcome(t, "z1", breaker.GoneLate, 2)
}

// TestPanics: a panic of the next handler is the next handler's.
func TestPanics(t *testing.T) {
	s := startNext(t, "", "", func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.Query().Has("abort") {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		panic("oops")
	})
	if res, err := s.do(t.Context(), http.MethodGet, "/?key=a", nil); err == nil {
		t.Errorf("status %d after a panic, want a closed connection", res.StatusCode)
	}
	s.wantOutcome(t, "z1", breaker.Gone, 1)
	res, err := s.do(t.Context(), http.MethodGet, "/?key=a&abort", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the body ended well after http.ErrAbortHandler")
	}
	s.wantSlots(t, "z1", 0, 0)
}

// TestLatePanic: a panic of a handler that was left behind harms no other request.
func TestLatePanic(t *testing.T) {
	stuck := newGate(t)
	done := make(chan struct{})
	s := startNext(t, "", "", func(http.ResponseWriter, *http.Request) error {
		defer close(done)
		stuck.wait()
		panic("too late")
	})
	res, body := s.get(t, "/?key=a")
	wantHung(t, res, body)
	stuck.release()
	<-done
}

// TestLateProxy: reverse_proxy may come to a request that was cut already. It
// takes variables of Caddy's for granted, and must not panic for lack of them.
func TestLateProxy(t *testing.T) {
	stuck := newGate(t)
	came := make(chan any, 1)
	s := startNext(t, "", "", func(_ http.ResponseWriter, r *http.Request) error {
		defer func() { came <- recover() }()
		stuck.wait()
		_ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
		_ = caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
		_ = caddyhttp.GetVar(r.Context(), "start_time").(time.Time)
		return nil
	})
	res, body := s.get(t, "/?key=a")
	wantHung(t, res, body)
	stuck.release()
	if v := <-came; v != nil {
		t.Errorf("panic: %v", v)
	}
}

// TestSlowUpload: a client that does not finish its request is no evidence
// against its store.
func TestSlowUpload(t *testing.T) {
	readErr := make(chan error, 1)
	s := startNext(t, "", "", func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.ReadAll(r.Body)
		readErr <- err
		return nil
	})
	wantAnswerToHalf(t, s, 50_000, 408)
	if err := <-readErr; err == nil {
		t.Error("the next handler read the body to its end")
	}
	s.wantOutcome(t, "z1", breaker.Gone, 1)
	s.wantSlots(t, "z1", 0, 0)
	// A short one is received before a slot is asked for.
	wantAnswerToHalf(t, s, 500, 408)
	s.wantOutcome(t, "z1", breaker.Gone, 1)
	if len(readErr) > 0 {
		t.Error("the next handler got half a request")
	}
}

// TestUnfinishedUploadAnswered: the answer does not wait for the rest of the
// request.
func TestUnfinishedUploadAnswered(t *testing.T) {
	stuck := newGate(t)
	s := startNext(t, "", "", func(http.ResponseWriter, *http.Request) error { stuck.wait(); return nil })
	wantAnswerToHalf(t, s, 50_000, 504)
}

// TestClientBreaksUpload: a request that breaks off is no evidence against anybody.
func TestClientBreaksUpload(t *testing.T) {
	for _, via := range []string{"", viaFirebreak, viaNetHTTP} {
		for _, length := range []int{1000, 100_000} {
			t.Run(fmt.Sprintf("%s, %d bytes", via, length), func(t *testing.T) {
				s := startProxy(t, "hung_hold 1m", via, func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadAll(r.Body)
				})
				for range 5 {
					conn, err := net.Dial("tcp", s.site)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = fmt.Fprintf(conn, "POST /?key=a HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\nhalf", s.site, length)
					conn.Close()
				}
				s.wantOutcome(t, "z1", breaker.Gone, 5)
				s.wantSlots(t, "z1", 0, 0)
			})
		}
	}
}

// wantAnswerToHalf sends half a body of so many bytes, and wants the answer at the
// deadline.
func wantAnswerToHalf(t *testing.T, s *sidecar, half, status int) {
	t.Helper()
	conn, err := net.Dial("tcp", s.site)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	_, _ = io.WriteString(conn, "POST /?key=a HTTP/1.1\r\nHost: "+s.site+fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", 2*half)+strings.Repeat("x", half))
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the answer", time.Since(start), 500*time.Millisecond, 2*time.Second)
	if res.StatusCode != status || !res.Close {
		t.Errorf("status = %d, connection to be closed: %t; want %d, true", res.StatusCode, res.Close, status)
	}
}

// TestRequestArrivesWhole: the body reaches the next handler byte for byte.
func TestRequestArrivesWhole(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	s := startNext(t, "", "", func(w http.ResponseWriter, r *http.Request) error {
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, sent) {
			w.WriteHeader(400)
		}
		return nil
	})
	for _, body := range []io.Reader{bytes.NewReader(sent), io.MultiReader(bytes.NewReader(sent))} {
		res, err := s.do(t.Context(), http.MethodPost, "/?key=a", body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 {
			t.Errorf("status = %d: the body did not arrive as it was sent", res.StatusCode)
		}
	}
}

// TestDeadlineHeader: the API server learns its deadline from us alone.
func TestDeadlineHeader(t *testing.T) {
	var got atomic.Pointer[string]
	next := func(_ http.ResponseWriter, r *http.Request) error {
		v := r.Header.Get("Firebreak-Deadline-Ms")
		got.Store(&v)
		return nil
	}
	for _, c := range []struct{ option, want string }{{"", ""}, {"deadline_header", "500"}, {"deadline_header\ntimeout 2s", "2000"}} {
		s := startNext(t, "", c.option, next)
		s.get(t, "/?key=a", "Firebreak-Deadline-Ms", "99999")
		if *got.Load() != c.want {
			t.Errorf("%q: header = %q, want %q", c.option, *got.Load(), c.want)
		}
	}
}

// TestRequestHeader: a request whose query may be cancelled has an id that is its own.
// What the client has put there never arrives.
func TestRequestHeader(t *testing.T) {
	var got atomic.Pointer[string]
	next := func(_ http.ResponseWriter, r *http.Request) error {
		v := strings.Join(r.Header["Firebreak-Request"], " ")
		got.Store(&v)
		return nil
	}
	const check = "check postgres postgres://firebreak@db/shop {\non_hung cancel_query\n}"
	s := startNext(t, check, "", next)
	s.get(t, "/?key=a", "Firebreak-Request", "mine")
	first := *got.Load()
	s.get(t, "/?key=a", "firebreak-request", "mine")
	if second := *got.Load(); len(first) < 20 || len(second) < 20 || first == second {
		t.Errorf("the ids are %q and %q", first, second)
	}
	for _, c := range []struct{ settings, method string }{{check, http.MethodPost}, {"", http.MethodGet}} {
		s := startNext(t, c.settings, "", next)
		if _, err := s.do(t.Context(), c.method, "/?key=a", nil, "Firebreak-Request", "mine"); err != nil {
			t.Fatal(err)
		}
		if *got.Load() != "" {
			t.Errorf("%s %s: the header is %q", c.settings, c.method, *got.Load())
		}
	}
}

// TestHandlerTimeout: a handler's own timeout goes before its zone's.
func TestHandlerTimeout(t *testing.T) {
	s := startNext(t, "", "timeout 5s", func(http.ResponseWriter, *http.Request) error {
		time.Sleep(700 * time.Millisecond)
		return nil
	})
	if res, _ := s.get(t, "/?key=a"); res.StatusCode != 200 {
		t.Errorf("status = %d, want 200", res.StatusCode)
	}
}

// TestUnknownStores: they share one bucket, or are refused.
func TestUnknownStores(t *testing.T) {
	s := startNext(t, "", "", status(200))
	for _, path := range []string{"/", "/?key=nobody"} {
		if res, _ := s.get(t, path); res.StatusCode != 200 {
			t.Errorf("GET %s: status = %d, want 200", path, res.StatusCode)
		}
	}
	s.wantOutcome(t, "unknown", breaker.OK, 2)
	s = startNext(t, "", "unknown refuse", status(200))
	res, body := s.get(t, "/?key=nobody")
	if res.StatusCode != 404 || res.Header.Get("Firebreak-Refusal") != "unknown_store" || res.Header.Get("Retry-After") != "" {
		t.Errorf("status %d, header %v; want 404, unknown_store and no Retry-After", res.StatusCode, res.Header)
	}
	if !strings.Contains(body, "no such store") {
		t.Errorf("body = %q", body)
	}
}

// TestAmbiguousKey: a request with two different values of a key is refused.
func TestAmbiguousKey(t *testing.T) {
	startNext(t, "", "", status(200))
	s := startGuarded(t, "", "", scrapeSite+"test_next")
	res, body := s.get(t, "/?key=a&key=b")
	if res.StatusCode != 400 || res.Header.Get("Firebreak-Refusal") != "ambiguous_key" || res.Header.Get("Retry-After") != "" {
		t.Errorf("status %d, header %v; want 400, ambiguous_key and no Retry-After", res.StatusCode, res.Header)
	}
	if want := `"detail":"The request carries two different values for query key.","refusal":"ambiguous_key"`; !strings.Contains(body, want) {
		t.Errorf("body = %q, want %s in it", body, want)
	}
	if _, body := s.get(t, "/?key=a&key=b", "Accept", "text/plain"); body != "The request carries two different values for query key.\n" {
		t.Errorf("as text: %q", body)
	}
	if text := s.metrics(t); !strings.Contains(text, "\ncaddy_firebreak_ambiguous_key_refusals_total ") ||
		strings.Contains(text, "\ncaddy_firebreak_ambiguous_key_refusals_total 0\n") {
		t.Error("the refusals are not counted")
	}
	if res, _ := s.get(t, "/?key=a&key=a"); res.StatusCode != 200 {
		t.Errorf("the same value twice: status = %d, want 200", res.StatusCode)
	}
	s.wantOutcome(t, "z1", breaker.OK, 1)
}

// TestAmbiguousKeyAdmitted: the key says which value counts, or nothing is
// refused.
func TestAmbiguousKeyAdmitted(t *testing.T) {
	for name, c := range map[string]struct{ zone, key, want string }{
		"unknown": {"", "key query k ambiguous unknown", "unknown"},
		"first":   {"", "key query k ambiguous first", "z1"},
		"last":    {"", "key query k ambiguous last", "z2"},
		"observe": {"mode observe", "key query k", "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startNext(t, c.zone, c.key, status(200))
			if res, _ := s.get(t, "/?k=a&k=e"); res.StatusCode != 200 {
				t.Errorf("status = %d, want 200", res.StatusCode)
			}
			s.wantOutcome(t, c.want, breaker.OK, 1)
		})
	}
}

// TestConnectionHidesKey: a proxy removes what Connection names, so it is no key.
func TestConnectionHidesKey(t *testing.T) {
	s := startNext(t, "", "key header X-API-Key", status(200))
	s.get(t, "/", "X-API-Key", "a", "Connection", "keep-alive, x-api-key")
	s.wantOutcome(t, "unknown", breaker.OK, 1)
	s.get(t, "/", "X-API-Key", "a", "Connection", "keep-alive")
	s.wantOutcome(t, "z1", breaker.OK, 1)
}

// TestPlaceholdersAndLog: the other handlers and the access log learn store,
// zone, outcome and refusal.
func TestPlaceholdersAndLog(t *testing.T) {
	logFile := filepath.Join(t.TempDir(), "access.log")
	stuck := newGate(t)
	nextFunc.Lock()
	nextFunc.f = func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.Query().Has("hang") {
			stuck.wait()
			return nil
		}
		w.WriteHeader(204)
		return nil
	}
	nextFunc.Unlock()
	s := startGuarded(t, "", "", "log {\n output file "+logFile+"\n}\nheader >X-Where {http.firebreak.zone}/{http.firebreak.store}\ntest_next")
	res, _ := s.get(t, "/?key=slash/store")
	if got := res.Header.Get("X-Where"); got != "z2/slash/store" {
		t.Errorf("placeholders gave %q, want z2/slash/store", got)
	}
	s.get(t, "/?key=a&hang")
	eventually(t, "two lines in the access log", func() bool {
		lines, _ := os.ReadFile(logFile)
		return strings.Contains(string(lines), `"firebreak_store":"slash/store","firebreak_zone":"z2","firebreak_outcome":"ok"`) &&
			strings.Contains(string(lines), `"firebreak_store":"a","firebreak_zone":"z1","firebreak_outcome":"hung","firebreak_refusal":"hung"`)
	})
}

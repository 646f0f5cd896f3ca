package zone_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/zone"
)

func open(t *testing.T, c zone.Config) *zone.Server {
	t.Helper()
	c.Listen = "127.0.0.1:0"
	server, err := zone.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// ask sends one query on a connection of its own; the answer comes on a channel.
func ask(addr, store string) <-chan string {
	answer := make(chan string, 1)
	go func() {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s\n", store)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			line = err.Error()
		}
		answer <- strings.TrimSpace(line)
	}()
	return answer
}

func wantAnswer(t *testing.T, answer <-chan string, want string) {
	t.Helper()
	select {
	case got := <-answer:
		if !strings.Contains(got, want) {
			t.Errorf("want answer %q, got %q", want, got)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("want answer %q, got none", want)
	}
}

func wantSilence(t *testing.T, answer <-chan string) {
	t.Helper()
	select {
	case got := <-answer:
		t.Errorf("want no answer, got %q", got)
	case <-time.After(200 * time.Millisecond):
	}
}

func TestHungStoresAnswerOnceHealed(t *testing.T) {
	z := open(t, zone.Config{Parallel: 1})
	z.Hang("s2", "s3")
	second := ask(z.Addr(), "s2")
	wantSilence(t, second)
	wantAnswer(t, ask(z.Addr(), "s1"), "value of s1")
	if err := z.Heal(); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, second, "value of s2")
	wantAnswer(t, ask(z.Addr(), "s3"), "value of s3")
}

func TestRefusingCutsOpenConnectionsToo(t *testing.T) {
	z := open(t, zone.Config{})
	z.Hang("s1")
	stuck := ask(z.Addr(), "s1")
	wantSilence(t, stuck)
	z.Refuse()
	wantAnswer(t, stuck, "") // an error, but an end
	wantAnswer(t, ask(z.Addr(), "s2"), "refused")
	if err := z.Heal(); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, ask(z.Addr(), "s2"), "value of s2")
}

func TestSlowDelaysEachQueryUntilHealed(t *testing.T) {
	const delay = 300 * time.Millisecond
	z := open(t, zone.Config{Parallel: 1})
	z.Slow(delay)
	began := time.Now()
	first, second := ask(z.Addr(), "s1"), ask(z.Addr(), "s2")
	wantAnswer(t, first, "value of s1")
	wantAnswer(t, second, "value of s2")
	if took := time.Since(began); took < delay {
		t.Errorf("want at least %v, got %v", delay, took)
	}
	if err := z.Heal(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	wantAnswer(t, ask(z.Addr(), "s1"), "value of s1")
	if took := time.Since(began); took >= delay {
		t.Errorf("want a quick answer after the heal, got one after %v", took)
	}
}

func TestMoreQueriesThanParallelWait(t *testing.T) {
	const service = 100 * time.Millisecond
	z := open(t, zone.Config{MinService: service, MaxService: service, Parallel: 2})
	began := time.Now()
	var answers []<-chan string
	for range 6 {
		answers = append(answers, ask(z.Addr(), "s1"))
	}
	for _, answer := range answers {
		wantAnswer(t, answer, "value of s1")
	}
	if took := time.Since(began); took < 3*service {
		t.Errorf("want six queries, two at a time, to take %v, got %v", 3*service, took)
	}
}

func TestWrongLinesAreAnswered(t *testing.T) {
	z := open(t, zone.Config{})
	conn, err := net.Dial("tcp", z.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, "HELLO")
	line, _ := bufio.NewReader(conn).ReadString('\n')
	if !strings.HasPrefix(line, "ERROR") {
		t.Errorf("want an error line, got %q", line)
	}
}

func TestControl(t *testing.T) {
	z := open(t, zone.Config{})
	for _, tt := range []struct {
		path   string
		status int
	}{
		{"/hang?store=s1&store=s2", 200},
		{"/slow?delay=1ms", 200},
		{"/slow?delay=soon", 400},
		{"/refuse", 200},
		{"/heal", 200},
		{"/nothing", 404},
	} {
		w := httptest.NewRecorder()
		z.Control().ServeHTTP(w, httptest.NewRequest("POST", tt.path, nil))
		if w.Code != tt.status {
			t.Errorf("%s: want %d, got %d %s", tt.path, tt.status, w.Code, w.Body)
		}
	}
	wantAnswer(t, ask(z.Addr(), "s1"), "value of s1")
}

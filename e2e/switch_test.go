//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// answering is a site that answers by itself, so that nothing but firebreak is
// measured. app is more options of the firebreak app.
func answering(app string) site {
	return site{pool: workers, app: app, handlers: guard + "\n\trespond ok"}
}

// change asks the admin API for a change and returns the status.
func (p *proxy) change(method, path, body string) (int, string, error) {
	request, err := http.NewRequest(method, "http://"+p.admin+"/firebreak/"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := adminClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, string(answer), err
}

func (p *proxy) mustChange(t *testing.T, method, path, body string) {
	t.Helper()
	status, answer, err := p.change(method, path, body)
	if err != nil || status >= 300 {
		t.Fatalf("%s %s: %d %v: %s", method, path, status, err, answer)
	}
}

// asked is what a client got.
type asked struct {
	status  int
	refusal string
	header  http.Header
	body    string
}

func (p *proxy) ask(store string, header ...string) (asked, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+p.addr+"/search?key="+store, nil)
	if err != nil {
		return asked{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := adminClient.Do(request)
	if err != nil {
		return asked{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return asked{response.StatusCode, response.Header.Get("Firebreak-Refusal"), response.Header, string(body)}, err
}

func (p *proxy) mustAsk(t *testing.T, store string, header ...string) asked {
	t.Helper()
	a, err := p.ask(store, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// inMaintenance tells whether a store's requests are refused by a switch.
func (p *proxy) inMaintenance(t *testing.T, store string) bool {
	t.Helper()
	return p.mustAsk(t, store).refusal == "maintenance"
}

// command runs the command line against the proxy and returns what it prints
// and its exit code.
func (p *proxy) command(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(world.firebreak, append(args, "--address", p.admin)...)
	cmd.Env = p.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (p *proxy) mustCommand(t *testing.T, args ...string) string {
	t.Helper()
	out, code := p.command(t, args...)
	if code != 0 {
		t.Fatalf("firebreak %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

// TestSwitchInForce: from "zone z07 is on fire" to maintenance, by one call of
// the admin API and by one command.
func TestSwitchInForce(t *testing.T) {
	t.Run("storage", func(t *testing.T) {
		switchInForce(t, startProxy(t, answering("state storage")))
	})
	t.Run("redis", func(t *testing.T) {
		switchInForce(t, startProxy(t, answering("state redis "+startRedis(t).addr)))
	})
}

func switchInForce(t *testing.T, p *proxy) {
	const rounds, limit = 30, 10 * time.Millisecond
	store := storeName(6, 1)
	var acknowledged, refused, commands []time.Duration
	for n := range rounds {
		began := time.Now()
		p.mustChange(t, http.MethodPut, "maintenance/zones/z07", fmt.Sprintf(`{"reason": "on fire, %d"}`, n))
		acknowledged = append(acknowledged, time.Since(began))
		if !p.inMaintenance(t, store) {
			t.Fatal("the request after the acknowledgement was not refused")
		}
		refused = append(refused, time.Since(began))
		p.mustChange(t, http.MethodDelete, "maintenance/zones/z07", "")
		if p.inMaintenance(t, store) {
			t.Fatal("the request after the acknowledgement was refused, though maintenance is off")
		}
	}
	for range 5 {
		began := time.Now()
		p.mustCommand(t, "maintenance", "on", "zone", "z07", "--reason", "on fire")
		commands = append(commands, time.Since(began))
		if !p.inMaintenance(t, store) {
			t.Fatal("the request after the command was not refused")
		}
		p.mustChange(t, http.MethodDelete, "maintenance/zones/z07", "")
	}
	figure(t, "acknowledged after %s at the median, %s at worst; first refusal %s after the call's start at the median, %s at worst; the whole command %s at the median",
		ms(percentile(acknowledged, 50)), ms(percentile(acknowledged, 100)), ms(percentile(refused, 50)), ms(percentile(refused, 100)), ms(percentile(commands, 50)))
	median := percentile(refused, 50)
	promise(t, median <= limit, median <= 10*limit, "in force after %s at the median, want at most %s", median, limit)
}

// percentile is the smallest value that p percent of all do not exceed.
func percentile(all []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// TestWalkThrough is an operator's and a client's view of a zone's maintenance,
// with the command line and curl.
func TestWalkThrough(t *testing.T) {
	p := startProxy(t, gunicornSite(gunicornOf(t, 4), ""))
	sick, well := storeName(6, 1), storeName(0, 1)
	if a := p.mustAsk(t, sick); a.status != http.StatusOK {
		t.Fatalf("before all: %+v", a)
	}
	out := p.mustCommand(t, "maintenance", "on", "zone", "z07", "--reason", "disk full",
		"--message", "Back at 15:00 <UTC>.", "--for", "30m", "--by", "ann", "--ticket", "OPS-7")
	wantText(t, "maintenance on", out, "maintenance is ON", "1 switch set")

	answer := p.curl(t, sick)
	wantText(t, "curl", answer, "HTTP/1.1 503 ", "Content-Type: application/problem+json", "Cache-Control: no-store", "Firebreak-Refusal: maintenance", "Back at 15:00")
	after := retryAfter(t, answer)
	if after < 29*60 || after > 40*60 {
		t.Errorf("Retry-After: %d s, want the half hour that is left and some jitter", after)
	}
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	var problem struct {
		Status int
		Detail string
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Status != 503 || problem.Detail != "Back at 15:00 <UTC>." {
		t.Errorf("the problem is %+v, %v: %s", problem, err, body)
	}
	page := p.curl(t, sick, "-H", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8")
	wantText(t, "a browser", page, "Content-Type: text/html", "<!doctype html>", "<p>Back at 15:00 &lt;UTC&gt;.</p>")
	wantText(t, "another zone", p.curl(t, well), "HTTP/1.1 200 ")

	wantText(t, "list", p.mustCommand(t, "maintenance", "list"), "zone z07", "in force", "disk full", "ann", "OPS-7")
	wantText(t, "explain", p.mustCommand(t, "explain", "http://"+p.addr+"/search?key="+sick), "maintenance", "disk full")
	wantText(t, "store off", p.mustCommand(t, "maintenance", "off", "store", sick), "maintenance is OFF")
	wantText(t, "a released store", p.curl(t, sick), "HTTP/1.1 200 ")
	wantText(t, "its neighbour", p.curl(t, storeName(6, 2)), "HTTP/1.1 503 ")
	wantText(t, "off", p.mustCommand(t, "maintenance", "off", "zone", "z07"), "maintenance is OFF")
	wantText(t, "after all", p.curl(t, storeName(6, 2)), "HTTP/1.1 200 ")
	wantText(t, "history", p.mustCommand(t, "maintenance", "history"), "ann", "disk full")
	if out, code := p.command(t, "maintenance", "on", "zone", "z7"); code != 3 || !strings.Contains(out, "no zone \"z7\"; did you mean z07?") {
		t.Errorf("a zone that is not there: exit code %d: %s", code, out)
	}
}

// curl asks for a store's search and returns head and body.
func (p *proxy) curl(t *testing.T, store string, args ...string) string {
	t.Helper()
	out, err := exec.Command("curl", append(args, "-s", "-i", "--max-time", "10", "http://"+p.addr+"/search?key="+store)...).Output()
	if err != nil {
		t.Fatalf("curl: %v", err)
	}
	return string(out)
}

func retryAfter(t *testing.T, answer string) (seconds int) {
	t.Helper()
	_, rest, _ := strings.Cut(answer, "\nRetry-After: ")
	if _, err := fmt.Sscan(rest, &seconds); err != nil {
		t.Errorf("no Retry-After: %s", answer)
	}
	return seconds
}

func wantText(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(got, text) {
			t.Errorf("%s: no %q in\n%s", what, text, got)
		}
	}
}

//go:build e2e

package e2e_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axe finds what keeps people from using a page.
//
//go:embed testdata/axe-core/axe.min.js
var axe string

// browser is a tab of Chromium that shows the dashboard of a proxy.
type browser struct {
	ctx context.Context
	url string

	mu         sync.Mutex // guards below
	complaints []string   // of the browser: exceptions, refused scripts and the like
}

// openDashboard starts Chromium and waits until the dashboard is live.
func openDashboard(t *testing.T, p *proxy) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("lang", "en-GB"))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{ctx: ctx, url: "http://" + p.admin + "/firebreak/ui/"}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal("starting Chromium: ", err)
	}
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, cdplog.Enable, struct{}{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, complaint := range b.complaints {
			t.Error("Chromium complains:", complaint)
		}
	})
	b.look(t, "light", 1440, 1000)
	b.do(t, chromedp.Navigate(b.url))
	b.wait(t, "the dashboard is live", `document.getElementById('connection').textContent === 'Live'`)
	return b
}

// heard notes what Chromium complains about. A route that this build does not
// have, and connections that a reload cuts, are none of it.
func (b *browser) heard(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			complaint += " " + e.ExceptionDetails.Exception.Description
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Source != "network" {
			complaint = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if complaint == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, complaint)
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 20*time.Second)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// run evaluates a script in the page, and waits for it.
func (b *browser) run(t *testing.T, script string) {
	t.Helper()
	b.do(t, chromedp.Evaluate[chromedp.Void](script, chromedp.EvalAwaitPromise))
}

// value is what a script is worth in the page.
func value[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 20*time.Second)
	defer stop()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return got
}

// wait waits until a condition holds in the page.
func (b *browser) wait(t *testing.T, what, condition string) {
	t.Helper()
	eventually(t, 20*time.Second, what, func() bool { return value[bool](t, b, "Boolean("+condition+")") })
}

// look sets the colours that the person prefers, and the size of the window.
func (b *browser) look(t *testing.T, scheme string, width, height int64) {
	t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.EmulateViewport(width, height), chromedp.Sleep(100*time.Millisecond))
}

// shoot keeps a picture of the page in FIREBREAK_SCREENSHOTS, or e2e/out.
func (b *browser) shoot(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("FIREBREAK_SCREENSHOTS")
	if dir == "" {
		dir = "out"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

// accessible wants no serious violation of accessibility rules in the page as
// it is now.
func (b *browser) accessible(t *testing.T, what string) {
	t.Helper()
	if !value[bool](t, b, `typeof axe === 'object'`) {
		b.run(t, axe+";undefined")
	}
	found := value[string](t, b, `axe.run(document, { resultTypes: ['violations'] }).then((result) => JSON.stringify(
		result.violations.map((v) => ({ id: v.id, impact: v.impact, nodes: v.nodes.slice(0, 4).map((n) => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? '')) }))))`)
	var violations []struct {
		ID, Impact string
		Nodes      []string
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		if v.Impact == "serious" || v.Impact == "critical" {
			t.Errorf("%s: %s violation of %s: %s", what, v.Impact, v.ID, strings.Join(v.Nodes, "\n\t"))
		} else {
			t.Logf("%s: %s violation of %s: %s", what, v.Impact, v.ID, strings.Join(v.Nodes, "\n\t"))
		}
	}
}

// visit goes to a page of the dashboard.
func (b *browser) visit(t *testing.T, hash, title string) {
	t.Helper()
	b.run(t, fmt.Sprintf("location.hash = %q; undefined", hash))
	b.wait(t, "the page "+title, fmt.Sprintf("document.title.includes(%q)", title))
}

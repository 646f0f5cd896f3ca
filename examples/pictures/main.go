// Command pictures makes the pictures of the README from a real run: it starts what
// `make run` starts, freezes a zone's database, types the commands of the recording
// into a terminal, and takes the dashboard's picture in Chromium.
//
//	go run ./examples/pictures -firebreak bin/firebreak -to docs/images
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	site      = "http://localhost:8080"
	dashboard = "http://localhost:2019/firebreak/ui/"
)

// scene are the commands of the recording, with pauses in which firebreak detects
// the freeze and its end.
var scene = []step{
	{command: "curl -i 'localhost:8080/search?key=s0601'", comment: "a store of zone z7"},
	{command: "curl -X POST '127.0.0.1:9002/freeze?zone=z7'", comment: "z7's database stops answering", after: 1500 * time.Millisecond},
	{command: "curl -i 'localhost:8080/search?key=s0601'", comment: "z7: refused at once"},
	{command: "curl -i 'localhost:8080/search?key=s0001'", comment: "z1 works as before", after: 4 * time.Second},
	{command: "bin/firebreak status", after: 2 * time.Second},
	{command: "curl -X POST '127.0.0.1:9002/heal?zone=z7'", after: 5 * time.Second},
	{command: "curl -i 'localhost:8080/search?key=s0601'", comment: "z7 is back"},
}

func main() {
	bin := flag.String("firebreak", "bin/firebreak", "firebreak's binary")
	to := flag.String("to", "docs/images", "directory of the pictures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := take(ctx, *bin, *to)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func take(ctx context.Context, bin, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	end, err := startStage(ctx, bin)
	if err != nil {
		return err
	}
	defer end()

	var recorded []step
	for _, s := range scene {
		fmt.Println("$", s.command)
		if err := s.run(ctx); err != nil {
			return err
		}
		recorded = append(recorded, s)
	}
	if err := os.WriteFile(filepath.Join(to, "outage.svg"), render(recorded), 0o644); err != nil {
		return err
	}
	time.Sleep(20 * time.Second) // until the first episode is over
	if err := post(ctx, "http://127.0.0.1:9002/freeze?zone=z7"); err != nil {
		return err
	}
	time.Sleep(10 * time.Second)
	for _, scheme := range []string{"light", "dark"} {
		if err := screenshot(ctx, scheme, filepath.Join(to, "dashboard-"+scheme+".png")); err != nil {
			return fmt.Errorf("the dashboard, %s: %w", scheme, err)
		}
	}
	return nil
}

// startStage starts the processes of `make run` and waits until they answer.
func startStage(ctx context.Context, bin string) (end func(), err error) {
	dir, err := os.MkdirTemp("", "pictures")
	if err != nil {
		return nil, err
	}
	outage := filepath.Join(dir, "outage")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", outage, "./examples/outage").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the stage: %w\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, outage, "run", "-firebreak", bin, "-config", "Caddyfile")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for range 100 {
		response, err := http.Get(site + "/search?key=s0601")
		if err == nil {
			_ = response.Body.Close()
			time.Sleep(5 * time.Second) // some everyday traffic first
			return end, nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	end()
	return nil, errors.New("the stage did not start within 20 s")
}

func post(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

package main

import (
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// side is one of the two proxies that are compared.
type side string

const (
	plainCaddy side = "plain"
	firebreak  side = "firebreak"
)

// title is the head of the side's column.
func (s side) title() string {
	if s == plainCaddy {
		return "plain Caddy"
	}
	return "firebreak"
}

//go:embed Caddyfile
var firebreakCaddyfile []byte

//go:embed Caddyfile.plain
var plainCaddyfile []byte

// firebreakModule is the module a binary must have to play the firebreak side.
const firebreakModule = "http.handlers.firebreak"

// hasFirebreak explains what is wrong with bin, or returns nil.
func hasFirebreak(bin string) error {
	out, err := exec.Command(bin, "list-modules").Output()
	if err != nil {
		return fmt.Errorf("asking %s for its modules: %w (build it with `make build`)", bin, err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) == firebreakModule {
			return nil
		}
	}
	return fmt.Errorf("%s has no firebreak in it: `%s list-modules` does not list %s (build it with `make build`)",
		bin, bin, firebreakModule)
}

// startProxy starts bin with the config file, or with the side's own one.
func (s *stage) startProxy(which side, bin, configFile string) error {
	if configFile == "" {
		configFile = filepath.Join(s.dir, "Caddyfile")
		text := firebreakCaddyfile
		if which == plainCaddy {
			text = plainCaddyfile
		}
		if err := os.WriteFile(configFile, text, 0o644); err != nil {
			return err
		}
	}
	_, port, err := net.SplitHostPort(s.proxy)
	if err != nil {
		return err
	}
	env := []string{
		"FIREBREAK_ADMIN=" + s.admin, "FIREBREAK_PORT=" + port, "FIREBREAK_API=" + s.api,
		"FIREBREAK_STORES=" + s.storesFile(), fmt.Sprintf("FIREBREAK_WORKERS=%d", s.workers),
		// Whatever Caddy keeps goes when the stage goes.
		"HOME=" + s.dir, "XDG_CONFIG_HOME=" + s.dir, "XDG_DATA_HOME=" + s.dir,
	}
	s.proxyS, err = startChild("proxy", s.dir, []string{s.proxy, s.admin}, env, bin,
		"run", "--config", configFile, "--adapter", "caddyfile")
	return err
}

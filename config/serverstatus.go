package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Sources of a server's status.
const (
	StatusAuto  = "auto"
	StatusOff   = "off"
	StatusFPM   = "fpm"
	StatusPuma  = "puma"
	StatusUWSGI = "uwsgi"
)

// StatusSources are the sources of a server's status, in order.
func StatusSources() []string {
	return []string{StatusAuto, StatusFPM, StatusOff, StatusPuma, StatusUWSGI}
}

// statusExamples is how each source of a status is written.
var statusExamples = map[string]string{
	StatusAuto:  "auto",
	StatusOff:   "off",
	StatusFPM:   "fpm fastcgi://127.0.0.1:9001/status",
	StatusPuma:  "puma 127.0.0.1:9293 token",
	StatusUWSGI: "uwsgi 127.0.0.1:9191",
}

// StatusExample is how a source of a server's status is written in a Caddyfile.
func StatusExample(source string) string { return statusExamples[source] }

// HostPlaceholder stands for the server's host in the address of a status page.
const HostPlaceholder = "{host}"

// ServerStatus is where it is found out how many workers an API server has, and
// how many of them are busy.
type ServerStatus struct {
	// "auto": servers on this machine by the connections to them, as Linux knows
	// them; of others nothing is found out. For servers whose workers take a
	// connection when they are free: gunicorn's sync workers, PHP-FPM, Unicorn,
	// uWSGI without its HTTP router. "fpm": PHP-FPM's status page
	// (pm.status_path). "puma": Puma's control app. "uwsgi": uWSGI's stats
	// server. "off": not at all.
	Source string `json:"source"`

	// Where the page is, for fpm, puma and uwsgi: "fastcgi://127.0.0.1:9001/status"
	// or "http://127.0.0.1/status" for fpm, "127.0.0.1:9293" for puma and uwsgi;
	// "http://127.0.0.1:9191" for a uWSGI with --stats-http. {host} stands for the
	// host of the server's address.
	Address string `json:"address,omitempty"`

	// The token of Puma's control app.
	Token string `json:"token,omitempty"`
}

// Check finds what is wrong with the setting.
func (s *ServerStatus) Check() error {
	if s == nil {
		return nil
	}
	switch s.Source {
	case StatusAuto, StatusOff:
		if s.Address != "" || s.Token != "" {
			return fmt.Errorf("%s takes no address", s.Source)
		}
		return nil
	case StatusFPM, StatusPuma, StatusUWSGI:
	default:
		return fmt.Errorf("%q is no source of a server's status: it must be one of %s", s.Source, strings.Join(StatusSources(), ", "))
	}
	if s.Token != "" && s.Source != StatusPuma {
		return fmt.Errorf("%s takes no token", s.Source)
	}
	if err := s.checkAddress(strings.ReplaceAll(s.Address, HostPlaceholder, "127.0.0.1")); err != nil {
		return fmt.Errorf("%s: %w", s.Source, err)
	}
	return nil
}

func (s *ServerStatus) checkAddress(address string) error {
	if strings.ContainsAny(address, "{}") {
		return fmt.Errorf("%q: the only placeholder is %s, which stands for the host of the server", s.Address, HostPlaceholder)
	}
	scheme, _, isURL := strings.Cut(address, "://")
	switch s.Source {
	case StatusFPM:
		if !isURL || scheme != "fastcgi" && scheme != "http" {
			return fmt.Errorf("%q must be the URL of its status page; write for example fastcgi://127.0.0.1:9001/status, fastcgi://unix//run/php/status.sock|/status or http://127.0.0.1/status", s.Address)
		}
		if scheme == "fastcgi" {
			return nil // the rest is checked by the source itself
		}
	case StatusPuma:
		if isURL {
			return fmt.Errorf("%q must be an address without a scheme; write for example 127.0.0.1:9293 or unix//run/pumactl.sock", s.Address)
		}
	case StatusUWSGI:
		if isURL && scheme != "http" {
			return fmt.Errorf("%q must be 127.0.0.1:9191, unix//run/stats.sock or, with --stats-http, http://127.0.0.1:9191", s.Address)
		}
	}
	if isURL {
		return checkHTTP(address)
	}
	return checkDial(address)
}

func checkHTTP(text string) error {
	page, err := url.Parse(text)
	switch {
	case err != nil:
		return err
	case page.Hostname() == "":
		return fmt.Errorf("%q has no host", text)
	}
	return nil
}

func checkDial(address string) error {
	if path, ok := strings.CutPrefix(address, "unix/"); ok {
		if path == "" || path == "@" {
			return fmt.Errorf("%q names no unix socket", address)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return errors.New("its address is missing")
	case err != nil:
		return fmt.Errorf("%q is no address: %w", address, err)
	case host == "" || port == "":
		return fmt.Errorf("%q must be a host and a port", address)
	}
	return nil
}

// At is the setting for the server at an address: {host} is replaced.
func (s ServerStatus) At(address string) ServerStatus {
	host, _, err := net.SplitHostPort(strings.TrimPrefix(address, "tcp/"))
	if err != nil {
		host = "127.0.0.1" // a unix socket: it is on this machine
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	s.Address = strings.ReplaceAll(s.Address, HostPlaceholder, host)
	return s
}

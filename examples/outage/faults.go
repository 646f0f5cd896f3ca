package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// controlClient talks to control ports; those answer at once or never.
var controlClient = &http.Client{Timeout: 2 * time.Second}

func (s *stage) zone(name string) (*zoneProcess, error) {
	z, found := s.zones[name]
	if !found {
		return nil, fmt.Errorf("no such zone %q: there are z1 to z%d", name, s.size.zones)
	}
	return z, nil
}

// freeze stops the zone's process: it still accepts connections (the kernel
// does) and never answers.
func (s *stage) freeze(name string) error {
	z, err := s.zone(name)
	if err != nil {
		return err
	}
	return z.signal(syscall.SIGSTOP)
}

// hang makes the queries for these stores wait until the zone is healed.
func (s *stage) hang(name string, ids []string) error {
	return s.tell(name, "/hang?"+url.Values{"store": ids}.Encode())
}

// slow adds a delay to each query of the zone.
func (s *stage) slow(name string, delay time.Duration) error {
	return s.tell(name, "/slow?delay="+delay.String())
}

// refuse closes the zone's listener and connections.
func (s *stage) refuse(name string) error {
	return s.tell(name, "/refuse")
}

// heal ends every fault of the zone.
func (s *stage) heal(name string) error {
	z, err := s.zone(name)
	if err != nil {
		return err
	}
	if err := z.signal(syscall.SIGCONT); err != nil {
		return err
	}
	return s.tell(name, "/heal")
}

func (s *stage) tell(name, path string) error {
	z, err := s.zone(name)
	if err != nil {
		return err
	}
	_, err = post("http://" + z.control + path)
	return err
}

// post returns what a control port answers; other than 200 is an error.
func post(address string) (string, error) {
	resp, err := controlClient.Post(address, "", nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	text := strings.TrimSpace(string(body))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(text)
	}
	return text, err
}

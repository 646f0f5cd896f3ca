package lookup

import (
	"context"
	"net"
)

// DialBy makes a directory reach its service over dial.
func (o *Options) DialBy(dial func(context.Context, string, string) (net.Conn, error)) { o.dial = dial }

// CloseIdle closes the idle connections.
func (d *Directory) CloseIdle() { d.service.client.CloseIdleConnections() }

// SaveAnswers writes the snapshot now.
func (d *Directory) SaveAnswers() { d.saveAnswers() }

// Kept is how many keys of stores, and how many unknown keys, are kept.
func (d *Directory) Kept() (known, unknown int) { return d.known.size(), d.unknown.size() }

// DecodeAnswer reads what the service says.
func DecodeAnswer(body []byte) (store, zone string, keys []string, err error) {
	a, err := decodeAnswer(body)
	return a.Store, a.Zone, a.Keys, err
}

// Fill puts a value into a URL.
func Fill(url, variable, value string) string { return newTemplate(url, variable).fill(value) }

package zonecheck

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// maxCheckAnswer is how much of an answer is searched for what is expected.
const maxCheckAnswer = 64 << 10

// Func asks a database how it is, until ctx ends.
type Func func(ctx context.Context, c *config.Check) error

// protocols are the ways to ask. Packages add to them while the program starts.
var protocols = map[string]Func{"tcp": checkTCP, "http": checkHTTP}

// Register adds a way to ask. Call it from init.
func Register(name string, ask Func) { protocols[name] = ask }

// askers are the ways to ask a database about its stores, by protocol.
var askers = map[string]breaker.AskFunc{}

// probers are the ways to try one store of a database, by protocol.
var probers = map[string]func(ctx context.Context, zone string, c *config.Check, store string, limit time.Duration) (breaker.Verdict, error){}

// Probe runs the check's store_probe for one store, which the database ends after
// limit. The error says why the store failed, or why the probe could not be run.
func Probe(ctx context.Context, zone string, c *config.Check, store string, limit time.Duration) (breaker.Verdict, error) {
	probe := probers[c.Protocol]
	if probe == nil {
		return breaker.Unknown, fmt.Errorf("check %s of zone %s: stores cannot be tried in databases of this protocol", c.Protocol, zone)
	}
	return probe(ctx, zone, c, store, limit)
}

// Ask asks a zone's database which queries hang, and tries its stores.
func Ask(ctx context.Context, zone string, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	ask := askers[c.Protocol]
	if ask == nil {
		return fmt.Errorf("check %s of zone %s: databases of this protocol cannot be asked about stores", c.Protocol, zone)
	}
	if err := ask(ctx, zone, c, q, report); err != nil {
		return fmt.Errorf("asking the database of zone %s about its stores: %w", zone, AnswerError(ctx, err))
	}
	return nil
}

// Knows reports whether a way to ask is part of this build.
func Knows(name string) bool { return protocols[name] != nil }

// Check asks a zone's database how it is. It costs no worker of the pool
// and takes no longer than the check's timeout. Each call opens a connection
// of its own: one that was opened before the trouble proves nothing.
func Check(ctx context.Context, zone string, c *config.Check) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(time.Duration(c.Timeout), time.Second))
	defer cancel()
	err := fmt.Errorf("unknown protocol %q", c.Protocol)
	if ask := protocols[c.Protocol]; ask != nil {
		err = ask(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("check %s of zone %s: %w", c.Protocol, zone, err)
	}
	return nil
}

func checkTCP(ctx context.Context, c *config.Check) error {
	send, err := c.SendBytes()
	if err != nil {
		return err
	}
	expect, err := c.ExpectBytes()
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Closing is what ends a read or write when ctx ends early.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(send); err != nil {
		return AnswerError(ctx, err)
	}
	return AnswerError(ctx, readUntil(conn, expect))
}

// readUntil reads until the answer holds what is expected, or anything at all
// if nothing is.
func readUntil(r io.Reader, expect []byte) error {
	var answer []byte
	chunk := make([]byte, 4096)
	for len(answer) < maxCheckAnswer {
		n, err := r.Read(chunk)
		answer = append(answer, chunk[:n]...)
		if len(answer) > 0 && bytes.Contains(answer, expect) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("answered %q, expected %q", clipAnswer(answer), expect)
}

// checkClient keeps no connections and follows no proxy settings: the question
// is about the database's own endpoint.
var checkClient = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func checkHTTP(ctx context.Context, c *config.Check) error {
	expect, err := c.ExpectBytes()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Address, nil)
	if err != nil {
		return err
	}
	resp, err := checkClient.Do(req)
	if err != nil {
		return AnswerError(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	if len(expect) == 0 {
		return nil
	}
	return AnswerError(ctx, readUntil(resp.Body, expect))
}

// AnswerError says "no answer in time" for whatever a deadline looks like.
func AnswerError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("no answer in time")
	}
	return err
}

func clipAnswer(answer []byte) []byte { return answer[:min(len(answer), 60)] }

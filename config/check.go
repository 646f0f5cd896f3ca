package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var zoneName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// UnknownZone is where requests go whose key names no store. It is one bounded
// bucket with limits of its own.
const UnknownZone = "unknown"

// CheckZoneName says what is wrong with the name of a zone.
func CheckZoneName(name string) error {
	switch {
	case name == "all":
		return errors.New("zone all: the name is reserved for switches that hold for everything; choose another")
	case !zoneName.MatchString(name):
		return fmt.Errorf("zone %q: a zone's name is 1 to 64 letters, digits, dots, dashes or underscores", name)
	}
	return nil
}

// check finds what cannot be right in the settings of a zone before defaults
// come in.
func (z *Zone) check(workers int) error {
	if workers == 0 && z.MaxInflight.NeedsWorkers() {
		return errors.New("max_inflight is a share of the pool, but the size of the pool is not known: set workers to the number of requests the API servers serve at once (or give max_inflight as a number)")
	}
	if workers > 0 && z.MaxInflight.Of(workers) > workers {
		return fmt.Errorf("max_inflight is %s, more than the %d workers there are", z.MaxInflight, workers)
	}
	for _, d := range []struct {
		name  string
		value Duration
	}{
		{"timeout", z.Timeout},
		{"slow_after", z.SlowAfter},
		{"body_idle", z.BodyIdle},
		{"window", z.Window},
		{"max_wait", deref(z.MaxWait, 0)},
		{"open_time", z.OpenTime},
		{"open_time_max", z.OpenTimeMax},
		{"abandon_after", z.AbandonAfter},
		{"hung_hold", z.HungHold},
	} {
		if d.value < 0 {
			return fmt.Errorf("%s is %s: it must not be negative", d.name, d.value)
		}
	}
	if deref(z.MaxStreams, 0) < 0 || z.MinBadStores < 0 {
		return errors.New("max_streams and min_bad_stores must not be negative")
	}
	for _, status := range z.FailStatus {
		if status < 400 || status > 599 {
			return fmt.Errorf("fail_status %d: only statuses from 400 to 599 can be failures", status)
		}
	}
	switch z.Mode {
	case "", ModeEnforce, ModeObserve:
	default:
		return fmt.Errorf("mode is %q: it must be enforce or observe", z.Mode)
	}
	switch z.OnTimeout {
	case "", OnTimeoutHold, OnTimeoutCancel:
	default:
		return fmt.Errorf("on_timeout is %q: it must be hold or cancel", z.OnTimeout)
	}
	return z.Check.check()
}

// check finds what does not fit together.
func (p *ZonePolicy) check() error {
	switch {
	case p.Timeout < time.Millisecond:
		return fmt.Errorf("timeout is %s: it must be at least 1ms", p.Timeout)
	case p.SlowAfter >= p.Timeout:
		return fmt.Errorf("slow_after is %s, but must be shorter than the timeout (%s): it is the age from which a request without an answer counts as stuck; leave it out for half of the timeout", p.SlowAfter, p.Timeout)
	case p.Window < windowTimeouts*p.Timeout:
		return fmt.Errorf("window is %s, but must be at least three times the timeout (%s): an outcome that comes after its window counts for nothing", p.Window, windowTimeouts*p.Timeout)
	case p.OpenTimeMax < p.OpenTime:
		return fmt.Errorf("open_time_max is %s, shorter than open_time (%s)", p.OpenTimeMax, p.OpenTime)
	case p.AbandonAfter > 0 && p.AbandonAfter < p.Timeout:
		return fmt.Errorf("abandon_after is %s, shorter than the timeout (%s)", p.AbandonAfter, p.Timeout)
	}
	return nil
}

func (s *Store) check(p *StorePolicy) error {
	if s.Records < 0 || s.OpenTime < 0 || s.OpenTimeMax < 0 {
		return errors.New("open_time, open_time_max and records must not be negative")
	}
	if p.OpenTimeMax < p.OpenTime {
		return fmt.Errorf("open_time_max is %s, shorter than open_time (%s)", p.OpenTimeMax, p.OpenTime)
	}
	return nil
}

func (c *Check) check() error {
	if c == nil {
		return nil
	}
	if c.Every < 0 || c.Timeout < 0 {
		return errors.New("check: every and timeout must not be negative")
	}
	if err := c.checkAsks(); err != nil {
		return err
	}
	switch c.Protocol {
	case "tcp":
		if _, _, err := net.SplitHostPort(c.Address); err != nil {
			return fmt.Errorf("check tcp: %q is not host:port", c.Address)
		}
		if c.Send == "" && c.Expect == "" {
			return errors.New("check tcp: add send or expect: a frozen process still accepts connections, so only an answer proves it well")
		}
		if _, err := c.SendBytes(); err != nil {
			return err
		}
	case "http":
		u, err := url.Parse(c.Address)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("check http: %q is not a URL like http://db7:8008/health", c.Address)
		}
	case "postgres":
		return c.checkPostgres()
	case "mysql":
		return c.checkMySQL()
	case "redis":
		return c.checkRedis()
	default:
		return fmt.Errorf("check %s: unknown protocol; use tcp, http, postgres, mysql or redis", c.Protocol)
	}
	return nil
}

// checkPostgres looks at the form only: reading a connection string in full
// takes the driver, which the settings do not need otherwise. Errors do not
// repeat the address, since it may hold a password.
func (c *Check) checkPostgres() error {
	isURL := strings.HasPrefix(c.Address, "postgres://") || strings.HasPrefix(c.Address, "postgresql://")
	if !isURL && !strings.Contains(c.Address, "=") {
		return errors.New("check postgres: write a URL like postgres://firebreak@db7/shop or settings like \"host=db7 user=firebreak dbname=shop\"")
	}
	if c.Send != "" || c.Expect != "" {
		return errors.New("check postgres: send and expect have no meaning here; it always asks SELECT 1")
	}
	return nil
}

// checkMySQL looks at the form only, as checkPostgres does.
func (c *Check) checkMySQL() error {
	isURL := strings.HasPrefix(c.Address, "mysql://") || strings.HasPrefix(c.Address, "mariadb://")
	if !isURL && (strings.Contains(c.Address, "://") || !strings.Contains(c.Address, "/")) {
		return errors.New("check mysql: write a URL like mysql://firebreak@db7/shop or an address like firebreak@unix(/run/mysqld/mysqld.sock)/shop")
	}
	if c.Send != "" || c.Expect != "" {
		return errors.New("check mysql: send and expect have no meaning here; it always asks SELECT 1")
	}
	return nil
}

// checkRedis looks at the form only, as checkPostgres does.
func (c *Check) checkRedis() error {
	scheme, _, isURL := strings.Cut(c.Address, "://")
	if isURL && !slices.Contains([]string{"redis", "rediss", "unix"}, scheme) {
		return errors.New("check redis: write an address like db7:6379 or a URL like redis://firebreak:secret@db7:6379/0, rediss:// with TLS")
	}
	if _, _, err := net.SplitHostPort(c.Address); !isURL && err != nil {
		return fmt.Errorf("check redis: %q is neither host:port nor a URL like redis://db7:6379", c.Address)
	}
	return nil
}

// SendBytes is what the check sends, its escapes resolved: \r \n \t \\ and \xNN.
func (c *Check) SendBytes() ([]byte, error) { return Unescape(c.Send) }

// ExpectBytes is what the answer must contain, its escapes resolved.
func (c *Check) ExpectBytes() ([]byte, error) { return Unescape(c.Expect) }

// Unescape resolves the escapes of Go strings.
func Unescape(s string) ([]byte, error) {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		return nil, fmt.Errorf(`check: unknown escape in %q; known are \r \n \t \\ and \xNN`, s)
	}
	return []byte(text), nil
}

func (c *Check) withDefaults() *Check {
	if c == nil {
		return nil
	}
	full := *c
	full.Every = cmp.Or(c.Every, defaultCheckEvery)
	full.Timeout = cmp.Or(c.Timeout, defaultCheckTimeout)
	full.OnHung = c.OnHung.withDefaults()
	return &full
}

func checkShare(name string, percent float64) error {
	if !(percent >= 0 && percent <= 100) {
		return fmt.Errorf("%s is %v: it must be a share from 0 to 100 percent", name, percent)
	}
	return nil
}

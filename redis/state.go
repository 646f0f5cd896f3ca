package redis

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/fleet"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/state"
)

func init() {
	caddy.RegisterModule(State{})
}

// State keeps the switches in Redis, for a fleet: every sidecar learns of
// a change at once. While Redis is away the last known switches stay in force.
// Use a Redis that keeps its data on disk (appendonly yes) and evicts nothing
// (maxmemory-policy noeviction).
type State struct {
	// Addresses, as host:port. One for a single Redis, the sentinels' with
	// sentinel, some of the nodes' with cluster.
	Addresses []string `json:"addresses"`

	// The user of Redis' access control list and the password. Placeholders
	// such as {env.REDIS_PASSWORD} are filled in.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// The number of the database; a cluster has only 0. Default: 0.
	DB int `json:"db,omitempty"`

	// What all keys begin with: sidecars with the same prefix share their
	// switches. Default: firebreak.
	Prefix string `json:"prefix,omitempty"`

	// The name of the master to ask the sentinels for.
	Sentinel string `json:"sentinel,omitempty"`

	// The user and password of the sentinels themselves.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// The addresses are nodes of a cluster.
	Cluster bool `json:"cluster,omitempty"`

	// Encrypt connections.
	TLS *TLS `json:"tls,omitempty"`

	// How often Redis is asked for changes, beside being told by it. Default: 1s.
	Sync config.Duration `json:"sync,omitempty"`

	// How long a call may take. Default: 2s.
	Timeout config.Duration `json:"timeout,omitempty"`

	// The sidecars tell each other what they observe, and cut off together what enough
	// of them observe. Without it each sidecar decides by itself.
	Fleet *Fleet `json:"fleet,omitempty"`
}

// Fleet is how sidecars that share a Redis decide together.
type Fleet struct {
	// Only log what would be done for what the others observe. The others are told
	// what this sidecar observes all the same.
	Observe bool `json:"observe,omitempty"`

	// On how many hosts sidecars have to observe the same, this one included. At least
	// 2, at most 20. Default: 3.
	Agree int `json:"agree,omitempty"`
}

// TLS is how connections are encrypted.
type TLS struct {
	// A file with certificates to trust, instead of the system's.
	CA string `json:"ca,omitempty"`

	// Files of this client's certificate and its key.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`

	// The name in the server's certificate. Default: the host of the address.
	ServerName string `json:"server_name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (State) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  state.Namespace + ".redis",
		New: func() caddy.Module { return new(State) },
	}
}

// Validate checks what can be known without Redis.
func (s *State) Validate() error {
	if len(s.Addresses) == 0 {
		return errors.New("state redis needs an address; write for example: state redis localhost:6379")
	}
	for _, address := range s.Addresses {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return fmt.Errorf("%q is no address; write for example: localhost:6379", address)
		}
	}
	switch {
	case len(s.Addresses) > 1 && s.Sentinel == "" && !s.Cluster:
		return errors.New("several addresses: say cluster if they are nodes of a cluster, or sentinel and the master's name if they are sentinels")
	case s.Sentinel != "" && s.Cluster:
		return errors.New("either sentinel or cluster, not both")
	case s.DB < 0 || s.Cluster && s.DB != 0:
		return fmt.Errorf("db %d: it must not be negative, and a cluster has only 0", s.DB)
	case s.Sentinel == "" && (s.SentinelUsername != "" || s.SentinelPassword != ""):
		return errors.New("a user of the sentinels, but no sentinel")
	case strings.ContainsAny(s.Prefix, "{}"):
		return fmt.Errorf("prefix %q: braces are not possible", s.Prefix)
	case s.TLS != nil && (s.TLS.Cert == "") != (s.TLS.Key == ""):
		return errors.New("a certificate needs its key")
	}
	if err := s.Fleet.check(); err != nil {
		return err
	}
	return state.CheckTimes(s.Sync, s.Timeout)
}

var errAgree = fmt.Errorf("from 2 to %d hosts are possible; to have each sidecar decide by itself leave out fleet", fleet.MostAgree)

func (f *Fleet) check() error {
	if f != nil && f.Agree != 0 && (f.Agree < 2 || f.Agree > fleet.MostAgree) {
		return fmt.Errorf("fleet: agree %d: %w", f.Agree, errAgree)
	}
	return nil
}

// OpenState returns the backend.
func (s *State) OpenState() (*state.State, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	options := Options{
		Addresses: s.Addresses, MasterName: s.Sentinel, Cluster: s.Cluster, DB: s.DB, Prefix: s.Prefix,
	}
	repl := caddy.NewReplacer()
	for _, field := range []struct {
		name, value string
		to          *string
	}{
		{"username", s.Username, &options.Username},
		{"password", s.Password, &options.Password},
		{"the sentinels' username", s.SentinelUsername, &options.SentinelUsername},
		{"the sentinels' password", s.SentinelPassword, &options.SentinelPassword},
	} {
		value, err := repl.ReplaceOrErr(field.value, true, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.name, err)
		}
		*field.to = value
	}
	var err error
	if options.TLS, err = s.TLS.config(); err != nil {
		return nil, err
	}
	backend, err := New(options)
	if err != nil {
		return nil, err
	}
	addresses := slices.Sorted(slices.Values(s.Addresses))
	return &state.State{
		Backend:  backend,
		Fleet:    s.fleet(options),
		Identity: fmt.Sprintf("redis %s %s %d %s", strings.Join(addresses, ","), s.Sentinel, s.DB, s.Prefix),
		Sync:     time.Duration(s.Sync), Timeout: time.Duration(s.Timeout),
	}, nil
}

// fleet is how the fleet is opened; nil if there is none.
func (s *State) fleet(o Options) *state.Fleet {
	f := s.Fleet
	if f == nil {
		return nil
	}
	return &state.Fleet{Identity: s.digest(), Observe: f.Observe, Agree: f.Agree, Open: func() (fleet.Transport, error) { return NewTransport(o) }}
}

// digest is the same for the same settings.
func (s *State) digest() string {
	text, _ := json.Marshal(s) // it came out of JSON
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// config reads the files.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		data, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("reading the certificates to trust: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("reading the client's certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func textOption(usage string, field func(*State) *string) directive.Option[State] {
	return directive.Option[State]{Usage: usage, Min: 1, Max: 1, Set: func(s *State, args []string) error {
		*field(s) = args[0]
		return nil
	}}
}

var redisStateOptions = directive.Options[State]{Block: "firebreak state redis", Known: map[string]directive.Option[State]{
	"username": textOption("username firebreak", func(s *State) *string { return &s.Username }),
	"password": textOption("password {env.REDIS_PASSWORD}", func(s *State) *string { return &s.Password }),
	"prefix":   textOption("prefix firebreak", func(s *State) *string { return &s.Prefix }),
	"db":       {Usage: "db 1", Min: 1, Max: 1, Set: setRedisDB},
	"sentinel": {Usage: "sentinel mymaster", Min: 1, Max: 3, Set: setSentinel},
	"cluster":  {Usage: "cluster", Set: func(s *State, _ []string) error { s.Cluster = true; return nil }},
	"tls":      {Block: parseRedisTLS},
	"sync":     directive.Duration("sync 1s", func(s *State) *config.Duration { return &s.Sync }),
	"timeout":  directive.Duration("timeout 2s", func(s *State) *config.Duration { return &s.Timeout }),
	"fleet":    {Block: parseFleet},
}}

var fleetOptions = directive.Options[Fleet]{Block: "firebreak state redis fleet", Known: map[string]directive.Option[Fleet]{
	"agree": {Usage: "agree 3", Min: 1, Max: 1, Set: setAgree},
}}

func setAgree(f *Fleet, args []string) (err error) {
	if f.Agree, err = strconv.Atoi(args[0]); err != nil {
		return fmt.Errorf("invalid number %q", args[0])
	}
	if f.Agree == 0 || f.check() != nil { // 0 would be the default
		return fmt.Errorf("invalid number %d: %w", f.Agree, errAgree)
	}
	return nil
}

func parseFleet(d *caddyfile.Dispenser, s *State) error {
	s.Fleet = new(Fleet)
	if d.NextArg() {
		if d.Val() != "observe" {
			return d.Errf("firebreak state redis option 'fleet' takes observe, a block or nothing, but has '%s'", d.Val())
		}
		s.Fleet.Observe = true
	}
	if d.NextArg() {
		return d.Errf("firebreak state redis option 'fleet' takes observe, a block or nothing, but has also '%s'", d.Val())
	}
	return fleetOptions.Parse(d, s.Fleet)
}

func setRedisDB(s *State, args []string) (err error) {
	if s.DB, err = strconv.Atoi(args[0]); err != nil || s.DB < 0 {
		return fmt.Errorf("invalid number %q", args[0])
	}
	return nil
}

func setSentinel(s *State, args []string) error {
	s.Sentinel = args[0]
	switch len(args) {
	case 2:
		s.SentinelPassword = args[1]
	case 3:
		s.SentinelUsername, s.SentinelPassword = args[1], args[2]
	}
	return nil
}

var redisTLSOptions = directive.Options[TLS]{Block: "firebreak state redis tls", Known: map[string]directive.Option[TLS]{
	"ca":          {Usage: "ca /etc/redis/ca.pem", Min: 1, Max: 1, Set: func(t *TLS, args []string) error { t.CA = args[0]; return nil }},
	"cert":        {Usage: "cert client.pem client.key", Min: 2, Max: 2, Set: func(t *TLS, args []string) error { t.Cert, t.Key = args[0], args[1]; return nil }},
	"server_name": {Usage: "server_name redis.example.com", Min: 1, Max: 1, Set: func(t *TLS, args []string) error { t.ServerName = args[0]; return nil }},
}}

func parseRedisTLS(d *caddyfile.Dispenser, s *State) error {
	if d.NextArg() {
		return d.Errf("firebreak state redis option 'tls' takes a block or nothing, but has '%s'", d.Val())
	}
	s.TLS = new(TLS)
	return redisTLSOptions.Parse(d, s.TLS)
}

// UnmarshalCaddyfile reads
//
//	state redis <address...> {
//	    username <name>
//	    password <text>
//	    db       <number>
//	    prefix   <text>
//	    sentinel <master> [[<username>] <password>]
//	    cluster
//	    tls {
//	        ca          <file>
//	        cert        <file> <key>
//	        server_name <name>
//	    }
//	    sync     <duration>
//	    timeout  <duration>
//	    fleet [observe] {
//	        agree <hosts>
//	    }
//	}
func (s *State) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the backend's name
	at := directive.Here(d)
	s.Addresses = d.RemainingArgs()
	if err := redisStateOptions.Parse(d, s); err != nil {
		return err
	}
	if err := s.Validate(); err != nil {
		return at.WrapErr(err)
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Validator       = (*State)(nil)
	_ caddyfile.Unmarshaler = (*State)(nil)
	_ state.Module          = (*State)(nil)
)

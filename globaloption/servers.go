package globaloption

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/workers"
)

// workersAuto stands in place of a number of workers that is found out.
const workersAuto = "auto"

func setWorkers(b *block, args []string) (err error) {
	workers := &b.app.Workers
	switch {
	case args[0] == workersAuto && len(args) == 1:
		b.app.WorkersAuto = true
		return nil
	case args[0] == workersAuto:
		return fmt.Errorf("auto is by server anyway, and takes no further word ('%s')", args[1])
	case len(args) == 2:
		if args[1] != "per_server" {
			return fmt.Errorf("unknown word '%s' behind the number; write for example: workers 32, for all API servers together, workers 8 per_server, or workers auto", args[1])
		}
		workers = &b.app.WorkersPerServer
	}
	if *workers, err = directive.ParseCount(args[0], "workers 32", 1); err != nil {
		return fmt.Errorf("%w (the number of requests that all API servers together serve at once, or auto)", err)
	}
	return nil
}

// serverOptions are the options of "server ADDRESS { ... }".
var serverOptions = directive.Options[config.Server]{Block: "firebreak server", Known: map[string]directive.Option[config.Server]{
	"workers": {Usage: "workers 16", Min: 1, Max: 1, Set: setServerWorkers},
	"status":  serverStatus("status", func(s *config.Server) **config.ServerStatus { return &s.Status }),
}}

// parseServer reads
//
//	server <address> {
//	    workers <number>
//	    status  auto|off|fpm|puma|uwsgi ...
//	}
func parseServer(d *caddyfile.Dispenser, b *block) error {
	at := directive.NewBlock(d)
	args := d.RemainingArgs()
	if len(args) != 1 {
		return at.Errf("firebreak option 'server' needs the address of an upstream, but has %d values; write for example: server 10.0.0.5:9000 { ... }", len(args))
	}
	server := config.Server{Address: args[0]}
	for _, other := range b.app.Servers {
		if other.Address == server.Address {
			return at.Errf("firebreak server '%s' specified twice", server.Address)
		}
	}
	if err := serverOptions.ParseBlock(d, at, &server); err != nil {
		return err
	}
	if server.Workers == 0 && server.Status == nil {
		return at.Errf("firebreak server '%s' needs its number of workers, or where its status is; write for example: workers 16", server.Address)
	}
	b.app.Servers = append(b.app.Servers, server)
	return nil
}

func setServerWorkers(s *config.Server, args []string) (err error) {
	if args[0] == workersAuto {
		return errors.New("auto is for all servers: leave this line out, and write workers auto outside of the block")
	}
	s.Workers, err = directive.ParseCount(args[0], "workers 16", 1)
	return err
}

// serverStatus reads where the status of servers is.
func serverStatus[T any](name string, field func(*T) **config.ServerStatus) directive.Option[T] {
	return directive.Option[T]{Usage: name + " auto", Min: 1, Max: 3, Set: func(to *T, args []string) error {
		source, rest := args[0], args[1:]
		if !slices.Contains(config.StatusSources(), source) {
			return errors.New(directive.Unrecognized("source of a server's status", source, config.StatusSources()))
		}
		least, most := 1, 1
		switch source {
		case config.StatusAuto, config.StatusOff:
			least, most = 0, 0
		case config.StatusPuma:
			most = 2
		}
		if len(rest) < least || len(rest) > most {
			return fmt.Errorf("%s has %s behind it, which is too few or too many; write for example: %s %s", source, directive.Values(len(rest)), name, config.StatusExample(source))
		}
		rest = append(rest, "", "")
		status := &config.ServerStatus{Source: source, Address: rest[0], Token: rest[1]}
		*field(to) = status
		return workers.CheckStatus(status)
	}}
}

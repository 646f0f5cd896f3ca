package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/upstream"
	"github.com/firebreak-proxy/firebreak/replay"
	"github.com/firebreak-proxy/firebreak/routing"
)

// replayConfig is what a replay takes from a configuration.
type replayConfig struct {
	app       config.App
	keys      []routing.KeySpec // of all its handlers
	directory json.RawMessage
	servers   []string // the fixed upstreams of firebreak's transports and policies
}

// loadReplayConfig reads a configuration. Nothing of it is started.
func loadReplayConfig(file, adapter string) (*replayConfig, error) {
	if file == "" {
		return nil, errors.New("name the configuration with --config, for example --config Caddyfile")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if adapter == "" && !strings.HasSuffix(file, ".json") {
		adapter = "caddyfile"
	}
	if adapter != "" {
		a := caddyconfig.GetAdapter(adapter)
		if a == nil {
			return nil, fmt.Errorf("there is no configuration adapter %q", adapter)
		}
		if text, _, err = a.Adapt(text, map[string]any{"filename": file}); err != nil {
			return nil, fmt.Errorf("adapting %s: %w", file, err)
		}
	}
	return parseReplayConfig(file, text)
}

func parseReplayConfig(file string, text []byte) (*replayConfig, error) {
	var parts struct {
		Apps struct {
			Firebreak json.RawMessage `json:"firebreak"`
			HTTP      any             `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if parts.Apps.Firebreak == nil {
		return nil, fmt.Errorf("%s has no firebreak in it", file)
	}
	c := new(replayConfig)
	var app struct {
		config.App
		Directory json.RawMessage `json:"directory"`
	}
	if err := json.Unmarshal(parts.Apps.Firebreak, &app); err != nil {
		return nil, fmt.Errorf("reading apps.firebreak of %s: %w", file, err)
	}
	c.app, c.directory = app.App, app.Directory
	c.findServers(parts.Apps.HTTP)
	slices.Sort(c.servers)
	c.servers = slices.Compact(c.servers)
	return c, c.findKeys(parts.Apps.HTTP)
}

// findServers collects the API servers, wherever they are.
func (c *replayConfig) findServers(node any) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			c.findServers(child)
		}
	case map[string]any:
		if node["handler"] == "reverse_proxy" {
			upstreams, _ := node["upstreams"].([]any)
			for _, one := range upstreams {
				fields, _ := one.(map[string]any)
				dial, _ := fields["dial"].(string)
				c.servers = append(c.servers, upstream.Addresses([]string{dial})...)
			}
		}
		for _, child := range node {
			c.findServers(child)
		}
	}
}

// policy is the policy of the settings. A replay has one pool: that of all servers.
func (c *replayConfig) policy(app config.App) (*config.Policy, error) {
	policy, err := app.Policy()
	if err != nil || app.WorkersPerServer == 0 && len(app.Servers) == 0 {
		return policy, err
	}
	if len(c.servers) == 0 && app.Workers == 0 {
		return nil, errors.New("workers is that of each server, and how many servers there are is not known, since the configuration has no fixed upstreams: say how many workers they have in all with --set workers=32")
	}
	sum := 0
	for _, address := range c.servers {
		sum += policy.ServerWorkers(address, len(c.servers))
	}
	app.Workers, app.WorkersPerServer, app.Servers, app.Share = max(sum, app.Workers), 0, nil, ""
	return app.Policy()
}

// findKeys collects the keys of all firebreak handlers, wherever they are.
func (c *replayConfig) findKeys(node any) error {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			if err := c.findKeys(child); err != nil {
				return err
			}
		}
	case map[string]any:
		if node["handler"] == "firebreak" {
			return c.addKeys(node["keys"])
		}
		for _, child := range node {
			if err := c.findKeys(child); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *replayConfig) addKeys(keys any) error {
	text, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	var specs []routing.KeySpec
	if err := json.Unmarshal(text, &specs); err != nil {
		return fmt.Errorf("reading the keys of a handler: %w", err)
	}
	c.keys = append(c.keys, specs...)
	return nil
}

// unknownStore is what all keys that name no store share.
const unknownStore = "unknown"

// resolver tells the stores of requests whose log line does not, and the zones
// there are. The returned function ends the directory.
func (c *replayConfig) resolver() (resolve replay.Resolve, zones []string, end func(), err error) {
	if len(c.keys) == 0 || c.directory == nil {
		return nil, nil, func() {}, nil
	}
	extractor, err := routing.NewExtractor(c.keys, routing.ExtractorOptions{Placeholder: func(r *http.Request, template string) string {
		return caddyhttp.NewTestReplacer(r).ReplaceAll(template, "")
	}})
	if err != nil {
		return nil, nil, nil, err
	}
	directory, end, err := c.openDirectory()
	if err != nil {
		return nil, nil, nil, err
	}
	return func(r *http.Request) (replay.Store, error) {
		key, err := extractor.Key(nil, r)
		if route, ok := directory.Lookup(key); ok && err == nil {
			return replay.Store{Zone: route.Zone, Name: route.Store}, nil
		}
		return replay.Store{Zone: config.UnknownZone, Name: unknownStore}, nil
	}, directory.Zones(), end, nil
}

func (c *replayConfig) openDirectory() (routing.Directory, func(), error) {
	var source struct {
		Source string `json:"source"`
	}
	if err := json.Unmarshal(c.directory, &source); err != nil {
		return nil, nil, fmt.Errorf("reading the directory's settings: %w", err)
	}
	var settings map[string]json.RawMessage
	_ = json.Unmarshal(c.directory, &settings)
	delete(settings, "source")
	rest, err := json.Marshal(settings)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	module, err := ctx.LoadModuleByID("firebreak.directories."+source.Source, rest)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("opening the directory (relative paths are seen from here): %w", err)
	}
	directory, ok := module.(routing.Directory)
	if _, asks := module.(routing.Asker); asks || !ok {
		cancel()
		return nil, nil, fmt.Errorf("directory %s asks a service or a database, which a replay does not; try a configuration with a directory file", source.Source)
	}
	return directory, cancel, nil
}

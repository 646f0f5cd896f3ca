package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/maintenance/bypass"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("firebreak", parseHandlerDirective)
	// After everything that changes the request or wraps the response (so that
	// refusals are encoded and derived headers seen), before everything that
	// may hold the proxy: invoke, handle, route.
	httpcaddyfile.RegisterDirectiveOrder("firebreak", httpcaddyfile.Before, "invoke")
}

// parseHandlerDirective reads the directive:
//
//	firebreak [<matcher>] {
//	    key query|header|json|form|cookie <name>
//	    key host_label|path_segment <number>
//	    key bearer|basic_user
//	    key <placeholders>
//	    unknown        pass|refuse
//	    timeout        <duration>
//	    max_body_peek  <size>
//	    expose         store zone
//	    deadline_header
//	    bypass [client_ip <ranges...>] [header <name> <secret>]
//	    body      [<zone>] <media_type> <text>
//	    body_file [<zone>] <media_type> <path>
//	    refuse    respond|error
//	    refuse {
//	        <directives...>
//	    }
//	    stale [<duration>] {
//	        max_size  <size>
//	        max_entry <size>
//	        refresh   <duration>
//	        authorization
//	        ignore_headers <names...>
//	        ignore_cookies <names...>
//	    }
//	}
func parseHandlerDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	at := directive.Here(h.Dispenser)
	if h.NextArg() {
		return nil, h.Errf("firebreak takes a matcher and a block, but has '%s'", h.Val())
	}
	if h.Option("firebreak") == nil {
		return nil, at.Err("firebreak: the size of the pool is not known: add the global option firebreak { workers N }, with N the number of requests that all API servers together serve at once")
	}
	b := handlerBlock{helper: h, handler: new(Handler)}
	if err := handlerOptions.Parse(h.Dispenser, &b); err != nil {
		return nil, err
	}
	if len(b.handler.Keys) == 0 {
		return nil, at.Err("firebreak: nothing says which store a request belongs to: add at least one key; write for example: key header X-API-Key")
	}
	return b.handler, nil
}

// handlerBlock is the directive while it is read.
type handlerBlock struct {
	helper  httpcaddyfile.Helper
	handler *Handler
}

var handlerOptions = directive.Options[handlerBlock]{Block: "firebreak", Known: map[string]directive.Option[handlerBlock]{
	"key":             {Usage: "key header X-API-Key", Min: 1, Max: -1, Repeats: true, Set: addKey},
	"unknown":         directive.Word("unknown refuse", func(b *handlerBlock) *string { return &b.handler.Unknown }, "pass", "refuse"),
	"timeout":         directive.Duration("timeout 30s", func(b *handlerBlock) *config.Duration { return &b.handler.Timeout }),
	"max_body_peek":   {Usage: "max_body_peek 64KiB", Min: 1, Max: 1, Set: setMaxBodyPeek},
	"expose":          {Usage: "expose store zone", Min: 1, Max: 2, Set: setExpose},
	"deadline_header": {Usage: "deadline_header", Set: setDeadlineHeader},
	"body":            {Usage: `body z7 text/plain "Back soon."`, Min: 2, Max: 3, Repeats: true, Set: addBody},
	"body_file":       {Usage: "body_file z7 text/html down.html", Min: 2, Max: 3, Repeats: true, Set: addBodyFile},
	"bypass":          {Usage: "bypass client_ip 10.0.0.0/8 header Proxy-Authorization {env.BYPASS_SECRET}", Min: 2, Max: -1, Repeats: true, Set: addBypass},
	"refuse":          {Block: parseRefuse},
	"stale":           {Block: parseStale},
}}

func addKey(b *handlerBlock, args []string) error {
	spec, err := routing.ParseKeySpec(args)
	if err != nil {
		return err
	}
	b.handler.Keys = append(b.handler.Keys, spec)
	return nil
}

func setMaxBodyPeek(b *handlerBlock, args []string) error {
	size, err := humanize.ParseBytes(args[0])
	if err != nil || size == 0 || size > math.MaxInt32 {
		return fmt.Errorf("invalid size %q: write for example: max_body_peek 64KiB", args[0])
	}
	b.handler.MaxBodyPeek = int64(size)
	return nil
}

func setExpose(b *handlerBlock, args []string) error {
	for _, arg := range args {
		switch {
		case arg != "store" && arg != "zone":
			return errors.New(directive.Unrecognized("value", arg, []string{"store", "zone"}))
		case slices.Contains(b.handler.Expose, arg):
			return fmt.Errorf("'%s' specified twice", arg)
		}
		b.handler.Expose = append(b.handler.Expose, arg)
	}
	return nil
}

func setDeadlineHeader(b *handlerBlock, _ []string) error {
	b.handler.DeadlineHeader = true
	return nil
}

func addBypass(b *handlerBlock, args []string) error {
	added, err := bypass.Parse(args)
	if err != nil {
		return err
	}
	b.handler.Bypass = append(b.handler.Bypass, added)
	return nil
}

func addBody(b *handlerBlock, args []string) error {
	return b.addBody(args, func(body *refusal.Body, text string) { body.Body = text })
}

func addBodyFile(b *handlerBlock, args []string) error {
	return b.addBody(args, func(body *refusal.Body, path string) { body.File = path })
}

var bodyTypes = []string{"application/json", "application/problem+json", "text/html", "text/plain"}

func (b *handlerBlock) addBody(args []string, set func(*refusal.Body, string)) error {
	var body refusal.Body
	if len(args) == 3 {
		body.Zone, args = args[0], args[1:]
	}
	if !slices.Contains(bodyTypes, args[0]) {
		return errors.New(directive.Unrecognized("media type", args[0], bodyTypes))
	}
	if args[1] == "" {
		return errors.New("the body is empty")
	}
	body.ContentType = args[0]
	for _, other := range b.handler.Bodies {
		if other.Zone == body.Zone && other.ContentType == body.ContentType {
			return fmt.Errorf("a %s body for this zone is there already", body.ContentType)
		}
	}
	set(&body, args[1])
	b.handler.Bodies = append(b.handler.Bodies, body)
	return nil
}

// parseRefuse reads "refuse respond|error", or a block of directives that
// answer refusals.
func parseRefuse(d *caddyfile.Dispenser, b *handlerBlock) error {
	at := directive.Here(d)
	segment := d.NewFromNextSegment()
	segment.Next()
	args := segment.RemainingArgs()
	if len(args) > 0 {
		if len(args) > 1 || segment.NextBlock(0) {
			return at.Err("firebreak option 'refuse' needs one word, respond or error, or a block of directives")
		}
		if args[0] != "respond" && args[0] != "error" {
			return at.Err(directive.Unrecognized("firebreak refuse mode", args[0], []string{"error", "respond"}))
		}
		b.handler.RefuseMode = args[0]
		return nil
	}
	segment.Reset()
	routes, err := httpcaddyfile.ParseSegmentAsSubroute(b.helper.WithDispenser(segment))
	if err != nil {
		return err
	}
	subroute, ok := routes.(*caddyhttp.Subroute)
	if !ok || len(subroute.Routes) == 0 {
		return at.Err("firebreak option 'refuse' needs one word, respond or error, or a block of directives")
	}
	b.handler.RefuseRaw = append(b.handler.RefuseRaw, caddyconfig.JSONModuleObject(subroute, "handler", "subroute", nil))
	return nil
}

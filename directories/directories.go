package directories

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/routing"
)

func init() {
	caddy.RegisterModule(Inline{})
	caddy.RegisterModule(File{})
	caddy.RegisterModule(Hash{})
	caddy.RegisterModule(HTTP{})
	caddy.RegisterModule(Learn{})
}

// Namespace is where the modules of directories register themselves.
const Namespace = "firebreak.directories"

// Directory is what a module of the namespace firebreak.directories must be:
// it knows which store a key belongs to and in which zone that store lives.
//
// Lookup is called for every request: it must not block, and must be safe for
// concurrent use. A directory that may have to ask somebody implements
// [routing.Asker] too. Zones lists all zones there can be; firebreak needs their
// number to suspect itself when too many of them look sick.
//
// A directory that can list its stores implements [routing.Lister] too. A
// directory that changes while it runs implements [DirectoryWatcher]. To be
// usable in a Caddyfile it implements caddyfile.Unmarshaler; the dispenser
// stands before the name of the source ("directory NAME ...").
//
// Provision must not open or write anything exclusive: "caddy validate" may run
// beside a server that uses the same source.
type Directory interface {
	routing.Directory
}

// Watcher is a directory that changes while it runs. Watch is called
// when the server starts and returns when ctx ends; it calls changed after each
// change.
type Watcher interface {
	Directory
	Watch(ctx context.Context, changed func())
}

// Opener is what a module of the namespace firebreak.directories can
// be instead of a [Directory]: it returns one. It is asked once, after it was
// provisioned.
type Opener interface {
	OpenDirectory() Directory
}

// OfModule is the directory that a provisioned module is or opens.
func OfModule(module any) (Directory, error) {
	if opener, ok := module.(Opener); ok {
		return opener.OpenDirectory(), nil
	}
	directory, ok := module.(Directory)
	if !ok {
		return nil, fmt.Errorf("%T is no firebreak directory", module)
	}
	return directory, nil
}

// Names are the names of all registered sources, sorted.
func Names() []string {
	var names []string
	for _, module := range caddy.GetModules(Namespace) {
		names = append(names, module.ID.Name())
	}
	slices.Sort(names)
	return names
}

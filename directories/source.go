package directories

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// sources are the sources in use, by their settings: a reload that changes
// nothing about a source keeps what it knows.
var sources = caddy.NewUsagePool()

// sourcePatience is how long the end of a source is waited for.
const sourcePatience = 2 * time.Second

// SharedSource is a source and the configurations that use it. It runs from the
// first time one of them is started until none is left.
type SharedSource struct {
	routing.Source

	mu       sync.Mutex // guards below
	watchers []*sourceWatcher
	early    []routing.SourceEvent // what happened before anybody watched
	stop     context.CancelFunc    // nil: not running
	done     chan struct{}
}

// sourceWatcher is one configuration that was started.
type sourceWatcher struct {
	log     *zap.Logger
	changed func()
}

// openSource makes a source that tells log what happens.
type openSource func(log func(routing.SourceEvent)) (routing.Source, error)

// HoldSource takes a reference to the source with these settings.
func HoldSource(settings string, open openSource) (*SharedSource, error) {
	value, _, err := sources.LoadOrNew(settings, func() (caddy.Destructor, error) {
		s := &SharedSource{done: make(chan struct{})}
		var err error
		s.Source, err = open(s.tell)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	return value.(*SharedSource), nil
}

// ReleaseSource gives a reference back.
func ReleaseSource(settings string) error {
	_, err := sources.Delete(settings)
	return err
}

// Destruct ends the source when it is no longer used.
func (s *SharedSource) Destruct() error {
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	select {
	case <-s.done:
	case <-time.After(sourcePatience):
	}
	return nil
}

// watch runs the source, and tells a configuration what happens until ctx ends.
func (s *SharedSource) watch(ctx context.Context, w *sourceWatcher) {
	s.mu.Lock()
	s.watchers = append(s.watchers, w)
	early := s.early
	s.early = nil
	if s.stop == nil {
		var run context.Context
		run, s.stop = context.WithCancel(context.Background())
		go func() {
			defer close(s.done)
			s.Run(run)
		}()
	}
	s.mu.Unlock()
	for _, event := range early {
		s.tell(event)
	}
	// What happened since the settings were put in force was not reported.
	w.changed()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = slices.DeleteFunc(s.watchers, func(other *sourceWatcher) bool { return other == w })
}

// maxEarly bounds the events that wait for somebody to watch.
const maxEarly = 16

// tell passes an event on: to the log of the configuration that was started
// last, and to all of them if there may be other zones now.
func (s *SharedSource) tell(event routing.SourceEvent) {
	s.mu.Lock()
	watchers := slices.Clone(s.watchers)
	if len(watchers) == 0 && len(s.early) < maxEarly {
		s.early = append(s.early, event)
	}
	s.mu.Unlock()
	if len(watchers) == 0 {
		return
	}
	logSource(watchers[len(watchers)-1].log, &event)
	switch event.Kind {
	case routing.SourceLoaded, routing.SourceRestored, routing.SourceZone:
		for _, w := range watchers {
			w.changed()
		}
	case routing.SourceRefused, routing.SourceLost, routing.SourceBack, routing.SourceBadAnswer, routing.SourceSnapshotFailed:
	}
}

func logSource(log *zap.Logger, e *routing.SourceEvent) {
	fields := []zap.Field{zap.Int("stores", e.Stores), zap.Int("keys", e.Keys), zap.Int("zones", e.Zones)}
	if e.Took > 0 {
		fields = append(fields, zap.Duration("took", e.Took))
	}
	if e.Err != nil {
		fields = append(fields, zap.Error(e.Err))
	}
	switch e.Kind {
	case routing.SourceLoaded:
		telemetry.Shared().NoteDirectory(nil)
		log.Info(telemetry.LogSourceLoaded, fields...)
	case routing.SourceRefused:
		telemetry.Shared().NoteDirectory(e.Err)
		log.Error(telemetry.LogSourceRefused, fields...)
	case routing.SourceLost:
		log.Error(telemetry.LogSourceLost, fields...)
	case routing.SourceBack:
		log.Info(telemetry.LogSourceBack, fields...)
	case routing.SourceRestored:
		log.Info(telemetry.LogSourceRestored, fields...)
	case routing.SourceZone:
		log.Info(telemetry.LogSourceZone, fields...)
	case routing.SourceBadAnswer:
		log.Error(telemetry.LogSourceBadAnswer, fields...)
	case routing.SourceSnapshotFailed:
		log.Warn(telemetry.LogSourceSnapshot, fields...)
	}
}

// sourceDirectory is a source as a configuration sees it.
type sourceDirectory struct {
	*SharedSource
	log *zap.Logger
}

// Watch implements [DirectoryWatcher].
func (d sourceDirectory) Watch(ctx context.Context, changed func()) {
	d.watch(ctx, &sourceWatcher{log: d.log, changed: changed})
}

// listedSource is one that can list its stores.
type listedSource struct {
	sourceDirectory
	lister routing.Lister
}

// EachStore implements [routing.Lister].
func (d listedSource) EachStore(zone string, yield func(store string) bool) {
	d.lister.EachStore(zone, yield)
}

// Len implements [routing.Lister].
func (d listedSource) Len() int { return d.lister.Len() }

// AsDirectory is a source as a directory, which can list its stores if the
// source can.
func (s *SharedSource) AsDirectory(log *zap.Logger) Directory {
	d := sourceDirectory{s, log}
	if lister, ok := s.Source.(routing.Lister); ok {
		return listedSource{d, lister}
	}
	return d
}

// SourceSnapshot is where a source keeps what it knows: a path, "off", or by
// default a file in Caddy's data directory.
func SourceSnapshot(setting, identity string) string {
	switch setting {
	case snapshotOff:
		return ""
	case "":
		sum := sha256.Sum256([]byte(identity))
		return filepath.Join(caddy.AppDataDir(), "firebreak", "stores-"+hex.EncodeToString(sum[:6])+".csv")
	}
	return setting
}

const snapshotOff = "off"

// Interface guards.
var (
	_ Watcher        = sourceDirectory{}
	_ routing.Asker  = sourceDirectory{}
	_ routing.Lister = listedSource{}
)

package episodes_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// sidecar is a keeper with a real log of incidents, in a synctest bubble. What its
// guard says is made up.
type sidecar struct {
	t      *testing.T
	keeper *episodes.Keeper
	log    *incidents.Log
	tells  atomic.Bool // whether what is told is accepted

	mu     sync.Mutex // guards below
	status breaker.ZoneStatus
	server breaker.ServerStatus
	got    []*episodes.Event
}

func newSidecar(t *testing.T, dir string, backend maintenance.Episodes) (s *sidecar, stop func()) {
	t.Helper()
	s = &sidecar{t: t, keeper: episodes.NewKeeper(), status: breaker.ZoneStatus{Zone: "z7"}}
	s.tells.Store(true)
	s.log = incidents.Open(incidents.Options{Dir: dir, Instance: "web1", Source: incidents.Source{Zone: func(string) (breaker.ZoneStatus, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.status, true
	}, Servers: func() []breaker.ServerStatus {
		s.mu.Lock()
		defer s.mu.Unlock()
		return []breaker.ServerStatus{s.server}
	}}})
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { s.keeper.Run(ctx, episodes.Source{Log: s.log, Backend: backend, Member: "web1:7"}) })
	work.Go(func() {
		for {
			select {
			case e := <-s.keeper.Events():
				s.mu.Lock()
				s.got = append(s.got, e)
				s.mu.Unlock()
				e.Settle(s.tells.Load())
			case <-ctx.Done():
				return
			}
		}
	})
	return s, func() { cancel(); work.Wait(); s.log.Close() }
}

func (s *sidecar) tell(kind, store string, state breaker.State) {
	s.mu.Lock()
	s.status.State, s.status.Quarantined, s.status.QuarantinedCount = state, nil, 0
	if kind == breaker.EventStoreQuarantined {
		s.status.Quarantined, s.status.QuarantinedCount = []string{store}, 1
	}
	s.mu.Unlock()
	s.log.Tell(&breaker.Event{Kind: kind, At: time.Now(), Zone: "z7", Store: store, Evidence: "no answer", Tally: &breaker.Tally{Outcomes: map[string]uint64{}, Refusals: map[string]uint64{}}})
}

// tellServer has a server go out of service, or come back, after it has lost requests.
func (s *sidecar) tellServer(address string, state breaker.ServerState, lost uint64) {
	s.mu.Lock()
	s.server = breaker.ServerStatus{Address: address, State: state, Lost: lost}
	s.mu.Unlock()
	kind, before := breaker.EventServerBack, lost
	if state != breaker.InService {
		kind, before = breaker.EventServerOut, 0
	}
	s.log.Tell(&breaker.Event{Kind: kind, At: time.Now(), Server: address, Evidence: "no answer", Lost: before})
}

func (s *sidecar) open() {
	s.tell(breaker.EventZoneTroubled, "", breaker.Troubled)
	s.tell(breaker.EventZoneOpened, "", breaker.Open)
}

func (s *sidecar) calm() {
	s.tell(breaker.EventZoneClosed, "", breaker.Troubled)
	s.tell(breaker.EventZoneCalm, "", breaker.Calm)
}

func (s *sidecar) wait(d time.Duration) { time.Sleep(d); synctest.Wait() }

// want checks which events have come since the last time.
func (s *sidecar) want(kinds ...string) []*episodes.Event {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	same := len(got) == len(kinds)
	for i := range got {
		same = same && got[i].Kind == kinds[i]
	}
	if !same {
		var names []string
		for _, e := range got {
			names = append(names, e.Kind)
		}
		s.t.Fatalf("told of %v, want %v", names, kinds)
	}
	return got
}

// TestAlone: a sidecar that shares nothing tells of each episode by itself, once.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newSidecar(t, t.TempDir(), nil)
		defer stop()
		s.open()
		s.wait(2 * time.Second)
		began := s.want(episodes.EventBegan)[0]
		if began.Grave != incidents.GraveZone || began.Zone != "z7" || began.Evidence == "" || len(began.Sidecars) != 1 {
			t.Errorf("%+v", began)
		}
		s.wait(time.Minute)
		s.want()
		s.calm()
		s.wait(2 * time.Second)
		if ended := s.want(episodes.EventEnded)[0]; ended.ID != began.ID || ended.Sum.Ended.IsZero() {
			t.Errorf("%+v", ended)
		}
		found, err := s.log.Get(began.ID)
		if e := found.Episode; err != nil || e == nil || !e.Ended || e.Told != incidents.GraveZone || e.Sum != nil {
			t.Errorf("%+v, %v", found.Episode, err)
		}
		s.wait(time.Minute)
		s.want()
	})
}

// TestServer: a server that does not answer for a while is worth telling, one that is
// restarted is not, nor one that is another one on each machine.
func TestServer(t *testing.T) {
	const shared = "api3:9000"
	for _, tt := range []struct {
		name    string
		address string
		state   breaker.ServerState
		out     time.Duration
		told    bool
	}{
		{"silent", shared, breaker.OutOfService, 20 * time.Second, true},
		{"silent for a moment", shared, breaker.OutOfService, 3 * time.Second, false},
		{"restarted", shared, breaker.Away, 20 * time.Second, false},
		{"away", shared, breaker.Away, 40 * time.Second, true},
		{"another one on each machine", "127.0.0.1:9000", breaker.OutOfService, time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newSidecar(t, t.TempDir(), nil)
				defer stop()
				s.tellServer(tt.address, tt.state, 3)
				s.wait(tt.out)
				var id string
				if tt.told {
					e := s.want(episodes.EventBegan)[0]
					if id = e.ID; e.Server != tt.address || e.Zone != "" {
						t.Errorf("%+v", e)
					}
				}
				s.tellServer(tt.address, breaker.InService, 3)
				s.wait(time.Minute)
				if !tt.told {
					s.want()
				} else if e := s.want(episodes.EventEnded)[0]; e.ID != id || e.Server != tt.address || e.Sum.Lost != 3 {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

// TestGrave: a store in quarantine for a moment is not worth telling, for longer it is;
// that the zone is cut off after all is told, too. What comes to nothing is not.
func TestGrave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newSidecar(t, t.TempDir(), nil)
		defer stop()
		s.tell(breaker.EventZoneTroubled, "", breaker.Troubled)
		s.wait(time.Minute)
		s.calm()
		s.wait(5 * time.Second)
		s.want()
		s.tell(breaker.EventStoreQuarantined, "s1", breaker.Troubled)
		s.wait(3 * time.Second)
		s.want()
		s.wait(4 * time.Second)
		if began := s.want(episodes.EventBegan)[0]; began.Grave != incidents.GraveStores {
			t.Errorf("%+v", began)
		}
		s.tell(breaker.EventZoneOpened, "", breaker.Open)
		s.wait(2 * time.Second)
		if worse := s.want(episodes.EventWorsened)[0]; worse.Grave != incidents.GraveZone {
			t.Errorf("%+v", worse)
		}
		s.tell(breaker.EventStoreReleased, "s1", breaker.Open)
		s.calm()
		s.wait(3 * time.Second)
		s.want(episodes.EventEnded)
	})
}

// TestAloneAfterRestart: what was told of before a restart ends after it.
func TestAloneAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, stop := newSidecar(t, dir, nil)
		s.open()
		s.wait(2 * time.Second)
		began := s.want(episodes.EventBegan)[0]
		stop()
		s, stop = newSidecar(t, dir, nil)
		defer stop()
		s.wait(3 * time.Second)
		if ended := s.want(episodes.EventEnded)[0]; ended.ID != began.ID {
			t.Errorf("%+v", ended)
		}
		s.wait(time.Minute)
		s.want()
	})
}

// TestNotTold: a sidecar alone does not tell again of what its webhooks could not post
// after all their retries; receivers that got it would get it twice.
func TestNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newSidecar(t, t.TempDir(), nil)
		defer stop()
		s.tells.Store(false)
		s.open()
		s.wait(time.Minute)
		s.want(episodes.EventBegan)
		s.calm()
		s.wait(time.Minute)
		s.want(episodes.EventEnded)
	})
}

// hangs is a backend that answers nothing until the caller gives up.
type hangs struct{ calls atomic.Int64 }

func (h *hangs) Beat(ctx context.Context, _ *maintenance.Beat) (*maintenance.Agreed, error) {
	h.calls.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

func (h *hangs) Overdue(ctx context.Context) ([]string, error) {
	<-ctx.Done()
	return nil, errors.New("away")
}

// TestBackendHangs: what hangs costs a second, and then the sidecar tells by itself.
func TestBackendHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := new(hangs)
		s, stop := newSidecar(t, t.TempDir(), backend)
		defer stop()
		s.open()
		s.wait(4 * time.Second)
		began := s.want(episodes.EventBegan)[0]
		s.calm()
		s.wait(5 * time.Second)
		if ended := s.want(episodes.EventEnded)[0]; ended.ID != began.ID {
			t.Errorf("%+v", ended)
		}
		if backend.calls.Load() == 0 {
			t.Error("the backend was not asked")
		}
	})
}

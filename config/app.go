package config

import (
	"net/http"
	"time"
)

// Modes of a zone.
const (
	ModeEnforce = "enforce"
	ModeObserve = "observe"
)

// What happens to the upstream's connection at the deadline.
const (
	OnTimeoutHold   = "hold"
	OnTimeoutCancel = "cancel"
)

// FairShare is the store's max_inflight that means "its fair share".
const FairShare = "fair"

// AllZones is the name of the zone block whose settings hold for every zone
// that does not say otherwise.
const AllZones = "*"

// App is the part of firebreak's settings that all handlers share.
type App struct {
	// The number of workers of the API server behind this sidecar: requests it
	// serves at the same time. Firebreak never admits more. Required as long
	// as any limit is a share of the pool, as the default limits are.
	Workers int `json:"workers,omitempty"`

	// Opening one more zone must not put more than this share (in percent) of
	// the known zones into the open state; then firebreak suspects the pool or
	// itself and holds back. One zone may always open. Default: 34.
	MaxOpenZones float64 `json:"max_open_zones,omitempty"`

	// Settings by zone. The zone named "*" holds for all zones; a zone of its
	// own name overrides it field by field.
	Zones []Zone `json:"zones,omitempty"`

	// Settings for stores.
	Store Store `json:"store,omitzero"`

	// Asks the API server whether a store is well; verified recoveries need it.
	Check *StoreCheck `json:"check,omitempty"`
}

// Zone is the settings of one zone, or of all zones ("*"). A field that is
// left out is taken from the zone "*", then from the default.
type Zone struct {
	// The zone's name as the directory gives it, or "*".
	Name string `json:"name"`

	// The time a request has until the first byte of its response. Default: 5s.
	Timeout Duration `json:"timeout,omitempty"`

	// A request that is in flight for longer than this is aging, and one that
	// ends well after it is slow. Must be shorter than the timeout.
	// Default: half of the timeout.
	SlowAfter Duration `json:"slow_after,omitempty"`

	// A response body that stands still for so long is hung. Default: 30s.
	BodyIdle Duration `json:"body_idle,omitempty"`

	// How many workers the zone may occupy: live requests and unexplained hung
	// ones. A number, or a share of the pool. Default: 25%.
	MaxInflight Amount `json:"max_inflight,omitzero"`

	// How many hung requests the zone may have until only stores that are
	// proven well are admitted. Default: max_inflight.
	MaxHung Amount `json:"max_hung,omitzero"`

	// Workers beyond max_inflight for finding out who is well while it is used
	// up. Default: 2.
	ProbeSlots *int `json:"probe_slots,omitempty"`

	// How long a request may wait for a slot; it occupies no worker meanwhile.
	// Default: 100ms; with fewer than 8 slots 800ms divided by them, so that a
	// page's burst of requests passes one after the other, and at most a
	// quarter of the timeout.
	MaxWait *Duration `json:"max_wait,omitempty"`

	// How many streams (WebSocket, server-sent events) the zone may have open.
	// Default: 1000.
	MaxStreams *int `json:"max_streams,omitempty"`

	// The time over which outcomes are judged; at least three times the
	// timeout. Default: 10s, or three times the timeout if that is longer.
	Window Duration `json:"window,omitempty"`

	// HTTP statuses that count as a failure of the zone.
	// Default: 500, 502, 503, 504.
	FailStatus []int `json:"fail_status,omitempty"`

	// The share (in percent) of the stores seen in the window that must be bad
	// for the zone to open. Default: 50.
	BadShare float64 `json:"bad_share,omitempty"`

	// How many stores must be bad at least for the zone to open. Default: 3.
	MinBadStores int `json:"min_bad_stores,omitempty"`

	// The share (in percent) of the stores seen in the window whose last
	// request was slow that opens the zone. Default: off, slow opens nothing.
	SlowShare float64 `json:"slow_share,omitempty"`

	// How long the zone stays open the first time in an episode; doubles with
	// each turn, +-20 % jitter. Default: 5s.
	OpenTime Duration `json:"open_time,omitempty"`

	// The longest open time. Default: 60s.
	OpenTimeMax Duration `json:"open_time_max,omitempty"`

	// "enforce", or "observe": everything is judged, logged and counted as
	// "would have", nothing is refused. Default: enforce.
	Mode string `json:"mode,omitempty"`

	// "hold": the request is left to run at the deadline, since its worker
	// would not notice a closed connection; its slot stays on the books.
	// "cancel": the connection is closed and the slot ends, for API servers
	// that notice (Go, Node). Default: hold.
	OnTimeout string `json:"on_timeout,omitempty"`

	// A hung request is given up after this time: its connection is closed and
	// its slot ends. Default: 5m.
	AbandonAfter Duration `json:"abandon_after,omitempty"`

	// How long the slot of a hung request is held where firebreak cannot see
	// its end, that is behind any transport but its own, and after a restart:
	// the longest time a worker may run. Default: 60s.
	HungHold Duration `json:"hung_hold,omitempty"`

	// Asks the zone's database itself while the zone is open; costs no worker.
	Check *Check `json:"check,omitempty"`

	// What this zone's stores are checked by instead of the app's check, field
	// by field.
	StoreCheck *StoreCheck `json:"store_check,omitempty"`
}

// Check asks a zone's database whether it is well.
type Check struct {
	// "tcp", "http" or "postgres" (SELECT 1).
	Protocol string `json:"protocol"`

	// host:port for tcp, a URL for http, for postgres a URL or a connection
	// string like "host=db7 user=firebreak dbname=shop".
	Address string `json:"address"`

	// What to send after connecting (tcp). Go escapes such as \r\n and \x00 are
	// understood.
	Send string `json:"send,omitempty"`

	// What the answer must contain (tcp: any answer if empty and something was
	// sent; http: in the body; postgres: not used).
	Expect string `json:"expect,omitempty"`

	// How often to ask. Default: 1s.
	Every Duration `json:"every,omitempty"`

	// How long an answer may take. Default: 1s.
	Timeout Duration `json:"timeout,omitempty"`
}

// Store is the settings of stores.
type Store struct {
	// "fair": while at most half of its zone's slots are taken a store may
	// hold as many as it likes; above that its fair share, at least one. A
	// number sets a hard limit. Default: fair.
	MaxInflight string `json:"max_inflight,omitempty"`

	// So many hung requests put a store into quarantine. Default: 2.
	MaxHung int `json:"max_hung,omitempty"`

	// So many bad outcomes in a row put a store into quarantine. Default: 3.
	BadInRow int `json:"bad_in_row,omitempty"`

	// The share (in percent) of bad outcomes in the window that puts a store
	// into quarantine, given at least min_requests. Default: 50.
	BadShare float64 `json:"bad_share,omitempty"`

	// The number of outcomes below which bad_share is not judged. Default: 10.
	MinRequests int `json:"min_requests,omitempty"`

	// How long a store stays in quarantine until it is tried again; doubles
	// with each turn, +-20 % jitter. Default: 5s.
	OpenTime Duration `json:"open_time,omitempty"`

	// The longest quarantine between two tries. Default: 60s.
	OpenTimeMax Duration `json:"open_time_max,omitempty"`

	// How many stores of one zone firebreak keeps books on during an episode.
	// Stores in quarantine and stores with hung requests are kept beside them.
	// Default: 10000.
	Records int `json:"records,omitempty"`
}

// Defaults, as documented at the fields.
const (
	defaultTimeout      = Duration(5 * time.Second)
	defaultBodyIdle     = Duration(30 * time.Second)
	defaultMaxWait      = Duration(100 * time.Millisecond)
	defaultSlotWait     = Duration(800 * time.Millisecond) // of max_inflight 1
	defaultWindow       = Duration(10 * time.Second)
	defaultOpenTime     = Duration(5 * time.Second)
	defaultOpenTimeMax  = Duration(60 * time.Second)
	defaultAbandonAfter = Duration(5 * time.Minute)
	defaultHungHold     = Duration(60 * time.Second)
	defaultCheckEvery   = Duration(time.Second)
	defaultCheckTimeout = Duration(time.Second)
	defaultShare        = 25
	defaultProbeSlots   = 2
	defaultMaxStreams   = 1000
	defaultBadShare     = 50
	defaultMinBadStores = 3
	defaultMaxOpenZones = 34
	defaultStoreHung    = 2
	defaultBadInRow     = 3
	defaultMinRequests  = 10
	defaultRecords      = 10000

	// windowTimeouts is how many timeouts must fit into the window: an outcome
	// that arrives after its window is gone would never be counted.
	windowTimeouts = 3
)

func defaultFailStatus() []int {
	return []int{
		http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}
}

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

// AllZones is the name of the zone block whose settings hold for every zone
// that does not say otherwise.
const AllZones = "*"

// App is the part of firebreak's settings that all handlers share.
type App struct {
	// The number of workers of all API servers behind this sidecar: requests
	// they serve at the same time. Firebreak never admits more. With several
	// servers it is divided evenly among the upstreams there are. Required
	// unless workers_per_server or workers_auto is given.
	Workers int `json:"workers,omitempty"`

	// The number of workers of each API server. The pool is the sum over the
	// servers in service, and changes as they come and go.
	WorkersPerServer int `json:"workers_per_server,omitempty"`

	// Instead of the two: the number of workers of each API server is found out
	// as server_status says (default then: auto), and never more requests are
	// sent to it than it was seen to serve at once, plus one to find out more
	// while all requests are answered as usual. Until something is known: 8.
	WorkersAuto bool `json:"workers_auto,omitempty"`

	// Where it is found out how many workers each API server has, and how many
	// are busy. A wrong number of workers is announced. Default: off.
	ServerStatus *ServerStatus `json:"server_status,omitempty"`

	// API servers that differ from the others.
	Servers []Server `json:"servers,omitempty"`

	// Asks a server that is out of service whether it is well.
	ServerCheck *ServerCheck `json:"server_check,omitempty"`

	// This sidecar's part of the workers, if several sidecars are in front of the
	// same servers: "1/3", or "auto", which follows the number of live sidecars
	// that share the state and name the same servers. Default: all of them.
	Share string `json:"share,omitempty"`

	// At most this share (in percent) of the API servers is taken out of
	// service by verdict. Default: 50.
	MaxServersOut float64 `json:"max_servers_out,omitempty"`

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

	// Repairs stores that fail their check in a recovery.
	Repair *Repair `json:"repair,omitempty"`
}

// Server is the settings of one API server.
type Server struct {
	// The upstream's address as reverse_proxy has it, for example "10.0.0.5:9000".
	Address string `json:"address"`

	// Its number of workers. Default: as for the others.
	Workers int `json:"workers,omitempty"`

	// Where it is found out how many workers it has. Default: as for the others.
	Status *ServerStatus `json:"status,omitempty"`
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

	// How many workers the zone may occupy at most, whatever the others need:
	// a number, or a share of workers. Default: no limit of its own; a zone whose
	// requests are answered may use what no other zone needs.
	MaxInflight Amount `json:"max_inflight,omitzero"`

	// How long a request may wait for a worker; it occupies none meanwhile. A
	// request of a zone that is in doubt waits up to slow_after. Default: 8s
	// divided by workers, at least 100ms and at most a quarter of the timeout.
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

	// How many stores must have no answer, while no request of the zone is
	// answered, for the zone to be cut off. A zone in doubt gets no more workers
	// than it takes to ask so many stores. Default: 3. In a pool of less
	// than 12 workers two are asked at first, the others one by one.
	MinBadStores int `json:"min_bad_stores,omitempty"`

	// How long the zone stays open the first time in an episode; five times as
	// long with each turn, +-10 % jitter. Default: 2s.
	OpenTime Duration `json:"open_time,omitempty"`

	// The longest open time while no request of the zone hangs, or if the zone
	// has a check. While requests hang, each try may cost one more worker, and
	// the open time goes on growing up to an hour. Default: 60s.
	OpenTimeMax Duration `json:"open_time_max,omitempty"`

	// "enforce", or "observe": everything is judged, logged and counted as
	// "would have", nothing is refused. Default: enforce.
	Mode string `json:"mode,omitempty"`

	// "hold": the request is left to run at the deadline, since its worker
	// would not notice a closed connection; its slot stays on the books.
	// "cancel": the connection is closed and the slot ends, for API servers
	// that notice (Go, Node). Default: hold.
	OnTimeout string `json:"on_timeout,omitempty"`

	// The connection of a hung request is closed after this time. Its worker
	// stays on the books until its server was restarted or has left, since a
	// worker does not notice a closed connection. Default: never; the end of the
	// connection is what shows that the worker is free.
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
	// string like "host=db7 user=firebreak dbname=shop", for mysql a URL like
	// mysql://firebreak@db7/shop, for redis host:port or a URL.
	Address string `json:"address"`

	// What to send after connecting (tcp), where Go escapes such as \r\n and \x00
	// are understood; or a command (redis), by default PING.
	Send string `json:"send,omitempty"`

	// What the answer must contain (tcp: any answer if empty and something was
	// sent; http: in the body; redis: in the reply; postgres, mysql: not used).
	Expect string `json:"expect,omitempty"`

	// How often to ask. Default: 1s.
	Every Duration `json:"every,omitempty"`

	// How long an answer may take. Default: 1s.
	Timeout Duration `json:"timeout,omitempty"`

	// How a query in the database names its store (postgres, mysql): "comment" for a
	// tag as sqlcommenter writes it (store='s0001'), "application_name" (postgres), or a regular
	// expression over the query's text with a group named store. The first that
	// finds one counts. With it the database is asked which queries hang, and
	// what they wait for, over a connection that is held from calm days on.
	StoreIn []string `json:"store_in,omitempty"`

	// A statement that tries one store, whose name is $1 (postgres) or ? (mysql). While
	// something is wrong with the zone it is run for stores that have requests, over
	// connections of its own: a store that passes is let in, and one whose
	// statement does not end in time goes into quarantine without having cost a
	// worker. It must ask for what the requests ask for, locks included.
	StoreProbe string `json:"store_probe,omitempty"`

	// What to do about the query of a request that hangs (postgres, mysql). Default:
	// nothing; the worker is busy for as long as the query is.
	OnHung *OnHung `json:"on_hung,omitempty"`
}

// OnHung frees the workers of requests that hang: once its client was answered, a
// request's query is cancelled in the zone's database. The API server must write
// the request's id, which it gets in the header Firebreak-Request, into a comment
// of its queries: /*request='...'*/. A query without it, or whose id is not that of
// one request that hangs, is never cancelled.
type OnHung struct {
	// What is done. There is only cancel_query.
	Action string `json:"action"`

	// Methods of the requests whose queries are cancelled. A query that writes is
	// undone by its database, but the API server may have done other things
	// before. Default: GET HEAD.
	Methods []string `json:"methods,omitempty"`

	// At most how many queries of the zone are cancelled in a minute. Default: 60.
	PerMinute int `json:"per_minute,omitempty"`

	// The same as a share of the zone's requests of the last minute, in percent; one
	// query at least. Default: 10.
	MaxShare float64 `json:"max_share,omitempty"`
}

// Store is the settings of stores.
type Store struct {
	// How long a store stays in quarantine until it is tried again; doubles
	// with each turn, +-10 % jitter. Default: 5s.
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
	defaultTimeout       = Duration(5 * time.Second)
	defaultBodyIdle      = Duration(30 * time.Second)
	defaultMaxWait       = Duration(100 * time.Millisecond)
	defaultPoolWait      = Duration(8 * time.Second) // of a pool of one worker
	defaultWindow        = Duration(10 * time.Second)
	defaultOpenTime      = Duration(2 * time.Second)
	defaultStoreOpenTime = Duration(5 * time.Second)
	defaultOpenTimeMax   = Duration(60 * time.Second)
	defaultHungHold      = Duration(60 * time.Second)
	defaultCheckEvery    = Duration(time.Second)
	defaultCheckTimeout  = Duration(time.Second)
	defaultMaxStreams    = 1000
	defaultMinBadStores  = 3
	defaultMaxOpenZones  = 34
	defaultMaxServersOut = 50
	defaultRecords       = 10000

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

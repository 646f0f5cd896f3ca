// Package breaker guards a pool of workers that many stores share: it knows
// exactly how many workers each zone and each server occupies, cuts off zones,
// stores and servers that do not answer, and brings them back. It knows neither
// HTTP nor Caddy and can be embedded in anything that admits and ends requests:
//
//	policy, err := breaker.NewPolicy(32, 2*time.Second)
//	guard := breaker.New(policy, breaker.Options{})
//	slot, refusal := guard.Admit(ctx, breaker.Request{Zone: "z7", Store: "s123"})
//	if refusal != nil {
//		return refusal // do not touch the pool
//	}
//	slot.Track()               // the worker's real end will be reported
//	go func() { slot.End(call()) }()
//	// at the first byte: slot.Answer(breaker.OK)
//	// at the deadline:   slot.Hang()    the client is answered, the worker still busy
//	// client gone:       slot.Leave()
//
// The package httpguard is a middleware for net/http. [Simulation] is the same guard
// in virtual time.
//
// # Slots
//
// A slot is the occupation of one worker by one request, of one store, in one
// zone, on one server. It begins at admission and ends when the worker is known to
// be free, which may be long after the client has its answer. A slot is live until
// its deadline; after it, or when the client leaves, it is hung. A slot is
// unanswered until the worker was heard from, late once it is unanswered for
// longer than the zone's patience, and aging after slow_after. Patience is four
// times the zone's own 90th percentile of the time to first byte, at most slow_after,
// and less in a busy zone, where answers are missed sooner; where the percentile is
// beyond slow_after, late is what takes longer than usual (pace.go).
//
// # The rule
//
// A zone flows while its requests are answered. It may use every worker that no
// other zone needs. A zone is in doubt while a request is late and no request of
// the zone was answered since it began. It gets no further worker beyond what it
// takes to ask min_bad_stores stores; its other requests wait, up to slow_after,
// which costs no worker, and are served in order when the zone goes on. A store is
// in doubt in the same way, one level down: it gets one request at a time. The
// decision is a pure function of counters (decide.go).
//
// # Blame
//
// The silence of a request speaks against what is silent where others are answered
// (blame.go):
//
//	others of the zone answered since   the server answered since   blamed
//	no                                  no                          the pool
//	no                                  yes                         the zone
//	yes                                 no                          the server
//	yes                                 yes                         the store
//
// A zone is cut off when min_bad_stores stores are silent for slow_after. In a small
// pool two are asked at first, and a third when both have missed their deadline; where
// there is no room for it, two have to be silent for much longer. A store
// goes into quarantine when two requests one after the other are, more if requests
// hang by chance all over the zone, one if two stores are in quarantine; any answer to it
// ends that. Until two stores have failed it, another request shows soon whether a store
// is in quarantine by chance. A server is out of
// service when two stores are silent on it, or when it answers errors where others
// do not; what its silence has led to is taken back. If the whole pool is silent, by
// three requests of two zones at least, or firebreak itself was not run, no verdict is
// passed. Errors that come quickly
// keep no worker: they are named, and nothing is refused for them (failing.go).
//
// # Witness
//
// A zone's database may be asked which stores' queries hang, and how stores are
// (inquiry.go, witness.go). It confirms the quarantine of a store that has a request without an
// answer, or that fails where others pass, and lets in stores that pass. No zone is
// opened for it, and what it says counts for seconds.
//
// # States
//
//	calm ──► troubled ──► open ──► half_open ──► troubled ──► calm
//	                       ▲            │ the request that tries it hangs
//	                       └────────────┘
//
// Open ends after the open time; or when a request that hung is answered, when a
// hung worker comes free (another request takes its place), or when the zone's own
// check passes. While requests of the zone hang, each turn takes five times as long
// as the one before, since a try may cost one more worker. Half-open is one request
// at a time: an answer closes the breaker, with a slow start, and silence opens it
// again. A store is calm, open (in quarantine) or half_open likewise.
//
// # Room
//
// Trunk reservation, at the pool: requests known to come back take any worker;
// those of a store or zone in doubt, and those that try one that was found ill,
// leave an eighth of the pool free, and what the other zones usually need. So does a
// zone with an eighth of the pool in requests since its latest answer: it may have
// stopped a moment ago, and several zones that stop at once must not take every worker
// before they are in doubt. At the zone: late and hung requests hold at most three
// eighths of the pool before only stores that were answered since are let in, and the
// others are asked one at a time, rarely from half of the pool on; a zone
// whose requests hold workers four times as long as those of the others leaves them
// what they usually need; a store that holds most of a zone's workers leaves some to
// the others.
//
// # Fleet
//
// Guards of many sidecars may tell each other what they observe (peers.go), so that a
// fault is found once for all. None has to be believed alone, and none gives verdicts
// to others. [Guard.Observe] says, by the same blame as above and with ages instead of
// times:
//
//	zone z is silent, by these stores   requests of it have no answer for slow_after, none was
//	                                    answered since they began, and other zones were
//	store s of z is silent              the same of a store, while others of its zone are
//	                                    answered, here or by another sidecar
//	server v is silent, by these        requests that were sent there have no answer for slow_after,
//	stores and zones                    while other servers answer
//	z, s or v was answered              it has come back, or [Guard.Answers] contradicts others
//
// [Guard.Agree] is told what enough sidecars observe and none contradicts. It opens the
// zone if min_bad_stores different stores are silent in all, or puts the store into
// quarantine without a second look. A sidecar needs no request of its own. Its own
// answers since the silence began are a veto, and so is whatever keeps the guard from a
// verdict of its own: a pool that is suspected, a hold, the most zones that may be open.
// A guard whose verdicts are suspended observes nothing. A server is taken out of service
// likewise (serverpeers.go), for three stores or zones, if its address means the same server
// everywhere.
//
// When an open time is over the state stays, and the first request that comes waits up
// to 100 ms until the [Fleet] says which sidecar tries it for all (lease.go). That one
// sends its request; if it hangs, the others are kept off until its next open time is
// over, and theirs grow as if it had been their own. Without an answer each guard
// decides by itself. After an answer to another sidecar ([Guard.PeerAnswered]) each tries
// at once; if that request hangs, no other such answer is believed until the zone has
// closed. A zone that is checked is tried as its check says.
//
// # Invariants
//
//   - live + hung (all zones) = workers occupied <= workers.
//   - A slot ends when its worker is known to be free: at the end of its
//     connection, or when its server was restarted or has left.
//   - Every admission is settled exactly once and ended exactly once; an owner
//     that reports nothing is reported for.
//   - A request waits for a bounded time, whatever happens.
//   - No breaker stays open or half-open for ever; time, not traffic, moves it. As long
//     as a fleet agrees on what is silent, one without requests stays open.
//   - Live evidence is never evicted: stores in quarantine or with late or hung
//     requests are kept beside the bounded LRU of the others.
//   - A bug in the bookkeeping ends neither the process nor the lock it was met
//     under; it is counted and told as an event.
//
// # Locks
//
// Guard.mu, then servers.mu, then the mu of the table of zones (for a zone's first
// request) or of the list of active zones, then a zone's mu, then dispatcher.mu, which is held for a moment and only
// when a request begins to wait for a worker of the pool, or gets one. No zone's lock is held together with another's, over I/O or over a callback,
// and no other path of a request takes a lock that zones share.
//
// # Restarts and checks
//
// Workers hang on when the process ends. [Guard.Snapshot] is what the next one must
// not forget, and [Guard.Restore] has its guard go on from there; what is
// remembered occupies workers and is no evidence. A check of a store by a recovery
// ([Guard.AdmitCheck]) takes a slot like a request and is no evidence either.
package breaker

// Package breaker guards a pool of workers that many stores share: it knows
// exactly how many workers each zone occupies, opens the breakers of zones and
// stores that are broken, and brings them back. It knows neither HTTP nor
// Caddy and can be embedded in anything that admits and ends requests:
//
//	policy, err := (&config.App{Workers: 32}).Policy()
//	guard := breaker.New(policy, breaker.Options{})
//	slot, refusal := guard.Admit(ctx, breaker.Request{Zone: "z7", Store: "s123"})
//	if refusal != nil {
//		return refusal // do not touch the pool
//	}
//	slot.Track()               // we will see the worker's real end
//	go func() { slot.End(call()) }()
//	// at the first byte: slot.Answer(breaker.OK)
//	// at the deadline:   slot.Hang()    the client is answered, the worker still busy
//	// client gone:       slot.Leave()
//
// # Slots
//
// A slot is the occupation of one worker by one request. It begins at
// admission and ends when the worker is known to be free, which may be long
// after the client has its answer. A slot is live until its deadline; after it,
// or when the client leaves, it is hung. At every moment
//
//	live + hung (all zones) = workers occupied <= workers
//
// # Evidence
//
// Each request gives one outcome (see [Outcome]). Outcomes are weighed by
// store: within the window a store counts once, by its latest outcome. Requests
// in flight are evidence too: one older than slow_after is aging, and bad while
// that lasts. Requests of one store in quarantine whose neighbours are answered
// are explained, and take no room from the neighbours. What it does after the
// window, or when it is tried again, no longer speaks against the zone.
//
// # States of a zone
//
//	        first trouble            evidence against the zone
//	calm ─────────────────► troubled ────────────────────────► open
//	 ▲                       │    ▲                             │ ▲
//	 └───────────────────────┘    │ max_inflight successes      │ │ nobody
//	  nothing bad for a window    │                             ▼ │ succeeds
//	                              └───────────────────────── half_open
//
// Open ends after the open time (doubling with each turn of an episode, with
// jitter), or early when requests of two stores that were stuck come back with
// an answer, or when the zone's own check passes. Half-open is a triage: its
// window starts at one request and grows by one with each success. A store that
// fails in triage goes into quarantine on that one strike; the zone goes back
// only if nobody succeeds.
//
// A store is calm, open (in quarantine) or half_open (being tried again, one
// request at a time). While its zone is open or in triage it is not judged:
// the zone explains it.
//
// # Whom to believe
//
// If requests of several zones are aging and nobody at all was answered
// lately, the pool is to blame and no verdict is passed on any zone or store.
// Nor is one passed that would open more than max_open_zones of all zones, or by
// a process that was not run for a while: answers may have been waiting for it.
// Connections that break while the API server cannot be dialled are its doing.
// If requests of most zones end in errors at the same time, and as quickly as others
// are answered, errors are nobody's fault, and what they led to is taken back.
//
// # Checks
//
// A check of a store by a recovery ([Guard.AdmitCheck]) takes a slot like a
// request and keeps it until its worker is free, but is no evidence: nobody is
// judged by it, and breakers do not stand in its way. Requests come before
// checks; hung checks take no room from them once another store of the zone was
// well.
//
// # Restarts
//
// Workers hang on when the process ends. [Guard.Memory] is what the next one must
// not forget, and [Guard.Remember] has its guard go on from there. What is
// remembered occupies workers and is no evidence.
//
// # Invariants
//
//   - A zone in which nobody is answered occupies at most max_inflight +
//     probe_slots workers; one more is lent each time the longest open time has
//     passed with all of them hung, up to 2 x max_inflight.
//   - A zone never occupies more than half of the workers not hung elsewhere; if
//     its slots are explained, one more, for a store that is known to be well.
//   - A zone in doubt, where a request takes four times as long as usual and
//     nobody was answered since, is given no worker of the last quarter of the
//     pool; its probes and first requests, none of the last eighth. What it took
//     before it was in doubt it keeps.
//   - A bug in the bookkeeping ends neither the process nor the lock it was met
//     under; it is counted and told as an event.
//   - Every admission is settled exactly once and ended exactly once; an owner
//     that reports nothing is reported for.
//   - A result from before an opening never decides what comes after it.
//   - No breaker stays open or half-open for ever; time, not traffic, moves it.
//   - Live evidence is never evicted: stores in quarantine or with hung requests
//     are kept beside the bounded LRU of the others.
//
// # Cost
//
// A calm zone keeps no object per store. Admitting and settling takes the lock
// of the request's own zone for a few dozen nanoseconds; zones share only
// atomic counters.
package breaker

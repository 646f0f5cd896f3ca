// Package flight serves admitted requests so that the deadline holds, whatever the
// handlers do that serve them. It is the part of the handler between admission and
// the end of the request's slot.
//
// The next handlers run on a goroutine of their own, because nothing else makes the
// deadline strict: lb_try_duration ignores a context's deadline, and so does Caddy's
// FastCGI transport once it has dialled.
//
//	handler's goroutine             next's goroutine
//	Run -> wait     ----- run --->  next.ServeHTTP(responseWriter, ...)
//	  done     <------------------  land: the handlers have returned
//	  deadline -> leave (cut)         |
//	  answers the client 504          |  the transport (Trip) sees the real end
//	                                land: the slot ends
//
// Who owns what:
//
//   - The handler's goroutine is net/http's. It waits in Run until next is done, the
//     deadline passes, the body stalls or the client leaves. It alone returns from the
//     handler, and so ends the client's ResponseWriter.
//   - next's goroutine comes from the Runner's pool. It alone uses the header fields
//     and the body that the next handlers see. Run does not wait for it once the
//     flight is cut; Runner.Stop ends those that are idle.
//   - A Trip is one round trip of the transport, on next's goroutine, or on one that
//     reads the rest of a response that no client waits for (at most 1 MiB, 10 s).
//   - Flight.mu is held for everything that reaches the client's ResponseWriter, and
//     for the state that both goroutines change.
//
// At the deadline the flight is cut: from then on the next handlers reach neither the
// client's ResponseWriter nor its request body, and get variables and log fields of
// their own. The client is answered at once. The slot stays occupied, as a hung one,
// until the worker is known to be free: a Trip has read its response to the end, or
// its connection is closed, or abandon_after has passed; without a Trip, when next
// returns with the worker's answer or error. The context that the next handlers have ends at the cut if no round trip
// is under way, else after the last of them: reverse_proxy then tries no other
// server.
//
// A client that leaves cuts the flight, too, but says nothing of the worker, and a
// response that has begun has met the deadline: after that only a body that makes no
// progress (body_idle) is cut.
package flight

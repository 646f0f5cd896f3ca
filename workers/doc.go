// Package workers finds out how many workers an API server has and how many of
// them are busy.
//
// # What is measured
//
// A server with a fixed pool of synchronous workers takes a connection from the
// accept queue of its listener only when a worker is free. So on the machine
// that the server runs on, the kernel knows how many requests are being served
// and how many wait: connections that were accepted, and connections that were
// not. [Kernel] asks it. Servers that accept connections before they can serve
// them (Puma), and servers on other machines, are asked by their own pages:
// [FPM], [Puma] and [UWSGI]. All of them are a [Source], which gives a
// [Reading]: workers, busy, queued.
//
// # How many workers there are
//
// As long as nothing waits, the number of busy workers is only a lower bound.
// While something waits, no worker is free, and what is in flight and does not wait
// is all they can serve. An [Estimator] collects readings of the last half minute
// and concludes
//
//   - at least n workers, when n were busy at once in several readings;
//   - exactly n workers, when most of the readings in which something waited show
//     n, and no more were busy in others;
//   - exactly n workers, when the server itself says so.
//
// One reading proves nothing: a connection waits for a moment even for an idle
// worker, and answers and new requests are on their way while readings are taken.
//
// A pool that is never full keeps its size to itself. [Estimator.Next] says how
// many requests may be in flight in order to find out more: one more than is
// known to be served at once. At worst that one waits until a worker is free.
//
// # A wrong setting
//
// A [Watch] compares the conclusions with the setting, and tells when the two
// differ by a factor of 1.5 for several seconds.
package workers

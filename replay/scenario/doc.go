// Package scenario has the outages that Firebreak was made for, as scenarios:
// demand, a pool of workers and databases that break, from fixed seeds, so that
// they go the same way each time. A scenario is played in virtual time, behind a
// plain proxy and behind a guard, and can be written as the access log of the
// plain proxy.
//
// The pool is modelled as it is: a worker serves one request at a time, waits
// for its database as long as that takes, and notices neither deadlines nor
// clients that leave. What clients ask for does not depend on what they are
// answered; they do not retry.
package scenario

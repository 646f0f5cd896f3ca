package fleet

import (
	"context"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Bounds of a lease: what is beyond them is cut.
const (
	leastLease = 10 * time.Millisecond
	mostLease  = 10 * time.Minute
)

// Lease implements breaker.Fleet: it asks for the right to try a zone or a store. It
// returns at once, false if the transport does not answer.
func (f *Fleet) Lease(zone, store string, d time.Duration) bool {
	return f.wantLease(subject{zone: zone, store: store}, d)
}

// LeaseServer implements breaker.Fleet, too: it asks for the right to try a server.
func (f *Fleet) LeaseServer(address string, d time.Duration) bool {
	return f.wantLease(subject{server: address}, d)
}

func (f *Fleet) wantLease(of subject, d time.Duration) bool {
	if f.o.Observe || max(len(of.zone), len(of.store), len(of.server)) > maxName || !f.answersLeases() {
		return false
	}
	select {
	case f.leases <- leaseRequest{of, min(max(d, leastLease), mostLease)}:
		f.Counts.LeasesAsked.Add(1)
		return true
	default:
		return false
	}
}

// answersLeases reports whether an answer can be expected soon.
func (f *Fleet) answersLeases() bool {
	now := f.now()
	if since := f.leasing.Load(); since != 0 && int64(now)-since > int64(leaseWait) {
		return false
	}
	return !f.leasesFail.Load() && f.prompt(now)
}

// lease asks for leases, one after the other.
func (f *Fleet) lease(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-f.leases:
			f.askLease(ctx, r)
		}
	}
}

func (f *Fleet) askLease(ctx context.Context, r leaseRequest) {
	defer f.survive()
	key := "zone/" + r.zone
	switch {
	case r.server != "":
		key = "server/" + r.server
	case r.store != "":
		key = "store/" + r.zone + "/" + r.store
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	f.leasing.Store(int64(f.now()))
	granted, left, err := f.o.Transport.Lease(ctx, key, r.d)
	f.leasing.Store(0)
	if err != nil {
		f.failed(err)
		f.Counts.LeasesFailed.Add(1)
		f.rest()
		return
	}
	if granted {
		f.Counts.LeasesGranted.Add(1)
	} else {
		f.Counts.LeasesRefused.Add(1)
	}
	if r.server != "" {
		f.o.Guard.ServerLeased(r.server, granted, left)
		return
	}
	f.o.Guard.Leased(r.zone, r.store, granted, left)
}

// rest has no lease asked for until the transport had the time to come back. Those
// that wait get no answer, and their guard decides by itself.
func (f *Fleet) rest() {
	f.leasesFail.Store(true)
	for {
		select {
		case <-f.leases:
			f.Counts.LeasesFailed.Add(1)
			continue
		default:
		}
		break
	}
	time.AfterFunc(time.Second, func() { f.leasesFail.Store(false) })
}

var _ breaker.Fleet = (*Fleet)(nil)

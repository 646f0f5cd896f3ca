package telemetry

import "sync"

// receipts are of events whose fate somebody waits for, by receiptKey.
var receipts sync.Map // string → *receipt

// receipt gathers what became of one event at all webhooks.
type receipt struct {
	settle func(told bool)

	mu      sync.Mutex // guards below
	pending int        // webhooks that have not said yet, and the emitter
	failed  bool
}

func receiptKey(event, incident string) string { return event + "\x00" + incident }

// openReceipt makes a receipt that webhooks find while the event is emitted.
func openReceipt(key string, settle func(told bool)) *receipt {
	r := &receipt{settle: settle, pending: 1}
	receipts.Store(key, r)
	return r
}

// seal is called when no further webhook will take the event.
func (r *receipt) seal(key string) {
	receipts.CompareAndDelete(key, r)
	r.done(true)
}

// expect is called for each webhook that will report what became of the event. All
// methods may be called on nil.
func (r *receipt) expect() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending++
}

// done says what became of it. told is also true if another try would not help.
func (r *receipt) done(told bool) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.pending--
	r.failed = r.failed || !told
	last, failed := r.pending == 0, r.failed
	r.mu.Unlock()
	if last {
		r.settle(!failed)
	}
}

// receiptOf is the receipt of an event, or nil.
func receiptOf(event string, data map[string]any) *receipt {
	incident, _ := data[FieldIncident].(string)
	if found, ok := receipts.Load(receiptKey(event, incident)); ok {
		return found.(*receipt)
	}
	return nil
}

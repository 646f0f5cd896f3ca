package fleet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Bounds of a message. What is beyond them is not sent, and not read.
const (
	maxMessage      = 16 << 10
	maxObservations = 64
	maxName         = 128 // bytes of a zone's, a store's or a server's name
	maxSender       = 255 // bytes of an instance's or a host's name
	maxAge          = time.Hour
)

// version is the first byte of a message. A sidecar reads its own version only: one
// that is newer or older decides by itself.
const version = 1

// message is what one sidecar tells the others. It has no times, since clocks differ:
// Sent counts from the start of the sender, and observations have ages.
type message struct {
	ID   string // of the sidecar
	Host string // sidecars of one host count as one

	Boot uint64        // random: which run of the sender
	Seq  uint64        // rises by message
	Sent time.Duration // since the sender began to run

	// Whether the claims are all that the sender has, so that those before are withdrawn.
	Whole bool

	Observations []breaker.Observation
}

var (
	errVersion   = errors.New("another version of messages")
	errTooLong   = errors.New("longer than a message may be")
	errTruncated = errors.New("truncated")
)

// flags of an observation: which names follow, and whether fingerprints do.
const (
	hasZone = 1 << iota
	hasStore
	hasServer
	hasSome
	allFlags = hasZone | hasStore | hasServer | hasSome
)

// append encodes the message behind buf. Observations that do not fit, or have names
// that are too long, are left out; then the message is not whole.
func (m *message) append(buf []byte) []byte {
	begin := len(buf)
	buf = append(buf, version, 0, 0)
	buf = appendText(buf, cut(m.ID, maxSender))
	buf = appendText(buf, cut(m.Host, maxSender))
	buf = binary.BigEndian.AppendUint64(buf, m.Boot)
	buf = binary.AppendUvarint(buf, m.Seq)
	buf = binary.AppendUvarint(buf, milliseconds(m.Sent))
	whole, count := m.Whole, 0
	for i := range m.Observations {
		end := len(buf)
		if o := &m.Observations[i]; count < maxObservations && sendable(o) {
			buf = appendObservation(buf, o)
		}
		if len(buf)-begin > maxMessage || len(buf) == end {
			buf, whole = buf[:end], false
			continue
		}
		count++
	}
	if whole {
		buf[begin+1] = 1
	}
	buf[begin+2] = byte(count)
	return buf
}

func known(kind breaker.ObservationKind) bool {
	return kind == breaker.ObservedSilent || kind == breaker.ObservedAnswered
}

func sendable(o *breaker.Observation) bool { return known(o.Kind) && named(o) }

// named reports whether it is about something, by names that may be sent.
func named(o *breaker.Observation) bool {
	return len(o.Zone) <= maxName && len(o.Store) <= maxName && len(o.Server) <= maxName &&
		(o.Zone != "" || o.Server != "")
}

func appendObservation(buf []byte, o *breaker.Observation) []byte {
	var flags byte
	for i, name := range []string{o.Zone, o.Store, o.Server} {
		if name != "" {
			flags |= 1 << i
		}
	}
	if o.Some != [3]uint32{} {
		flags |= hasSome
	}
	buf = append(buf, byte(o.Kind), flags)
	for _, name := range []string{o.Zone, o.Store, o.Server} {
		if name != "" {
			buf = appendText(buf, name)
		}
	}
	buf = binary.AppendUvarint(buf, uint64(min(max(o.Stores, 0), 1<<20)))
	if flags&hasSome != 0 {
		for _, fingerprint := range o.Some {
			buf = binary.BigEndian.AppendUint32(buf, fingerprint)
		}
	}
	return binary.AppendUvarint(buf, milliseconds(o.For))
}

func appendText(buf []byte, text string) []byte {
	return append(append(buf, byte(len(text))), text...)
}

func cut(text string, n int) string { return text[:min(len(text), n)] }

func milliseconds(d time.Duration) uint64 { return uint64(max(d, 0).Milliseconds()) }

// decode reads a message. It allocates no more than a few times the length of data.
func decode(data []byte) (*message, error) {
	if len(data) > maxMessage {
		return nil, errTooLong
	}
	r := reader{left: data}
	if r.byte() != version {
		return nil, errVersion
	}
	whole, count := r.byte(), int(r.byte())
	m := &message{ID: r.text(maxSender), Host: r.text(maxSender), Boot: r.uint64(), Seq: r.uvarint(), Sent: r.duration(maxSent), Whole: whole == 1}
	if r.failed || whole > 1 || m.ID == "" || m.Host == "" || count > maxObservations {
		return nil, errTruncated
	}
	for range count {
		o, err := r.observation()
		if err != nil {
			return nil, err
		}
		if known(o.Kind) { // those of a later release are laid out in the same way
			m.Observations = append(m.Observations, o)
		}
	}
	if len(r.left) != 0 {
		return nil, fmt.Errorf("%d bytes behind the last observation", len(r.left))
	}
	return m, nil
}

// maxSent is longer than a sidecar runs.
const maxSent = 100 * 365 * 24 * time.Hour

// reader reads a message from its beginning. Once it has failed, it returns zeros.
type reader struct {
	left   []byte
	failed bool
}

func (r *reader) observation() (o breaker.Observation, err error) {
	o.Kind = breaker.ObservationKind(r.byte())
	flags := r.byte()
	for i, name := range []*string{&o.Zone, &o.Store, &o.Server} {
		if flags&(1<<i) == 0 {
			continue
		}
		if *name = r.text(maxName); *name == "" {
			r.failed = true
		}
	}
	stores := r.uvarint()
	if flags&hasSome != 0 {
		for i := range o.Some {
			o.Some[i] = r.uint32()
		}
	}
	o.For = r.duration(maxAge)
	if r.failed || flags&^allFlags != 0 || stores > 1<<20 || known(o.Kind) && !named(&o) {
		return o, errTruncated
	}
	o.Stores = int(stores)
	return o, nil
}

// take returns the next n bytes, nil if there are not as many.
func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.left) {
		r.failed = true
		return nil
	}
	taken := r.left[:n]
	r.left = r.left[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) text(most int) string {
	n := int(r.byte())
	if n > most {
		r.failed = true
	}
	return string(r.take(n))
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	value, n := binary.Uvarint(r.left)
	if r.failed || n <= 0 {
		r.failed = true
		return 0
	}
	r.left = r.left[n:]
	return value
}

// duration reads milliseconds; more than most is as much.
func (r *reader) duration(most time.Duration) time.Duration {
	return time.Duration(min(r.uvarint(), uint64(most.Milliseconds()))) * time.Millisecond
}

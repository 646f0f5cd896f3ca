package fleet

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func drawObservation(t *rapid.T) breaker.Observation {
	o := breaker.Observation{
		Kind:   rapid.SampledFrom([]breaker.ObservationKind{breaker.ObservedSilent, breaker.ObservedAnswered}).Draw(t, "kind"),
		Stores: rapid.IntRange(0, 1000).Draw(t, "stores"),
		Some:   [3]uint32{rapid.Uint32().Draw(t, "fingerprint"), 7},
		For:    time.Duration(rapid.IntRange(0, 60_000).Draw(t, "for")) * time.Millisecond,
	}
	name := rapid.StringN(1, 32, maxName)
	if rapid.Bool().Draw(t, "of a server") {
		o.Server = name.Draw(t, "server")
		return o
	}
	o.Zone = name.Draw(t, "zone")
	if rapid.Bool().Draw(t, "of a store") {
		o.Store = name.Draw(t, "store")
	}
	return o
}

// TestMessagesComeBack: what is encoded is decoded, as much of it as fits.
func TestMessagesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := message{
			ID:           rapid.StringN(1, 40, maxSender).Draw(t, "id"),
			Host:         rapid.StringN(1, 40, maxSender).Draw(t, "host"),
			Boot:         rapid.Uint64().Draw(t, "boot"),
			Seq:          rapid.Uint64().Draw(t, "seq"),
			Sent:         time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "sent")) * time.Millisecond,
			Whole:        rapid.Bool().Draw(t, "whole"),
			Observations: rapid.SliceOfN(rapid.Custom(drawObservation), 0, 100).Draw(t, "observations"),
		}
		sent.Sent = min(sent.Sent, maxSent)
		data := sent.append(nil)
		if len(data) > maxMessage {
			t.Fatalf("%d bytes", len(data))
		}
		got, err := decode(data)
		if err != nil {
			t.Fatal(err)
		}
		n := len(got.Observations)
		if n > maxObservations || n < min(len(sent.Observations), maxObservations) && len(data) < maxMessage/2 {
			t.Fatalf("%d of %d observations came back", n, len(sent.Observations))
		}
		sent.Whole = sent.Whole && n == len(sent.Observations)
		sent.Observations = slices.Clone(sent.Observations)
		if len(data) < maxMessage/2 {
			if diff := cmp.Diff(sent.Observations[:n:n], got.Observations, cmp.Comparer(func(a, b breaker.Observation) bool { return a == b })); n > 0 && diff != "" {
				t.Fatal(diff)
			}
		}
		sent.Observations, got.Observations = nil, nil
		if diff := cmp.Diff(sent, *got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestMessageIsBounded: long names are left out and not cut, as another name would be
// meant then; and a message that is not whole says so.
func TestMessageIsBounded(t *testing.T) {
	long := strings.Repeat("x", maxName)
	m := message{ID: strings.Repeat("i", 1000), Host: "h", Whole: true}
	for range 200 {
		m.Observations = append(m.Observations, breaker.Observation{
			Kind: breaker.ObservedSilent, Zone: long, Store: long, For: math.MaxInt64, Stores: math.MaxInt,
		})
	}
	data := m.append([]byte("before"))
	data = bytes.TrimPrefix(data, []byte("before"))
	if len(data) > maxMessage || len(data) < maxMessage-400 {
		t.Errorf("%d bytes, want a full message", len(data))
	}
	got, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Whole || len(got.Observations) < 50 {
		t.Errorf("whole %t, %d observations", got.Whole, len(got.Observations))
	}
	m.Observations = []breaker.Observation{
		{Kind: breaker.ObservedSilent, Zone: long + "x"},
		{Kind: breaker.ObservedSilent},
		{Kind: 9, Zone: "z"},
		{Kind: breaker.ObservedSilent, Zone: "z"},
	}
	if got, err = decode(m.append(nil)); err != nil || len(got.Observations) != 1 || got.Whole {
		t.Errorf("%v %+v", err, got)
	}
}

// TestUnknownKindsAreSkipped: what a later release observes does not keep the rest of its
// message from being read.
func TestUnknownKindsAreSkipped(t *testing.T) {
	m := message{ID: "a:1", Host: "a", Boot: 1, Seq: 2, Whole: true, Observations: []breaker.Observation{
		{Kind: breaker.ObservedSilent, Zone: "z7", Stores: 2, Some: [3]uint32{5, 6}, For: time.Second},
		{Kind: breaker.ObservedSilent, Server: "api3:9000", Stores: 1, Some: [3]uint32{5}, For: time.Second},
	}}
	data := m.append(nil)
	later := bytes.Replace(data, append([]byte{byte(breaker.ObservedSilent), hasZone | hasSome}, "\x02z7"...), append([]byte{9, hasZone | hasSome}, "\x02z7"...), 1)
	if bytes.Equal(later, data) {
		t.Fatal("the message is laid out in another way")
	}
	got, err := decode(later)
	if err != nil || len(got.Observations) != 1 || got.Observations[0] != m.Observations[1] {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzDecode: whatever arrives is refused or understood, and what is understood can
// be said again.
func FuzzDecode(f *testing.F) {
	m := message{ID: "a:1", Host: "a", Boot: 1, Seq: 2, Sent: time.Second, Whole: true, Observations: []breaker.Observation{
		{Kind: breaker.ObservedSilent, Zone: "z7", Stores: 2, Some: [3]uint32{5, 6}, For: time.Second},
		{Kind: breaker.ObservedAnswered, Zone: "z7", Store: "s1"},
		{Kind: breaker.ObservedSilent, Server: "127.0.0.1:80"},
	}}
	whole := m.append(nil)
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Add(whole)
	f.Add([]byte{version, 1, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			return
		}
		if len(m.Observations) > maxObservations {
			t.Fatalf("%d observations", len(m.Observations))
		}
		again, err := decode(m.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
		receiveInto(t, m)
	})
}

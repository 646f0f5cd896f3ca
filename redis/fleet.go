package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firebreak-proxy/firebreak/fleet"
)

const (
	// fleetKept is how many messages the stream keeps, about, and fleetRecent how old
	// those are that a subscriber reads which was away.
	fleetKept   = 256
	fleetRecent = 3 * time.Second

	// fleetSilence is how long the channel may be silent before it is asked whether it
	// is there: this sidecar's own messages come back more often.
	fleetSilence = 2 * time.Second
)

var (
	//go:embed lua/fleet_publish.lua
	fleetPublishLua string
	//go:embed lua/fleet_recent.lua
	fleetRecentLua string
	//go:embed lua/fleet_lease.lua
	fleetLeaseLua string

	fleetPublishScript = redis.NewScript(fleetPublishLua)
	fleetRecentScript  = redis.NewScript(fleetRecentLua)
	fleetLeaseScript   = redis.NewScript(fleetLeaseLua)
)

// Transport carries the messages of a fleet over Redis 5 or later, with connections of its
// own: the switches do not wait for them. Messages are published on the channel
// {prefix}:fleet and kept for a while; its keys are in the same slot of a cluster as
// those of [Backend]:
//
//	{prefix}:fleet:recent       stream: the latest messages
//	{prefix}:fleet:lease:KEY    which sidecar tries KEY for all, with a time to live
type Transport struct {
	client  redis.UniversalClient
	channel string
	owner   string // of leases
}

// NewTransport makes a transport. It connects when it is first used.
func NewTransport(o Options) (*Transport, error) {
	if len(o.Addresses) == 0 {
		return nil, errors.New("no address of Redis")
	}
	quiet()
	prefix := o.Prefix
	if prefix == "" {
		prefix = "firebreak"
	}
	options := o.universal("firebreak-fleet", 3)
	options.MaxRetries = -1 // what is late is worth nothing
	return &Transport{
		client:  redis.NewUniversalClient(options),
		channel: "{" + prefix + "}:fleet",
		owner:   strconv.FormatUint(rand.Uint64(), 36),
	}, nil
}

// Close implements fleet.Transport.
func (t *Transport) Close() error { return t.client.Close() }

// Publish implements fleet.Transport.
func (t *Transport) Publish(ctx context.Context, message []byte) error {
	return withAdvice(fleetPublishScript.Run(ctx, t.client, []string{t.channel + ":recent"}, t.channel, message, fleetKept).Err())
}

// Receive implements fleet.Transport.
func (t *Transport) Receive(ctx context.Context, take func(message []byte, age time.Duration)) error {
	subscription := t.client.Subscribe(ctx, t.channel)
	// The client does not look at ctx while it reads.
	stop := context.AfterFunc(ctx, func() { _ = subscription.Close() })
	defer func() {
		stop()
		_ = subscription.Close()
	}()
	if _, err := subscription.ReceiveTimeout(ctx, fleetSilence); err != nil {
		return withAdvice(err)
	}
	if err := t.recent(ctx, take); err != nil {
		return err
	}
	asked := false
	for {
		news, err := subscription.ReceiveTimeout(ctx, fleetSilence)
		switch n := news.(type) {
		case *redis.Message:
			take([]byte(n.Payload), 0)
		default:
		}
		switch {
		case err == nil:
			asked = false
		case ctx.Err() != nil:
			return ctx.Err()
		case !isTimeout(err) || asked:
			return withAdvice(err)
		default:
			if err := subscription.Ping(ctx); err != nil {
				return withAdvice(err)
			}
			asked = true
		}
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// recent reads what was published while this sidecar did not listen. What comes twice
// is told apart by its number.
func (t *Transport) recent(ctx context.Context, take func(message []byte, age time.Duration)) error {
	ctx, cancel := context.WithTimeout(ctx, fleetSilence)
	defer cancel()
	entries, err := fleetRecentScript.Run(ctx, t.client, []string{t.channel + ":recent"}, fleetRecent.Milliseconds(), 2*fleetKept).StringSlice()
	if err != nil {
		return withAdvice(err)
	}
	for i := 0; i+1 < len(entries); i += 2 {
		age, err := strconv.ParseInt(entries[i], 10, 64)
		if err == nil {
			take([]byte(entries[i+1]), max(time.Duration(age)*time.Millisecond, time.Millisecond))
		}
	}
	return nil
}

// Lease implements fleet.Transport.
func (t *Transport) Lease(ctx context.Context, key string, d time.Duration) (granted bool, left time.Duration, err error) {
	answer, err := fleetLeaseScript.Run(ctx, t.client, []string{t.channel + ":lease:" + key}, t.owner, d.Milliseconds()).Int64Slice()
	if err != nil {
		return false, 0, withAdvice(err)
	}
	if len(answer) != 2 {
		return false, 0, errAnswer
	}
	return answer[0] == 1, time.Duration(answer[1]) * time.Millisecond, nil
}

var _ fleet.Transport = (*Transport)(nil)

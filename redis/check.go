package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

func init() { zonecheck.Register("redis", checkRedis) }

const (
	// mostReply bounds the bytes of one reply.
	mostReply = 1 << 20
	// unusedAfter is how long the connection of a check is kept that is not used.
	unusedAfter = 2 * time.Minute
)

// asked is one Redis that is checked, and the connection to it.
type asked struct {
	client *redis.Client
	left   zonecheck.Allowance // bytes that may be read yet
	mu     sync.Mutex          // held while the connection is used
	unused *time.Timer
}

var checked = struct {
	sync.Mutex
	all map[string]*asked // by address
}{all: make(map[string]*asked)}

// checkRedis sends a command over a connection that is kept from check to check.
func checkRedis(ctx context.Context, c *config.Check) error {
	a, err := askedAt(c)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left.Set(mostReply)
	var command []any
	for _, word := range strings.Fields(c.Send) {
		command = append(command, word)
	}
	if len(command) == 0 {
		command = []any{"PING"}
	}
	reply, err := a.client.Do(ctx, command...).Result()
	switch {
	case a.left.Exceeded():
		return zonecheck.ErrTooMuch
	case err != nil:
		return zonecheck.AnswerError(ctx, err)
	}
	if text := fmt.Sprint(reply); !strings.Contains(text, c.Expect) {
		return fmt.Errorf("answered %q, expected %q", text[:min(len(text), 60)], c.Expect)
	}
	return nil
}

// askedAt is the Redis at the address of a check.
func askedAt(c *config.Check) (*asked, error) {
	checked.Lock()
	defer checked.Unlock()
	a := checked.all[c.Address]
	if a == nil {
		options, err := checkAddress(c.Address)
		if err != nil {
			return nil, err
		}
		a = new(asked)
		dial := redis.NewDialer(options)
		options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return a.left.Limit(conn), nil
		}
		quiet()
		a.client = redis.NewClient(options)
		checked.all[c.Address] = a
		a.unused = time.AfterFunc(unusedAfter, func() { forget(c.Address, a) })
	}
	a.unused.Reset(unusedAfter + 2*time.Duration(c.Every))
	return a, nil
}

// forget closes the connection of a check that is not made any more.
func forget(address string, a *asked) {
	checked.Lock()
	defer checked.Unlock()
	if checked.all[address] == a {
		delete(checked.all, address)
	}
	_ = a.client.Close()
}

// checkAddress reads a URL like redis://user:secret@db7:6379/0, or host:port. Errors
// hold no password.
func checkAddress(address string) (*redis.Options, error) {
	options := &redis.Options{Addr: address}
	if strings.Contains(address, "://") {
		var err error
		if options, err = redis.ParseURL(address); err != nil {
			return nil, errors.New("the database's address is no URL like redis://db7:6379 or rediss://db7:6379")
		}
	}
	options.Protocol, options.DisableIdentity = 2, true // no command that the role may lack
	options.ContextTimeoutEnabled, options.MaxRetries, options.DialerRetries = true, 1, 1
	options.PoolSize = 1
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return options, nil
}

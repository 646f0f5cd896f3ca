package redis

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// Commit implements Backend.
func (r *Backend) Commit(ctx context.Context, at maintenance.Head, c *maintenance.Change) error {
	line, err := json.Marshal(c.Cut())
	if err != nil {
		return err
	}
	args := make([]any, 0, 11+2*len(c.Set)+len(c.Clear))
	args = append(args,
		at.Epoch, strconv.FormatUint(at.Revision, 10), at.Change,
		c.Epoch, strconv.FormatUint(c.Revision, 10), c.Change,
		c.Absorbed, line, logKept, r.channel(), len(c.Set))
	if args, err = appendSwitches(args, c.Set); err != nil {
		return err
	}
	for _, t := range c.Clear {
		args = append(args, t.Key())
	}
	return r.write(ctx, commitScript, r.keys("head", "switches", "changed", "gone", "ids", "log"), args)
}

// Restore implements Backend.
func (r *Backend) Restore(ctx context.Context, s *maintenance.State) error {
	args, err := appendSwitches([]any{
		s.Epoch, strconv.FormatUint(s.Revision, 10), s.Head.Change, strings.Join(s.Absorbed, " "), r.channel(),
	}, s.Sorted())
	if err != nil {
		return err
	}
	return r.write(ctx, restoreScript, r.keys("head", "switches", "changed", "gone", "ids"), args)
}

func appendSwitches(args []any, switches []maintenance.Switch) ([]any, error) {
	for i := range switches {
		value, err := json.Marshal(&switches[i])
		if err != nil {
			return nil, err
		}
		args = append(args, switches[i].Key(), value)
	}
	return args, nil
}

func (r *Backend) write(ctx context.Context, script *redis.Script, keys []string, args []any) error {
	made, err := script.Run(ctx, r.client, keys, args...).Int()
	if err != nil {
		return withAdvice(err)
	}
	if made == 0 {
		return maintenance.ErrConflict
	}
	return nil
}

// History implements Backend.
func (r *Backend) History(ctx context.Context, limit int) ([]maintenance.Change, error) {
	if limit <= 0 {
		return nil, nil
	}
	lines, err := r.client.LRange(ctx, r.prefix+"log", 0, int64(limit)-1).Result()
	if err != nil {
		return nil, withAdvice(err)
	}
	list := make([]maintenance.Change, 0, len(lines))
	for _, line := range lines {
		if c, _, err := maintenance.DecodeChange([]byte(line)); err == nil {
			list = append(list, *c)
		}
	}
	return list, nil
}

// Watch implements Backend.
func (r *Backend) Watch(ctx context.Context, changed func()) {
	subscription := r.client.Subscribe(ctx, r.channel())
	defer func() { _ = subscription.Close() }()
	// Also after each new connection: a change may have come in between.
	news := subscription.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(2 * time.Second))
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-news:
			if !ok {
				<-ctx.Done()
				return
			}
			changed()
		}
	}
}

// Publish implements Backend.
func (r *Backend) Publish(ctx context.Context, id string, record []byte, ttl time.Duration) (time.Time, error) {
	now, err := publishScript.Run(ctx, r.client, r.keys("instances", "instance:"+id), id, record, ttl.Milliseconds()).StringSlice()
	if err != nil {
		return time.Time{}, withAdvice(err)
	}
	if len(now) != 2 {
		return time.Time{}, errAnswer
	}
	return timeOf(now[0], now[1]), nil
}

// Withdraw implements Backend.
func (r *Backend) Withdraw(ctx context.Context, id string) error {
	_, err := r.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, r.prefix+"instance:"+id)
		p.ZRem(ctx, r.prefix+"instances", id)
		return nil
	})
	return withAdvice(err)
}

// Instances implements Backend.
func (r *Backend) Instances(ctx context.Context) (map[string][]byte, error) {
	ids, err := r.client.ZRange(ctx, r.prefix+"instances", 0, -1).Result()
	if err != nil {
		return nil, withAdvice(err)
	}
	alive := make(map[string][]byte, len(ids))
	if len(ids) == 0 {
		return alive, nil
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = r.prefix + "instance:" + id
	}
	records, err := r.client.MGet(ctx, keys...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, withAdvice(err)
	}
	for i, record := range records {
		if text, ok := record.(string); ok { // nil: it has expired
			alive[ids[i]] = []byte(text)
		}
	}
	return alive, nil
}

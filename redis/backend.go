package redis

import (
	"context"
	"crypto/tls"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// Options say where Redis is.
type Options struct {
	// host:port of Redis, of the sentinels, or of nodes of a cluster.
	Addresses []string

	MasterName                         string // ask sentinels for this master
	SentinelUsername, SentinelPassword string
	Cluster                            bool

	Username, Password string
	DB                 int
	TLS                *tls.Config

	// What keys begin with. Default: firebreak.
	Prefix string
}

// Backend keeps switches in Redis 5 or later. Its keys, all in one slot of a
// cluster:
//
//	{prefix}:head           hash: epoch, revision, change (the latest one's id), absorbed
//	{prefix}:switches       hash: "all", "zone/NAME" or "store/NAME" → the switch as JSON
//	{prefix}:changed        sorted set: targets that are set, by the revision of their latest change
//	{prefix}:gone           sorted set: targets that were cleared lately, likewise
//	{prefix}:ids            list: ids of the latest changes, latest first
//	{prefix}:log            list: the latest changes as JSON, latest first: the audit log
//	{prefix}:instances      sorted set: ids of sidecars, by when their records expire (ms)
//	{prefix}:instance:ID    the record of a sidecar, with a time to live
//
// Every change is one script, so that it is made wholly or not at all, and is
// published on the channel {prefix}:changes.
type Backend struct {
	client redis.UniversalClient
	prefix string
}

// logKept is how many changes the log keeps, and from how far back a reader is
// told only what has changed.
const logKept = 1200

var (
	//go:embed lua/read.lua
	readLua string
	//go:embed lua/commit.lua
	commitLua string
	//go:embed lua/restore.lua
	restoreLua string
	//go:embed lua/publish.lua
	publishLua string

	readScript    = redis.NewScript(readLua)
	commitScript  = redis.NewScript(commitLua)
	restoreScript = redis.NewScript(restoreLua)
	publishScript = redis.NewScript(publishLua)
)

// quiet keeps the client from writing to standard error: what goes wrong
// is returned, and noted by the board.
var quiet = sync.OnceFunc(func() { redis.SetLogger(noLog{}) })

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// New makes a backend. It connects when it is first used.
func New(o Options) (*Backend, error) {
	if len(o.Addresses) == 0 {
		return nil, errors.New("no address of Redis")
	}
	quiet()
	prefix := o.Prefix
	if prefix == "" {
		prefix = "firebreak"
	}
	client := redis.NewUniversalClient(o.universal("firebreak", 4))
	return &Backend{client: client, prefix: "{" + prefix + "}:"}, nil
}

// universal are the client's own options.
func (o *Options) universal(name string, connections int) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: o.Addresses, MasterName: o.MasterName, IsClusterMode: o.Cluster,
		SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
		ClientName: name, Protocol: 2, DisableIdentity: true,
		// The caller's context bounds everything: a call that fails is made
		// again by the board, at the next poll.
		ContextTimeoutEnabled: true, MaxRetries: 1, DialerRetries: 1, DialTimeout: time.Second,
		PoolSize: connections, MaxIdleConns: 2,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Close implements Backend.
func (r *Backend) Close() error { return r.client.Close() }

func (r *Backend) keys(names ...string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = r.prefix + name
	}
	return keys
}

func (r *Backend) channel() string { return r.prefix + "changes" }

// withAdvice says what to do where Redis only says what it refuses.
func withAdvice(err error) error {
	if err == nil {
		return nil
	}
	var advice string
	switch text := err.Error(); {
	case errors.Is(err, context.DeadlineExceeded):
		advice = "no answer in time: is it stopped, overloaded, or cut off from here?"
	case strings.HasPrefix(text, "NOAUTH"), strings.HasPrefix(text, "WRONGPASS"):
		advice = "set the right username and password"
	case strings.HasPrefix(text, "NOPERM"):
		advice = "let the user use all commands on keys and channels that begin with the prefix"
	case strings.HasPrefix(text, "READONLY"):
		advice = "this Redis is a replica: use the master's address, or sentinel"
	case strings.HasPrefix(text, "OOM"):
		advice = "Redis is full: give it more memory"
	case strings.HasPrefix(text, "LOADING"):
		advice = "Redis is starting"
	case strings.HasPrefix(text, "MISCONF"):
		advice = "Redis cannot write to its disk"
	case strings.HasPrefix(text, "WRONGTYPE"):
		advice = "something else uses the same keys: choose another prefix"
	case strings.HasPrefix(text, "MOVED"), strings.HasPrefix(text, "CLUSTERDOWN"):
		advice = "this Redis is part of a cluster: say cluster, and look whether the cluster is well"
	default:
		return fmt.Errorf("redis: %w", err)
	}
	return fmt.Errorf("redis: %w (%s)", err, advice)
}

// Read implements Backend.
func (r *Backend) Read(ctx context.Context, known maintenance.Head) (*maintenance.Update, error) {
	result, err := readScript.Run(ctx, r.client, r.keys("head", "switches", "changed", "gone", "ids"),
		known.Epoch, strconv.FormatUint(known.Revision, 10), known.Change, logKept).Slice()
	if err != nil {
		return nil, withAdvice(err)
	}
	return parseUpdate(result)
}

var errAnswer = errors.New("redis: the script's answer is not understood")

// parseUpdate reads the answer of read.lua.
func parseUpdate(result []any) (*maintenance.Update, error) {
	texts := make([]string, 7)
	if len(result) != 8 {
		return nil, errAnswer
	}
	for i := range texts {
		text, ok := result[i].(string)
		if !ok {
			return nil, errAnswer
		}
		texts[i] = text
	}
	list, ok := result[7].([]any)
	if !ok {
		return nil, errAnswer
	}
	revision, err := strconv.ParseUint(texts[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("redis: the revision is %q: %w", texts[1], err)
	}
	u := &maintenance.Update{
		Head:     maintenance.Head{Epoch: texts[0], Revision: revision, Change: texts[2]},
		Absorbed: strings.Fields(texts[3]), All: texts[6] == "all", Now: timeOf(texts[4], texts[5]),
	}
	for i := 0; i+1 < len(list); i += 2 {
		target, _ := list[i].(string)
		value, _ := list[i+1].(string)
		take(u, target, value)
	}
	return u, nil
}

// take takes in one field of the hash of switches.
func take(u *maintenance.Update, target, value string) {
	t, err := maintenance.ParseKey(target)
	if err != nil {
		u.Corrupt = append(u.Corrupt, maintenance.Corrupt{Record: target, Error: err.Error()})
		return
	}
	if value == "" && !u.All {
		u.Clear = append(u.Clear, t)
		return
	}
	sw, err := maintenance.DecodeSwitch([]byte(value))
	if err == nil && sw.Target != t {
		err = fmt.Errorf("it is the switch of %s", sw.Target)
	}
	if err != nil {
		u.Corrupt = append(u.Corrupt, maintenance.Corrupt{Record: target, Error: err.Error()})
		return
	}
	u.Set = append(u.Set, sw)
}

// timeOf is the answer of TIME.
func timeOf(seconds, micros string) time.Time {
	s, err := strconv.ParseInt(seconds, 10, 64)
	us, err2 := strconv.ParseInt(micros, 10, 64)
	if err != nil || err2 != nil {
		return time.Time{}
	}
	return time.Unix(s, us*1000)
}

package redis

import (
	"context"
	_ "embed" // the scripts
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

var (
	//go:embed lua/episode.lua
	episodeLua string
	//go:embed lua/overdue.lua
	overdueLua string

	episodeScript = redis.NewScript(episodeLua)
	overdueScript = redis.NewScript(overdueLua)
)

// Keys of episodes, in the slot of all others, each of a zone but for the last:
//
//	{prefix}:episode:ZONE          hash: id, told, aliases; claim, claim_by, claim_until, tries:
//	                               who tells of it for all
//	{prefix}:episode-members:ZONE  sorted set: who holds it, by until when (ms)
//	{prefix}:episode-figures:ZONE  hash: the figures of each
//	{prefix}:episode-past:ZONE, {prefix}:episode-past-figures:ZONE  of the one before it, for a day
//	{prefix}:episodes              sorted set: zones, by when (ms) somebody has to look
func (r *Backend) episodeKeys(zone string) []string {
	return r.keys("episode:"+zone, "episode-members:"+zone, "episode-figures:"+zone, "episodes", "episode-past:"+zone, "episode-past-figures:"+zone)
}

// Beat implements maintenance.Episodes.
func (r *Backend) Beat(ctx context.Context, b *maintenance.Beat) (*maintenance.Agreed, error) {
	wanted := ""
	if b.Parts {
		wanted = "1"
	}
	result, err := episodeScript.Run(ctx, r.client, r.episodeKeys(b.Zone),
		b.Zone, b.Member, b.ID, string(b.Stage), b.Level, b.Told,
		string(b.Telling), b.TellingLevel, string(b.Outcome), b.Part, b.Lease.Milliseconds(), wanted).Slice()
	if err != nil {
		return nil, withAdvice(err)
	}
	return parseAgreed(result)
}

// parseAgreed reads the answer of episode.lua.
func parseAgreed(result []any) (*maintenance.Agreed, error) {
	if len(result) != 8 {
		return nil, errAnswer
	}
	a := new(maintenance.Agreed)
	var tell, aliases string
	var over int64
	for i, to := range []any{&a.ID, &a.Told, &tell, &a.Level, &a.Members, &over, &aliases} {
		if !assign(to, result[i]) {
			return nil, errAnswer
		}
	}
	a.Tell, a.Over, a.Aliases = maintenance.Telling(tell), over != 0, strings.Fields(aliases)
	list, ok := result[7].([]any)
	if !ok || len(list)%2 != 0 {
		return nil, errAnswer
	}
	if len(list) > 0 {
		a.Parts = make(map[string][]byte, len(list)/2)
	}
	for i := 0; i < len(list); i += 2 {
		member, ok := list[i].(string)
		part, ok2 := list[i+1].(string)
		if !ok || !ok2 {
			return nil, errAnswer
		}
		a.Parts[member] = []byte(part)
	}
	return a, nil
}

// assign takes a value over. It reports whether it is of the kind that is wanted.
func assign(to, value any) bool {
	switch to := to.(type) {
	case *string:
		text, ok := value.(string)
		*to = text
		return ok
	case *int64:
		n, ok := value.(int64)
		*to = n
		return ok
	case *int:
		n, ok := value.(int64)
		*to = int(n)
		return ok
	}
	return false
}

// Overdue implements maintenance.Episodes.
func (r *Backend) Overdue(ctx context.Context) ([]string, error) {
	zones, err := overdueScript.Run(ctx, r.client, r.keys("episodes")).StringSlice()
	return zones, withAdvice(err)
}

var _ maintenance.Episodes = (*Backend)(nil)

-- Takes in what a sidecar says of the episode of a zone; returns what is agreed.
-- KEYS: the episode, its members by when their leases end, its figures; zones by when
-- somebody has to look; the episode before it, and its figures
-- ARGV: zone, member, id, stage; level, level told of with that id; what the member
-- tells for all, its level, the outcome; figures, lease (ms), '1' if all figures are
-- wanted
local zone, me, id, stage = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local level, told, telling, tellingLevel, outcome = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8]), ARGV[9]
local claimFor, pause, mostTries, mostParts, keep = 10000, 3000, 3, 200, 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function all(key)
  local hash, list = {}, redis.call('HGETALL', key)
  for i = 1, #list, 2 do
    hash[list[i]] = list[i + 1]
  end
  return hash
end

local function parts(key, must)
  if must or ARGV[12] == '1' and redis.call('HLEN', key) <= mostParts then
    return redis.call('HGETALL', key)
  end
  return {}
end

local e = all(KEYS[1])
local mineToo = e.id and (id == '' or e.id == id or redis.call('ZSCORE', KEYS[2], me))
if stage ~= 'in' and not mineToo then
  local past = all(KEYS[5])
  if past.id and past.id == id then
    if ARGV[10] ~= '' then -- of one that leaves late
      redis.call('HSET', KEYS[6], me, ARGV[10])
      redis.call('PEXPIRE', KEYS[6], keep)
    end
    return { past.id, tonumber(past.told), '', 0, 0, 1, past.aliases, parts(KEYS[6]) }
  end
  if not e.id then
    redis.call('ZREM', KEYS[4], zone)
  end
  return { '', 0, '', 0, 0, 0, '', {} }
end

if not e.id then
  if redis.call('HGET', KEYS[5], 'id') == id then
    told = 0 -- its end was told of while this sidecar was away, but it goes on
  end
  redis.call('DEL', KEYS[2], KEYS[3])
  e.id, e.told, e.aliases = id, told, ''
end
e.told = tonumber(e.told)
local claimed = e.claim and tonumber(e.claim_until) > now

if stage == 'in' and id ~= e.id and told > 0 then
  local alias = id
  if e.told == 0 and not claimed then
    alias, e.id, e.told = e.id, id, told -- the id that people know
  end
  if not string.find(' ' .. e.aliases .. ' ', ' ' .. alias .. ' ', 1, true) and #e.aliases < 2000 then
    e.aliases = e.aliases == '' and alias or e.aliases .. ' ' .. alias
  end
elseif stage ~= 'watch' and id == e.id then
  e.told = math.max(e.told, told)
end

local function unclaim()
  e.claim, e.claim_by, e.claim_until, e.tries = nil, nil, nil, nil
  redis.call('HDEL', KEYS[1], 'claim', 'claim_by', 'claim_until', 'tries')
  claimed = false
end

local ended = false
local mine = telling ~= '' and e.claim == telling and e.claim_by == me
if mine and outcome == '' then
  e.claim_until, claimed = now + claimFor, true
elseif mine and outcome == 'not told' and tonumber(e.tries) < mostTries then
  e.claim_by, e.claim_until, claimed = '', now + pause, true
elseif telling ~= '' and outcome ~= '' then
  if mine then
    unclaim()
  end
  if telling == 'begun' then
    e.told = math.max(e.told, tellingLevel)
  else
    ended = true
  end
end

if stage == 'in' then
  redis.call('ZADD', KEYS[2], now + ARGV[11], me)
else
  redis.call('ZREM', KEYS[2], me)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if ARGV[10] ~= '' then
  redis.call('HSET', KEYS[3], me, ARGV[10])
end
local members = redis.call('ZCARD', KEYS[2])

local tell, tellLevel, over = '', 0, false
local function claim(what, of)
  if e.claim ~= what then
    e.tries = 0
  end
  e.claim, e.claim_by, e.claim_until, e.tries = what, me, now + claimFor, tonumber(e.tries or 0) + 1
  claimed, tell, tellLevel = true, what, of
end
if members == 0 then
  if ended or e.told == 0 and not e.claim then
    over = true
  elseif not claimed then
    claim('ended', math.max(e.told, 1)) -- also if a beginning may or may not have been told of
  end
else
  if ended or e.claim == 'ended' and not claimed then
    unclaim()
    e.told = 0 -- it goes on for others, who tell of it again
  end
  if stage == 'in' and level > e.told and not claimed then
    claim('begun', level)
  end
end

local fields = {}
for name, value in pairs(e) do
  fields[#fields + 1] = name
  fields[#fields + 1] = tostring(value)
end
redis.call('HSET', KEYS[1], unpack(fields))
local figures = parts(KEYS[3], tell == 'ended')
if over then
  redis.call('DEL', KEYS[2], KEYS[6])
  redis.call('RENAME', KEYS[1], KEYS[5])
  redis.call('PEXPIRE', KEYS[5], keep)
  if redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('RENAME', KEYS[3], KEYS[6])
    redis.call('PEXPIRE', KEYS[6], keep)
  end
  redis.call('ZREM', KEYS[4], zone)
else
  local look = e.claim_until
  if members > 0 then
    look = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  end
  redis.call('ZADD', KEYS[4], look, zone)
  for i = 1, 4 do
    redis.call('PEXPIRE', KEYS[i], keep)
  end
end
return { e.id, e.told, tell, tellLevel, members, over and 1 or 0, e.aliases, figures }

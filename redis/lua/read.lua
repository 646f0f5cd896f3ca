-- Returns what is new to one who has the state of a head.
-- KEYS: head, switches, changed, gone, ids
-- ARGV: epoch, revision and change that are known; how far back changes tell
local head = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'change', 'absorbed')
local now = redis.call('TIME')
local epoch, revision, change = head[1] or '', tonumber(head[2] or '0'), head[3] or ''
local known = tonumber(ARGV[2])
local answer = { epoch, tostring(revision), change, head[4] or '', now[1], now[2], 'same', {} }
if epoch == ARGV[1] and revision == known and change == ARGV[3] then
  return answer
end
local behind = revision - known
if epoch ~= '' and epoch == ARGV[1] and behind > 0 and behind <= tonumber(ARGV[4])
  and redis.call('LINDEX', KEYS[5], behind) == ARGV[3] then
  answer[7] = 'some'
  local list = answer[8]
  for _, target in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. known, '+inf')) do
    list[#list + 1] = target
    list[#list + 1] = redis.call('HGET', KEYS[2], target) or ''
  end
  for _, target in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. known, '+inf')) do
    list[#list + 1] = target
    list[#list + 1] = ''
  end
  return answer
end
answer[7] = 'all'
if epoch ~= '' then
  answer[8] = redis.call('HGETALL', KEYS[2])
end
return answer

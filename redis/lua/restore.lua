-- Writes a whole state over none or an earlier one of the same epoch; returns
-- 0 if there is another.
-- KEYS: head, switches, changed, gone, ids
-- ARGV: epoch, revision, change, absorbed; the channel; then target and switch
-- of each switch
local head = redis.call('HMGET', KEYS[1], 'epoch', 'revision')
if head[1] and (head[1] ~= ARGV[1] or tonumber(head[2]) >= tonumber(ARGV[2])) then
  return 0
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
for i = 6, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[3], ARGV[2], ARGV[i])
end
redis.call('LPUSH', KEYS[5], ARGV[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'revision', ARGV[2], 'change', ARGV[3], 'absorbed', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[2])
return 1

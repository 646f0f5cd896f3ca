-- Makes a change on top of a head; returns 0 if another one came first.
-- KEYS: head, switches, changed, gone, ids, log
-- ARGV: epoch, revision and change before; the same after; an absorbed epoch
-- or ''; the line for the log; how many changes to keep; the channel; how many
-- switches are set, then target and switch of each; then the targets cleared
local head = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'change', 'absorbed')
local epoch, revision, change = head[1] or '', head[2] or '0', head[3] or ''
if epoch ~= ARGV[1] or revision ~= ARGV[2] or change ~= ARGV[3] then
  if epoch == ARGV[4] and change == ARGV[6] then
    return 1 -- it was made already, and the answer was lost
  end
  return 0
end
if epoch == '' then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
end
local kept, count = tonumber(ARGV[9]), tonumber(ARGV[11])
for i = 0, count - 1 do
  local target = ARGV[12 + 2 * i]
  redis.call('HSET', KEYS[2], target, ARGV[13 + 2 * i])
  redis.call('ZADD', KEYS[3], ARGV[5], target)
  redis.call('ZREM', KEYS[4], target)
end
for i = 12 + 2 * count, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[i])
  redis.call('ZREM', KEYS[3], ARGV[i])
  redis.call('ZADD', KEYS[4], ARGV[5], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', tonumber(ARGV[5]) - kept)
redis.call('LPUSH', KEYS[5], ARGV[6])
redis.call('LTRIM', KEYS[5], 0, kept)
redis.call('LPUSH', KEYS[6], ARGV[8])
redis.call('LTRIM', KEYS[6], 0, kept - 1)
local absorbed = head[4] or ''
if ARGV[7] ~= '' then
  absorbed = absorbed .. ' ' .. ARGV[7]
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'revision', ARGV[5], 'change', ARGV[6], 'absorbed', absorbed)
redis.call('PUBLISH', ARGV[10], ARGV[5])
return 1

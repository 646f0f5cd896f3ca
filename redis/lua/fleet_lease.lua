-- KEYS: lease. ARGV: owner, for how long in ms.
-- Returns whether the owner has it now, and for how long it is taken, in ms.
local owner = redis.call('GET', KEYS[1])
if not owner or owner == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {1, tonumber(ARGV[2])}
end
return {0, math.max(redis.call('PTTL', KEYS[1]), 0)}

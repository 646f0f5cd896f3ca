-- Keeps a record on a sidecar for a while; returns the time.
-- KEYS: instances, the record
-- ARGV: id, record, milliseconds
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], ms + ARGV[3], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - 1)
redis.call('PEXPIRE', KEYS[1], 10 * ARGV[3])
return { now[1], now[2] }

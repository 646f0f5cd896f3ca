-- KEYS: stream. ARGV: channel, message, how many are kept.
-- Both at once, on the node that has the stream: a subscriber that was away reads there
-- what it has missed.
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'm', ARGV[2])
redis.call('PEXPIRE', KEYS[1], 60000)
return redis.call('PUBLISH', ARGV[1], ARGV[2])

-- KEYS: stream. ARGV: how far back, in ms; how many at most.
-- Returns ages in ms and messages, oldest first, by Redis' own clock.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entries = redis.call('XREVRANGE', KEYS[1], '+', string.format('%.0f', now - ARGV[1]), 'COUNT', ARGV[2])
local answer = {}
for i = #entries, 1, -1 do
  local at = tonumber(string.match(entries[i][1], '^(%d+)'))
  answer[#answer + 1] = string.format('%.0f', now - at)
  answer[#answer + 1] = entries[i][2][2]
end
return answer

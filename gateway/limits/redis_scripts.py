"""What Redis is asked to do, in Lua: each script is one step that nobody else's can come between.

All times are Redis' own, so that the clocks of the gateways do not matter. All keys share a hash tag, so that a
cluster keeps them together.
"""

from __future__ import annotations

from typing import Final

KEY_PREFIX: Final = "{lunarbit}:"

# KEYS: the windows of one request, each a list of the times (Unix microseconds) of its requests, the oldest first.
# ARGV: 1 to count the request and 0 to only look, then limit and length (microseconds) of each window.
# Answer: now, then for each window what `gateway.limits.windows.Seen` says.
DECIDE: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local answer, full = {now}, false
for i, key in ipairs(KEYS) do
  local limit, span = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local newest = redis.call('LINDEX', key, -1)
  if newest and tonumber(newest) > now then
    -- The clock was set back. Requests of the future would fill the window until it has caught up.
    local times = redis.call('LRANGE', key, 0, -1)
    redis.call('DEL', key)
    for _, at in ipairs(times) do
      redis.call('RPUSH', key, string.format('%.0f', math.min(tonumber(at), now)))
    end
  end
  local oldest = redis.call('LINDEX', key, 0)
  while oldest and tonumber(oldest) <= now - span do
    -- In steps, because a burst of many requests leaves the window as it came.
    local gone = 0
    for _, at in ipairs(redis.call('LRANGE', key, 0, 199)) do
      if tonumber(at) > now - span then break end
      gone = gone + 1
    end
    redis.call('LTRIM', key, gone, -1)
    oldest = redis.call('LINDEX', key, 0)
  end
  local used = redis.call('LLEN', key)
  local blocking = 0
  if used >= limit then
    full = true
    blocking = tonumber(redis.call('LINDEX', key, used - limit))
  end
  answer[#answer + 1] = used
  answer[#answer + 1] = oldest and tonumber(oldest) or now
  answer[#answer + 1] = blocking
end
if ARGV[1] == '1' and not full then
  for i, key in ipairs(KEYS) do
    redis.call('RPUSH', key, string.format('%.0f', now))
    redis.call('PEXPIRE', key, math.ceil(tonumber(ARGV[2 * i + 1]) / 1000) + 1000)
  end
end
return answer
"""

# KEYS: one quota, a hash of `used` and `known`.
# ARGV: the change, how much to take, the limit, what was used before (-1: not told), when to forget the quota (Unix
# milliseconds).
# Answer: what was granted, what is used in all, and whether somebody told what was used before.
QUOTA: Final = """
local key = KEYS[1]
local delta, take, limit, before = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found = redis.call('HMGET', key, 'used', 'known')
local used, known = tonumber(found[1] or 0), tonumber(found[2] or 0)
local total = math.max(0, used + delta)
if before >= 0 and known == 0 then
  total = math.max(total, before)
  known = 1
end
local granted = math.max(0, math.min(take, limit - total))
total = total + granted
if total ~= used or before >= 0 then
  redis.call('HSET', key, 'used', string.format('%.0f', total), 'known', known)
  redis.call('PEXPIREAT', key, ARGV[5])
end
return {granted, total, known}
"""

_NOW_MS: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
"""

# KEYS: parallel slots, a sorted set of their holders by the time (Unix milliseconds) at which the lease runs out.
# ARGV: the limit, how long a lease lasts (milliseconds), the holder. Answer: whether the holder has a slot.
ENTER: Final = (
    _NOW_MS
    + """
local key, limit, lease, holder = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
if not redis.call('ZSCORE', key, holder) and redis.call('ZCARD', key) >= limit then return {0} end
redis.call('ZADD', key, string.format('%.0f', now + lease), holder)
redis.call('PEXPIRE', key, lease * 2)
return {1}
"""
)

# KEYS: parallel slots. ARGV: how long a lease lasts (milliseconds), then the holders, which have a slot whether Redis
# remembers or not.
RENEW: Final = (
    _NOW_MS
    + """
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[1])), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[1]) * 2)
return {1}
"""
)

# KEYS: parallel slots. ARGV: the holders that leave.
LEAVE: Final = """
for i = 1, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
return {1}
"""

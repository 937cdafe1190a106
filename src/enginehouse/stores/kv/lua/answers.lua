-- Answers by key, bounded by bytes. KEYS: 1 order of use, 2 size by name, 3 figures. ARGV[1] is what to do.
-- Entries lie under <prefix><name> with an end of their own; of one that has ended its size is known until it is met.
local order, sizes, figures = KEYS[1], KEYS[2], KEYS[3]
local prefix = ARGV[2]

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function forget(name)
  local size = tonumber(redis.call('HGET', sizes, name) or '0')
  redis.call('HDEL', sizes, name)
  redis.call('ZREM', order, name)
  redis.call('HINCRBY', figures, 'bytes', 0 - size)
  return redis.call('DEL', prefix .. name)
end

local acts = {}

function acts.get()
  local found = {}
  for at = 3, #ARGV do
    local value = redis.call('GET', prefix .. ARGV[at])
    if value then
      redis.call('ZADD', order, 'XX', now(), ARGV[at])
    elseif redis.call('HEXISTS', sizes, ARGV[at]) == 1 then
      forget(ARGV[at])
    end
    found[at - 2] = value
  end
  return found
end

function acts.put()
  local name, value, size, ttl, limit = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
  forget(name)
  redis.call('SET', prefix .. name, value, 'PX', ttl)
  redis.call('HSET', sizes, name, size)
  redis.call('ZADD', order, now(), name)
  local held = redis.call('HINCRBY', figures, 'bytes', size)
  while held > limit do
    local oldest = redis.call('ZRANGE', order, 0, 0)[1]
    if not oldest then break end
    if forget(oldest) == 1 then redis.call('HINCRBY', figures, 'evicted', 1) end
    held = tonumber(redis.call('HGET', figures, 'bytes'))
  end
  return held
end

function acts.drop()
  local dropped = 0
  for at = 3, #ARGV do dropped = dropped + forget(ARGV[at]) end
  return dropped
end

-- Some of them from a cursor on: the next cursor, then name and value in turns; what has ended is forgotten.
function acts.scan()
  local step = redis.call('HSCAN', sizes, ARGV[3], 'COUNT', ARGV[4])
  local found = {step[1]}
  for at = 1, #step[2], 2 do
    local name = step[2][at]
    local value = redis.call('GET', prefix .. name)
    if value then
      found[#found + 1] = name
      found[#found + 1] = value
    else
      forget(name)
    end
  end
  return found
end

function acts.holding()
  local held = redis.call('HMGET', figures, 'bytes', 'evicted')
  return {redis.call('ZCARD', order), tonumber(held[1] or '0'), tonumber(held[2] or '0')}
end

return acts[ARGV[1]]()

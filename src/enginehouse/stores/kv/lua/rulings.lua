-- What shall not be served any more, in the order of time. KEYS: 1 the rulings. ARGV[1] is what to do.
local acts = {}

-- 2 seconds since 1970, 3 the ruling, 4 how long the key lives without a new one, in seconds.
function acts.add()
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', tonumber(ARGV[2]) - tonumber(ARGV[4]))
  return 1
end

function acts.since()
  return redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf')
end

return acts[ARGV[1]]()

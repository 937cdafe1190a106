-- Letters between replicas, and who has a thing.
--
-- KEYS: the thing, a text: '+' while it is claimed or '-' once it was released, and the replica's name; to send, the
--       replica's channel.
-- ARGV: 1 "send", 2 the letter
--       1 "claim", 2 this replica, 3 milliseconds, 4 what the keys of living replicas begin with
--       1 "release", 2 this replica, 3 milliseconds
--       1 "find", 2 and 3 nothing, 4 as above

if ARGV[1] == 'send' then
  return redis.call('PUBLISH', KEYS[1], ARGV[2])
end

local had = redis.call('GET', KEYS[1])
local owner = had and string.sub(had, 2)

if ARGV[1] == 'release' then
  if had == '+' .. ARGV[2] then
    redis.call('SET', KEYS[1], '-' .. ARGV[2], 'PX', ARGV[3])
  end
  return false
end

local alive = owner and redis.call('EXISTS', ARGV[4] .. owner) == 1

if ARGV[1] == 'find' then
  return alive and owner
end

if alive and owner ~= ARGV[2] and string.sub(had, 1, 1) == '+' then
  return owner
end
redis.call('SET', KEYS[1], '+' .. ARGV[2], 'PX', ARGV[3])
return false

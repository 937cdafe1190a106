-- Copies of conversations: get the one of a version, put one unless a later one is there, or drop it for good.
--
-- KEYS: the copy, a hash of version and copy; a dropped one is held by the version 'gone' until it expires.
-- ARGV: 1 "get", "put" or "drop", 2 version, 3 milliseconds it is kept after its last use, 4 the copy.

local had = redis.call('HGET', KEYS[1], 'version')

if ARGV[1] == 'get' then
  if had ~= ARGV[2] then
    return false
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return redis.call('HGET', KEYS[1], 'copy')
end

if ARGV[1] == 'put' then
  if had == 'gone' or (had and tonumber(had) > tonumber(ARGV[2])) then
    return false
  end
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'copy', ARGV[4])
else
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'version', 'gone')
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return true

-- Takes from several windows and seats, all of them or none; or says how it ended. One round trip.
--
-- KEYS: windows, then seats, then what was answered under this id: a step that is said twice happens once.
-- A window is a hash of part -> count, seats are a hash of id -> replica.
-- ARGV: 1 "take" or "settle", 2 msgpack of what is said, 3 id, 4 this replica, 5 prefix of the replicas' signs of
--       life, 6 microseconds for tests, else ''.
-- What the windows are is told in tallies.py.

local PARTS = 60
local KEEP_SEATS, KEEP_TAKEN, KEEP_SETTLED = 86400000, 5000, 60000

local said = cmsgpack.unpack(ARGV[2])
local id, replica, alive = ARGV[3], ARGV[4], ARGV[5]

local now
if ARGV[6] ~= '' then
  now = tonumber(ARGV[6])
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function shape(seconds)
  local span = math.floor(seconds * 1000000)
  return span, math.max(1, math.floor(span / PARTS))
end

-- Parts that still count, the oldest first, and their sum; the others are taken away.
local function read(key, span, width)
  local parts, used = {}, 0
  local raw = redis.call('HGETALL', key)
  for i = 1, #raw, 2 do
    local part, count = tonumber(raw[i]), tonumber(raw[i + 1])
    if (part + 1) * width + span <= now then
      redis.call('HDEL', key, raw[i])
    else
      parts[#parts + 1] = {part, count}
      used = used + count
    end
  end
  table.sort(parts, function(a, b) return a[1] < b[1] end)
  return parts, used
end

local function add(key, span, width, at, amount)
  if amount ~= 0 then
    redis.call('HINCRBY', key, string.format('%.0f', math.floor(at / width)), string.format('%.0f', amount))
    redis.call('PEXPIRE', key, math.ceil((span + 2 * width) / 1000))
  end
end

-- Seats of replicas that gave no sign of life are free.
local function held(key)
  local raw, count, dead = redis.call('HGETALL', key), 0, {}
  for i = 1, #raw, 2 do
    local owner = raw[i + 1]
    if owner ~= replica and dead[owner] == nil then
      dead[owner] = redis.call('EXISTS', alive .. owner) == 0
    end
    if dead[owner] then
      redis.call('HDEL', key, raw[i])
    else
      count = count + 1
    end
  end
  return count
end

local function take()
  local windows, seats, admitted = {}, {}, true
  for i, asked in ipairs(said.windows) do
    local span, width = shape(asked[2])
    local parts, used = read(KEYS[i], span, width)
    local wait, lacking = 0, used + asked[4] - asked[3]
    if lacking > 0 then
      wait, admitted = span, false
      for _, part in ipairs(parts) do
        lacking = lacking - part[2]
        if lacking <= 0 then
          wait = (part[1] + 1) * width + span - now
          break
        end
      end
    end
    local last = #parts > 0 and parts[#parts][1] or nil
    windows[i] = {used, last and (last + 1) * width + span - now or 0, wait}
  end
  for i, asked in ipairs(said.seats) do
    seats[i] = held(KEYS[#said.windows + i])
    admitted = admitted and seats[i] < asked[2]
  end
  if admitted then
    for i, asked in ipairs(said.windows) do
      local span, width = shape(asked[2])
      add(KEYS[i], span, width, now, asked[5])
      if asked[5] ~= 0 then
        windows[i][1] = windows[i][1] + asked[5]
        windows[i][2] = (math.floor(now / width) + 1) * width + span - now
      end
    end
    for i, _ in ipairs(said.seats) do
      local key = KEYS[#said.windows + i]
      redis.call('HSET', key, id, replica)
      redis.call('PEXPIRE', key, KEEP_SEATS)
      seats[i] = seats[i] + 1
    end
  end
  return cmsgpack.pack({admitted, now, windows, seats})
end

local function settle()
  for i, told in ipairs(said.windows) do
    local span, width = shape(told[2])
    local at, taken, really = told[3], told[4], told[5]
    local part = string.format('%.0f', math.floor(at / width))
    local there = tonumber(redis.call('HGET', KEYS[i], part) or '0')
    local back = math.min(taken, there)
    if back > 0 and back == there then
      redis.call('HDEL', KEYS[i], part)
    elseif back > 0 then
      redis.call('HINCRBY', KEYS[i], part, string.format('%.0f', -back))
    end
    add(KEYS[i], span, width, now, really)
  end
  for i = #said.windows + 1, #KEYS - 1 do
    redis.call('HDEL', KEYS[i], id)
  end
  return 'settled'
end

local before = redis.call('GET', KEYS[#KEYS])
if before then
  return before
end
local taking = ARGV[1] == 'take'
local answer = taking and take() or settle()
redis.call('SET', KEYS[#KEYS], answer, 'PX', taking and KEEP_TAKEN or KEEP_SETTLED)
return answer

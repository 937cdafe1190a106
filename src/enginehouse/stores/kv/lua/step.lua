-- One step of one replica at one line; order.lua stands before it. ARGV: the moves (packed), the replica, the line's name,
-- the channel on which a replica hears of turns (without its name), and the time in microseconds or nothing.
--
--   waiting, running  ordered   id by the time at which its lease ends
--   owners            hash      id -> replica, for each who waits or runs
--   stated            hash      replica -> its number of slots and when that lease ends (packed)
--   waits             list      the last 512 waits, newest first
--   meta              hash      counters, the mean time of service, the latest time, and until when nobody starts

local waiting, running, owners, stated, waits = KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local moves, me, name, channel = cmsgpack.unpack(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local DAY, WINDOW, NEWEST, MANY = 86400000, 512, 0.2, 8
local WORDS = { [0] = 'high', [1] = 'normal', [2] = 'low' }

local function micro(seconds) return math.floor(seconds * 1000000 + 0.5) end

local function get(field) return tonumber(call('HGET', meta, field) or false) end

local function add(field, amount) call('HINCRBY', meta, field, amount or 1) end

-- A clock that is set back a little stands still; one that is set back far is believed.
local function clock(lease)
  local time = call('TIME')
  local now, last = tonumber(ARGV[5]) or tonumber(time[1]) * 1000000 + tonumber(time[2]), get('now')
  if last and last > now and last - now < lease then now = last end
  call('HSET', meta, 'now', padded(now))
  return now
end

local lease = micro(moves.lease)
local now = clock(lease)
local hold = get('hold') or 0
local turns = {} -- my own, in order

local function take_out(t) -- whoever asks has to give it a slot, or let it go
  call('HDEL', tickets, t.id)
  call('ZREM', waiting, t.id)
  add(WORDS[t.priority], -1)
end

-- Has a slot from now on.
local function run(id, until_, waited)
  call('ZADD', running, until_, id)
  add('served')
  call('LPUSH', waits, waited)
  call('LTRIM', waits, 0, WINDOW - 1)
end

-- False when it did not wait.
local function leave(id)
  local t = ticket(id)
  if not t then return false end
  step_out(t)
  take_out(t)
  call('HDEL', owners, id)
  return true
end

local function stop(id)
  call('HDEL', owners, id)
  return call('ZREM', running, id) == 1
end

local function expire()
  for _, id in ipairs(call('ZRANGEBYSCORE', waiting, '-inf', now)) do
    leave(id)
    add('left')
  end
  for _, id in ipairs(call('ZRANGEBYSCORE', running, '-inf', now)) do stop(id) end
end

-- The smallest number that a replica has stated, and when that may change by itself.
local function slots()
  call('HSET', stated, me, cmsgpack.pack({ moves.slots, now + lease }))
  local least, changes = moves.slots, nil
  local all = call('HGETALL', stated)
  for i = 1, #all, 2 do
    local number, until_ = unpack(cmsgpack.unpack(all[i + 1]))
    if until_ <= now then
      call('HDEL', stated, all[i])
    elseif number < moves.slots then
      least, changes = math.min(least, number), math.min(changes or until_, until_)
    end
  end
  return least, changes
end

local function measure(seconds)
  local mean = get('service')
  call('HSET', meta, 'service', tostring(mean and mean + NEWEST * (seconds - mean) or seconds))
end

local function finish(last)
  local waited, ran = leave(last.id), stop(last.id)
  if last.how == 'served' then
    if ran then measure(last.seconds) end
  elseif waited or ran then
    add(last.how)
    if ran then add('served', -1) end
  end
end

local function declare(id)
  leave(id)
  call('HSET', owners, id, me)
  call('ZADD', running, now + lease, id)
end

local function admit(most)
  rise(now, micro(moves.aging))
  while now >= hold and call('ZCARD', running) < most do
    local t = head()
    if not t then return end
    local owner = call('HGET', owners, t.id)
    local until_ = call('ZSCORE', waiting, t.id) -- a replica that has died meanwhile does not live longer by it
    serve(t)
    take_out(t)
    run(t.id, until_, (now - t.came) / 1000000)
    if owner == me then
      table.insert(turns, t.id)
    else
      call('PUBLISH', channel .. owner, cmsgpack.pack({ name, t.id }))
    end
  end
end

-- One that is refused is not known afterwards.
local function join(new, most)
  if call('HEXISTS', owners, new.id) == 1 then return end
  local came, depth = now - micro(new.waited), call('ZCARD', waiting)
  local free = depth == 0 and now >= hold and call('ZCARD', running) < most
  local limit = math.min(moves.limit, new.limit or moves.limit)
  if not free and depth >= limit and not new.again then return add('rejected') end
  call('HSET', owners, new.id, me)
  if free then return run(new.id, now + lease, new.waited) end
  call('ZADD', waiting, now + lease, new.id)
  add(WORDS[new.level])
  stand({
    id = new.id, level = new.level, priority = new.level, tenant = new.tenant,
    came = came, entered = came, number = call('HINCRBY', meta, 'number', 1),
  })
end

-- Where each of these stands: 0 when it runs, -1 when nobody knows it.
local function look(ids)
  local result, all = {}, #ids > MANY and places()
  for i, id in ipairs(ids) do
    local t = ticket(id)
    result[i] = t and (all and all[id] or place(t)) or (call('ZSCORE', running, id) and 0 or -1)
  end
  return result
end

local function renew()
  for _, id in ipairs(moves.waiting) do
    if call('ZSCORE', waiting, id) then
      call('ZADD', waiting, now + lease, id)
    elseif call('ZSCORE', running, id) then
      call('ZADD', running, now + lease, id)
    end
  end
  for _, id in ipairs(moves.running) do declare(id) end
end

-- Those who come back are awaited together: once, and not again for a while, so that one who comes and goes stops nobody.
local function settle()
  local pause = micro(moves.settle)
  if pause > 0 and now >= hold + 4 * pause then
    hold = now + pause
    call('HSET', meta, 'hold', padded(hold))
  end
end

local function seconds_until(first, ...)
  local soonest = first
  for _, time in pairs({ ... }) do soonest = math.min(soonest or time, time) end
  return soonest and (soonest - now) / 1000000
end

local function figures()
  local depth, list = {}, {}
  for level = 0, 2 do depth[level + 1] = get(WORDS[level]) or 0 end
  for i, waited in ipairs(call('LRANGE', waits, 0, -1)) do list[i] = tonumber(waited) end
  return {
    depth = depth, waits = list, served = get('served') or 0, rejected = get('rejected') or 0,
    timed_out = get('timed_out') or 0, left = get('left') or 0,
  }
end

expire()
settle()
local most, changes = slots()
renew()
for _, last in ipairs(moves.ends) do finish(last) end
admit(most)
for _, new in ipairs(moves.joins) do join(new, most) end
admit(most)

local asked = {}
for i, new in ipairs(moves.joins) do asked[i] = new.id end
local outcome = {
  joined = look(asked),
  waiting = look(moves.waiting),
  turns = turns,
  slots = most,
  active = call('ZCARD', running),
  depth = call('ZCARD', waiting),
  service = get('service'),
  next = seconds_until(
    tonumber(call('ZRANGE', running, 0, 0, 'WITHSCORES')[2]),
    tonumber(call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]),
    now < hold and hold or nil, changes
  ),
  figures = moves.figures and figures() or nil,
}
for _, key in ipairs(KEYS) do call('PEXPIRE', key, DAY) end
return cmsgpack.pack(outcome)

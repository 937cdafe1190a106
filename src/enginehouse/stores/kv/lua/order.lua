-- Who goes next. The same order, step by step, as core/admission/policy.py; times are microseconds, levels 0 to 2.
--
--   tickets  hash      id -> ticket (packed), for each who waits
--   line     ordered   level|tenant|entered|number|id: one tenant's own line is a range of it
--   ages     ordered   level|entered|number|id: who has been longest in a level is the first of it
--   ring     ordered   tenant by turn, one set a level: the first has the next turn

local call = redis.call
local line, ages, tickets, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ring = { [0] = KEYS[5], [1] = KEYS[6], [2] = KEYS[7] }

local function padded(number) return string.format('%016.0f', number) end

local function spot(t) return t.level .. '|' .. t.tenant .. '|' .. padded(t.entered) .. '|' .. padded(t.number) .. '|' .. t.id end

local function age(t) return t.level .. '|' .. padded(t.entered) .. '|' .. padded(t.number) .. '|' .. t.id end

local function range(...) -- '}' is the character after '|'
  local start = table.concat({ ... }, '|')
  return '[' .. start .. '|', '(' .. start .. '}'
end

local function first_of(set, ...)
  local from, to = range(...)
  local member = call('ZRANGEBYLEX', set, from, to, 'LIMIT', 0, 1)[1]
  return member and member:match('[^|]+$'), member
end

local function count(set, ...)
  local from, to = range(...)
  return call('ZLEXCOUNT', set, from, to)
end

local function ticket(id)
  local packed = call('HGET', tickets, id)
  return packed and cmsgpack.unpack(packed)
end

local function pass_turn(t) call('ZADD', ring[t.level], call('HINCRBY', meta, 'turn', 1), t.tenant) end

local function stand(t)
  call('HSET', tickets, t.id, cmsgpack.pack(t))
  call('ZADD', line, 0, spot(t))
  call('ZADD', ages, 0, age(t))
  if not call('ZSCORE', ring[t.level], t.tenant) then pass_turn(t) end
end

local function step_out(t)
  call('ZREM', line, spot(t))
  call('ZREM', ages, age(t))
  if count(line, t.level, t.tenant) == 0 then call('ZREM', ring[t.level], t.tenant) end
end

-- From the bottom up, so that nobody enters a level after somebody who entered it later.
local function rise(now, aging)
  for level = 2, 1, -1 do
    while true do
      local id, member = first_of(ages, level)
      local entered = member and tonumber(member:sub(3, 18))
      if not id or entered + aging > now then break end
      local t = ticket(id)
      step_out(t)
      t.level, t.entered = level - 1, entered + aging
      stand(t)
    end
  end
end

local function head()
  for level = 0, 2 do
    local tenant = call('ZRANGE', ring[level], 0, 0)[1]
    if tenant then return ticket((first_of(line, level, tenant))) end
  end
end

-- Who has been served takes its tenant's turn with it.
local function serve(t)
  step_out(t)
  if call('ZSCORE', ring[t.level], t.tenant) then pass_turn(t) end
end

-- The place of one: quick while there are few tenants.
local function place(t)
  local from = range(t.level, t.tenant)
  local rounds = call('ZLEXCOUNT', line, from, '(' .. spot(t))
  local before, total = 1, rounds
  for level = 0, t.level - 1 do total = total + count(ages, level) end
  for _, tenant in ipairs(call('ZRANGE', ring[t.level], 0, -1)) do
    if tenant == t.tenant then
      before = 0
    else
      total = total + math.min(count(line, t.level, tenant), rounds + before)
    end
  end
  return total + 1
end

-- The places of all, by id: one walk along the line.
local function places()
  local order, went = {}, 0
  for level = 0, 2 do
    local queues = {}
    local from, to = range(level)
    for _, member in ipairs(call('ZRANGEBYLEX', line, from, to)) do
      local tenant, id = member:match('^%d|([^|]+)|.*|([^|]+)$')
      queues[tenant] = queues[tenant] or {}
      table.insert(queues[tenant], id)
    end
    local tenants, round = call('ZRANGE', ring[level], 0, -1), 1
    while #tenants > 0 do
      local rest = {}
      for _, tenant in ipairs(tenants) do
        went = went + 1
        order[queues[tenant][round]] = went
        if queues[tenant][round + 1] then table.insert(rest, tenant) end
      end
      tenants, round = rest, round + 1
    end
  end
  return order
end

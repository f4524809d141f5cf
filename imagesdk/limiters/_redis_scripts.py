"""Place requests of several processes on one time line: the arithmetic, in Python and as a Lua script.

Theory. Processes that share a limit need not ask again and again whether there is room: the store
can say *when* there will be. It keeps a log of what was placed, in the past and in the future, and
places a new request at the earliest moment t at which no window that contains t holds more than its
limit. A window is any stretch of time of its length, so those that end after t count too: whoever
was placed later keeps his time, and a small request may slip into a gap that a larger one left.
The caller sleeps exactly until t.

The arithmetic: let f(s) be what the stretch of one window's length that ends at s holds. Where
``f(s) > limit - cost``, s is *barred*. t is possible if no s in ``[t, t + length)`` is barred, so the
earliest possible t is either now or the end of a barred stretch. One pass over the sorted log finds them.

Invariants: for any sequence of requests and any s, ``f(s) <= limit``, as long as the limit is not
lowered; what was placed under a higher limit stays. A request never moves one that was placed
before it. All times are whole microseconds of the store's clock, so that Lua and Python agree to
the last digit. `place` and the script are two writings of the same rule, and tests hold them together.

What is not known: how far the server's clock jumps when another machine takes over. After a jump
back of d seconds requests of the last d seconds count as future ones, and up to one window too many may be sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from imagesdk.limiters._schedule import Cost, Dimension

__all__ = ("GROWTH", "HOLD", "KEEP", "PROBE", "SCRIPT", "SHADOW", "Entry", "Rule", "place")

Entry: TypeAlias = tuple[int, Cost]
"""Something that was placed: when, in microseconds, and what it uses up."""

Rule: TypeAlias = tuple[Dimension, int, int]
"""A window: what it counts, how many, and its length in microseconds with the margin."""

PROBE = 1.0
"""Seconds that everybody waits for the first request after a pause: no news is good news."""
HOLD = 2.5
"""Seconds in which a store that lost its data, or that nobody reached, only takes in what was sent."""
KEEP = 60.0
"""Seconds that the store outlives its last entry beyond the longest window."""


GROWTH = 1.05
"""Factor by which a learned limit climbs back in each minute."""
SHADOW = 1000
"""Entries up to which the store shows the whole log to whoever asks."""


def place(entries: Sequence[Entry], windows: Sequence[Rule], now: int, cost: Cost) -> int:
    """Return the earliest time at which *cost* may be placed.

    Args:
        entries: What was placed before, sorted by time; some of it may lie in the future.
        windows: The limits, all of which must hold.
        now: Earliest time that is wanted.
        cost: What is to be placed. What exceeds a limit needs that window empty.
    """
    barred = []
    for dimension, limit, length in windows:
        index = Cost._fields.index(dimension)
        own = min(cost[index], limit)
        if own > 0:
            costs = [(at, entry[index]) for at, entry in entries]
            barred.append((length, tuple(_barred(costs, length, limit - own))))
    at = now
    while True:
        before = at
        for length, stretches in barred:
            for begin, end in stretches:
                if end > at and begin < at + length:
                    at = end
        if at == before:
            return at


def _barred(costs: Sequence[tuple[int, int]], length: int, spare: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches [begin, end) of moments whose window holds more than *spare*."""
    used, oldest, begin = 0, 0, None
    for index in range(len(costs) + 1):
        while oldest < index and (
            index == len(costs) or costs[oldest][0] + length <= costs[index][0]
        ):
            leaves, cost = costs[oldest]
            used -= cost
            oldest += 1
            if begin is not None and used <= spare:
                yield begin, leaves + length
                begin = None
        if index < len(costs):
            used += costs[index][1]
            if begin is None and used > spare:
                begin = costs[index][0]


# KEYS: the log (sorted set of "client.number:images:input_images" by microseconds), the state (hash)
# and the peers (sorted set of clients by when they are next expected). ARGV: one JSON object. The
# answer is a JSON object whose times are microseconds from now.
_CONSTANTS = {
    "PROBE": PROBE * 1e6,
    "HOLD": HOLD * 1e6,
    "KEEP": KEEP * 1e6,
    "EARLY": 2000,  # a timer may fire so many microseconds early
    "DAY": 86_400_000,  # milliseconds for which the server's word is remembered
    "GROWTH": GROWTH,
    "SHADOW": SHADOW,
}
SCRIPT = (
    "".join(f"local {name} = {value:.12g}\n" for name, value in _CONSTANTS.items())
    + """
local LOG, STATE, PEERS = KEYS[1], KEYS[2], KEYS[3]
local ask = cjson.decode(ARGV[1])
local now = ask.now
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- A request that lay in a stopped server's queue: its caller has given up long ago.
if ask.expires and now > ask.expires then
  return cjson.encode({late = true, now = string.format('%.0f', now)})
end

local state = {}
local fields = redis.call('HGETALL', STATE)
for i = 1, #fields, 2 do
  state[fields[i]] = tonumber(fields[i + 1]) or fields[i + 1]
end
local function set(field, value)
  state[field] = value
  redis.call('HSET', STATE, field, value)
end

-- The epoch tells a store that lost its data from the one that the caller knew.
if not state.epoch then
  set('epoch', ask.fresh)
  set('born', now)
end
if ask.known and ask.known ~= state.epoch then
  set('hold', math.max(state.hold or 0, state.born + HOLD))
  redis.call('PEXPIRE', STATE, DAY)
  return cjson.encode({lost = true, epoch = state.epoch, now = string.format('%.0f', now)})
end
-- Nobody reached the store while the caller did not: the others, too, have sent without it.
if ask.away and (state.last or 0) <= now - ask.away then
  set('hold', math.max(state.hold or 0, now + HOLD))
end
set('last', now)

-- The limits a minute in use: the configured one, the one that the server named, the one that was
-- learned, which climbs back (imagesdk.limiters._limits). Each makes a window beside the fixed ones.
local DIMENSIONS = {'images', 'requests', 'input_images'}
local function in_use(d)
  local ceiling, name = ask.minute[d], DIMENSIONS[d]
  if ceiling == 0 then ceiling = nil end
  local named, learned = state['named:' .. name], state['learned:' .. name]
  if named and (ask.adopt == 'auto' or (ask.adopt == 'down' and named < (ceiling or math.huge))) then
    ceiling = named
  end
  if learned then
    local minutes = math.floor((now - state['learned_at:' .. name]) / 60000000)
    local climbed = learned * GROWTH ^ minutes
    if climbed < (ceiling or math.huge) then return math.max(1, math.floor(climbed)) end
    redis.call('HDEL', STATE, 'learned:' .. name)
    state['learned:' .. name] = nil
  end
  return ceiling
end
local windows, most, longest, period = {}, math.huge, state.longest or 0, math.huge
for _, window in ipairs(ask.windows) do
  windows[#windows + 1] = {window[1], window[2], window[3] + ask.wider}
end
for d = 1, 3 do
  local limit = in_use(d)
  if limit then
    local whole = math.max(1, math.floor(limit))
    windows[#windows + 1] = {d, whole, math.floor(60000000 * whole / limit + 0.5) + ask.jitter + ask.wider}
  end
end
for _, window in ipairs(windows) do
  longest, period = math.max(longest, window[3]), math.min(period, window[3])
  if window[1] == 1 then most = math.min(most, window[2]) end
end
if longest ~= state.longest then set('longest', longest) end

-- What the caller owes: entries to put back, reservations that it does not use.
for _, put in ipairs(ask.put or {}) do
  redis.call('ZADD', LOG, 'NX', now - put[2], put[1])
end
if ask.mine then
  local mine, prefix = {}, ask.client .. '.'
  for _, id in ipairs(ask.mine) do mine[id] = true end
  for _, id in ipairs(redis.call('ZRANGE', LOG, 0, -1)) do
    if string.sub(id, 1, #prefix) == prefix and not mine[id] then
      redis.call('ZREM', LOG, id)
    end
  end
end
for _, id in ipairs(ask.drop or {}) do
  redis.call('ZREM', LOG, id)
  if state.probe == id then set('probe', '') end
end
redis.call('ZREMRANGEBYSCORE', LOG, '-inf', now - longest)

-- The log, sorted by time: when, what it is called, and a column for each dimension.
local when, names, costs
local function read()
  when, names, costs = {}, {}, {{}, {}, {}}
  local images, requests, inputs = costs[1], costs[2], costs[3]
  local raw = redis.call('ZRANGE', LOG, 0, -1, 'WITHSCORES')
  for i = 1, #raw / 2 do
    local name = raw[2 * i - 1]
    local mine, theirs = string.match(name, ':(%d+):(%d+)$')
    when[i], names[i] = tonumber(raw[2 * i]), name
    images[i], requests[i], inputs[i] = tonumber(mine), 1, tonumber(theirs)
  end
end

local function place(from, cost, count)
  local barred = {}
  count = count or #when
  for _, window in ipairs(windows) do
    local column, most, length = costs[window[1]], window[2], window[3]
    local own = math.min(cost[window[1]], most)
    if own > 0 then
      local spare, used, oldest, begin, found = most - own, 0, 1, nil, {}
      for i = 1, count + 1 do
        local this = when[i]
        while oldest < i and (i > count or when[oldest] + length <= this) do
          used = used - column[oldest]
          if begin and used <= spare then
            found[#found + 1] = {begin, when[oldest] + length}
            begin = nil
          end
          oldest = oldest + 1
        end
        if i <= count then
          used = used + column[i]
          if not begin and used > spare then begin = this end
        end
      end
      if #found > 0 then barred[#barred + 1] = {length, found} end
    end
  end
  local at, before = from, nil
  repeat
    before = at
    for _, window in ipairs(barred) do
      local length = window[1]
      for _, stretch in ipairs(window[2]) do
        if stretch[2] > at and stretch[1] < at + length then at = stretch[2] end
      end
    end
  until at == before
  return at
end

local function insert(id, at, cost)
  local i = #when + 1
  while i > 1 and when[i - 1] > at do i = i - 1 end
  table.insert(when, i, at)
  table.insert(names, i, id)
  for d = 1, 3 do table.insert(costs[d], i, cost[d]) end
end

local function add(id, at, cost)
  redis.call('ZADD', LOG, at, id)
  insert(id, at, cost)
end

local function remove(id)
  for i, name in ipairs(names) do
    if name == id then
      table.remove(names, i)
      for d = 1, 3 do table.remove(costs[d], i) end
      return table.remove(when, i)
    end
  end
end

-- After a pause one request probes; the others follow a second later, or when it went well.
local function probing(id)
  if state.probing ~= 1 then return false end
  if state.probe == '' or state.probe == id then return true end
  if state.probe_until > now then return true end
  set('probing', 0)
  return false
end

local function earliest(id)
  local from = math.max(now, state.pause or 0, state.hold or 0)
  if probing(id) and state.probe ~= '' and state.probe ~= id then
    from = math.max(from, state.probe_until)
  end
  return from
end

local answer = {now = string.format('%.0f', now), epoch = state.epoch}
local seen = now

local function reserve(id, cost)
  local at = place(earliest(id), cost)
  add(id, at, cost)
  if probing(id) and (state.probe == '' or state.probe == id) then
    set('probe', id)
    set('probe_until', at + PROBE)
    answer.probe = true
  end
  answer.delay, seen = at - now, math.max(seen, at)
  return at
end

if ask.op == 'reserve' then
  if ask.cost[1] > most then
    answer.too_large = most
  else
    read()
    -- Back-fill: of the later calls that can go before this one, the one that can go earliest, and so on.
    local from, latest = earliest(ask.id), nil
    while #(answer.filled or {}) < ask.room and earliest('') == now do
      local at = place(from, ask.cost)
      latest = latest or (ask.latest and math.max(at, now + ask.latest) or at + ask.tolerance)
      local best, first
      for i, fill in ipairs(ask.fill) do
        local id, cost = fill[1], fill[2]
        local there = at > now and id and cost[1] <= most and place(now, cost) or math.huge
        if there < at and (not best or there < first
            or (there == first and cost[1] > ask.fill[best][2][1])) then
          insert(id, there, cost)
          if place(from, ask.cost) <= latest then best, first = i, there end
          remove(id)
        end
      end
      if not best then break end
      add(ask.fill[best][1], first, ask.fill[best][2])
      answer.filled = answer.filled or {}
      table.insert(answer.filled, {best, first - now})
      ask.fill[best][1] = false
    end
    reserve(ask.id, ask.cost)
  end
elseif ask.op == 'confirm' then
  read()
  local at = remove(ask.id)
  redis.call('ZREM', LOG, ask.id)
  if ask.cost[1] > most then
    if state.probe == ask.id then set('probe', '') end
    answer.too_large = most
  elseif not at or earliest(ask.id) > now then
    reserve(ask.id, ask.cost)
  elseif at > now + EARLY then
    add(ask.id, at, ask.cost)  -- too early: the place is kept
    answer.delay, seen = at - now, at
  else
    -- Whoever is late by his own fault counts from when he sends, and does not wait for those placed
    -- after him: they look again, and are late in turn, but by no more. A hair late is not late.
    local from, count = at, #when
    if now - at > ask.slack then from = now end
    while count > 0 and when[count] > now do count = count - 1 end
    local to = place(from, ask.cost, count)
    add(ask.id, to, ask.cost)
    answer.delay, seen = to > now + EARLY and to - now or 0, math.max(seen, to)
    answer.probe = probing(ask.id) and state.probe == ask.id
  end
elseif ask.op == 'move' then
  redis.call('ZADD', LOG, 'XX', now - ask.age, ask.id)
elseif ask.op == 'release' then
  redis.call('ZREM', LOG, ask.id)
  if state.probe == ask.id then set('probe', '') end
elseif ask.op == 'settled' then
  if state.probe == ask.id then set('probing', 0) end
elseif ask.op == 'refused' then
  redis.call('ZREM', LOG, ask.id)
  if ask.pause then
    set('pause', math.max(state.pause or 0, now + ask.pause))
    set('probing', 1)
    set('probe', '')
    set('probe_until', 0)
  end
  -- What was sent before the limit was lowered can only sharpen it.
  for name, limit in pairs(ask.learned or {}) do
    local at = state['learned_at:' .. name]
    if at and now - ask.age <= at then limit = math.min(limit, state['learned:' .. name] or limit) end
    set('learned:' .. name, limit)
    set('learned_at:' .. name, now)
  end
end
for name, limit in pairs(ask.named or {}) do set('named:' .. name, limit) end

local last = now
if when then
  last = math.max(last, when[#when] or 0)
else
  local tail = redis.call('ZRANGE', LOG, -1, -1, 'WITHSCORES')
  if tail[2] then last = math.max(last, tonumber(tail[2])) end
end
redis.call('ZADD', PEERS, seen, ask.client)
redis.call('ZREMRANGEBYSCORE', PEERS, '-inf', now - 2 * period)
answer.peers = redis.call('ZCARD', PEERS)
answer.paused = math.max(0, (state.pause or 0) - now)
answer.held = math.max(0, (state.hold or 0) - now)
answer.probing = probing('')
if most < math.huge then answer.most = most end
local facts = false
answer.named, answer.learned = {}, {}
for _, name in ipairs(DIMENSIONS) do
  answer.named[name] = state['named:' .. name]
  if state['learned:' .. name] then
    answer.learned[name] = {state['learned:' .. name], now - state['learned_at:' .. name]}
  end
  facts = facts or state['named:' .. name] or state['learned:' .. name]
end
if when and #when > 0 and #when <= SHADOW then
  answer.log = {}
  for i = 1, #when do answer.log[i] = {names[i], when[i] - now} end
end

local stay = math.max(last, state.pause or 0, state.hold or 0) - now + longest + KEEP
redis.call('PEXPIRE', LOG, math.ceil(stay / 1000))
redis.call('PEXPIRE', PEERS, math.ceil(stay / 1000))
if facts then
  redis.call('PEXPIRE', STATE, math.max(DAY, math.ceil(stay / 1000)))
else
  redis.call('PEXPIRE', STATE, math.ceil(stay / 1000))
end
return cjson.encode(answer)
"""
)

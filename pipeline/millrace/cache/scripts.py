"""Lua scripts of the ledger. Redis runs each as a whole, so two warmings never reserve the same memory.

Keys, all below the prefix of the keyspace:

* ``parts``: hash of the cached parts; a field begins with the name of its version.
* ``content:NAME``: hash of the values of one version. A field is the rest of a value's key, and its number the memory
  in bytes; it is negative while the memory is reserved and the value is not stored yet.
* ``reserved``: hash with the sum of these reservations of each version that is being warmed.
* ``pins``: sorted set of ``NAME HOLDER`` by the time at which the pin expires. Warmings pin their version, too.
* ``opened``: sorted set of ``NAME JOB`` by the time at which this use is forgotten.

The time is that of the Redis server. Redis Cluster is not supported, because the scripts derive keys from the prefix.
"""

from __future__ import annotations

from typing import Final

from millrace.cache.memory import BUFFERS_BYTES

WARMING: Final = "warming/"
"""The holders of pins that are warmings begin with this."""

_COMMON = f"""
local prefix = KEYS[1]
local parts, pins, reserved = prefix .. ':parts', prefix .. ':pins', prefix .. ':reserved'
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000

local function content(name) return prefix .. ':content:' .. name end

local function starts(text, start) return string.sub(text, 1, #start) == start end

local function is_pinned(name, kind)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', pins, now, '+inf')) do
    if starts(member, name .. ' ' .. kind) then return true end
  end
  return false
end

local function is_warming(name) return is_pinned(name, '{WARMING}') end

local function touch(key, seconds, member)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, now + seconds, member)
end

local function reserved_bytes()
  local sum, sizes = 0, redis.call('HGETALL', reserved)
  for i = 1, #sizes, 2 do
    if is_warming(sizes[i]) then sum = sum + sizes[i + 1] else redis.call('HDEL', reserved, sizes[i]) end
  end
  return sum
end

local function warmings()
  local count = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', pins, now, '+inf')) do
    if string.find(member, ' {WARMING}', 1, true) then count = count + 1 end
  end
  return count
end

-- Buffers of connections are kept free for this and for each other warming.
local function free_bytes(limit)
  local used = string.match(redis.call('INFO', 'memory'), 'used_memory:(%d+)')
  return limit - used - reserved_bytes() - {BUFFERS_BYTES} * (warmings() + 1)
end

local function versions(dataset)
  local names = {{}}
  for _, field in ipairs(redis.call('HKEYS', parts)) do
    local name = string.match(field, '^%S+')
    if starts(name, dataset .. '@') then names[name] = true end
  end
  return names
end

-- Deletes the values that no version of the dataset has; returns the number of their chunks.
local function delete_unlisted(dataset, values)
  local names, chunks, count = versions(dataset), {{}}, 0
  for _, value in ipairs(values) do
    local is_listed = false
    for name in pairs(names) do
      is_listed = is_listed or redis.call('HEXISTS', content(name), value) == 1
    end
    if not is_listed and redis.call('UNLINK', prefix .. ':' .. value) == 1 then
      local chunk = string.match(value, '^[^:]+:([^:]+:[^:]+:[^:]+:[^:]+)')
      if not chunks[chunk] then chunks[chunk], count = true, count + 1 end
    end
  end
  return count
end
"""

TOUCH: Final = (
    _COMMON
    + """
touch(prefix .. ':' .. ARGV[1], ARGV[2], ARGV[3])
"""
)
"""Keep a member of a sorted set of expiry times for a number of seconds. Arguments: set, seconds, member."""

FREE: Final = (
    _COMMON
    + """
return free_bytes(ARGV[1])
"""
)
"""Return the memory in bytes that is neither used nor reserved. Argument: the limit in bytes."""

RESERVE: Final = (
    _COMMON
    + """
local name, field, part, holder, seconds, limit, is_whole = unpack(ARGV, 1, 7)
local first = 8
local room = free_bytes(limit)
local is_claimed_by_other = is_warming(name)
local claims, needed, chunks, reserving = {}, 0, 0, 0
for i = first, #ARGV do
  for value, bytes in string.gmatch(ARGV[i], '(%S+)=(%d+)') do
    bytes = tonumber(bytes)
    local listed = tonumber(redis.call('HGET', content(name), value) or 0)
    if not (listed < 0 and is_claimed_by_other) then
      if redis.call('EXISTS', prefix .. ':' .. value) == 0 then
        needed = needed + bytes
        bytes = -bytes
      end
      claims[#claims + 1] = {i, value, bytes}
    end
  end
  if needed <= room then chunks, reserving = i - first + 1, needed end
end
if (is_whole == '1' and chunks < #ARGV - first + 1) or (chunks == 0 and #ARGV >= first) then
  return {0, needed, room, reserved_bytes()}
end
for _, claim in ipairs(claims) do
  if claim[1] - first < chunks then redis.call('HSET', content(name), claim[2], claim[3]) end
end
if reserving > 0 then redis.call('HINCRBY', reserved, name, reserving) end
redis.call('HSETNX', parts, field, part)
touch(pins, seconds, name .. ' ' .. holder)
return {chunks, needed, room, reserved_bytes()}
"""
)
"""Reserve memory for the first chunks of a part that fit, or for all or none of them.

Arguments: name, field and packed part, holder, seconds of its pin, memory limit in bytes, ``1`` for all or none, then
for each chunk its values as ``VALUE=BYTES`` with a space between them. Returns the number of chunks, the bytes that all
of them need, those that were free, and those that are reserved.
"""

STORED: Final = (
    _COMMON
    + """
local name, sum = ARGV[1], 0
for i = 2, #ARGV do
  local bytes = tonumber(redis.call('HGET', content(name), ARGV[i]) or 0)
  if bytes < 0 then
    redis.call('HSET', content(name), ARGV[i], -bytes)
    sum = sum + bytes
  end
end
if sum < 0 and redis.call('HEXISTS', reserved, name) == 1 then redis.call('HINCRBY', reserved, name, sum) end
"""
)
"""Release the reservation of values that are stored now. Arguments: name, values."""

RELEASE: Final = (
    _COMMON
    + """
local name, holder, field, part = unpack(ARGV)
redis.call('ZREM', pins, name .. ' ' .. holder)
if not is_warming(name) then redis.call('HDEL', reserved, name) end
if field then redis.call('HSET', parts, field, part) end
"""
)
"""End a warming. Arguments: name, holder; for a complete one also field and packed part."""

DROP: Final = (
    _COMMON
    + """
local name, even_pinned = ARGV[1], ARGV[2]
if even_pinned ~= '1' and is_pinned(name, '') then return -1 end
for _, field in ipairs(redis.call('HKEYS', parts)) do
  if starts(field, name .. ' ') then redis.call('HDEL', parts, field) end
end
local values = redis.call('HKEYS', content(name))
redis.call('DEL', content(name))
redis.call('HDEL', reserved, name)
return delete_unlisted(string.match(name, '^[^@]+'), values)
"""
)
"""Remove all parts of a version and the values that no other version has.

Arguments: name, ``1`` to remove a pinned version, too. Returns the number of deleted chunks, -1 for a pinned version.
"""

ABANDON: Final = (
    _COMMON
    + """
local name, field = ARGV[1], ARGV[2]
redis.call('HDEL', parts, field)
if not versions(string.match(name, '^[^@]+'))[name] then redis.call('DEL', content(name)) end
local values = {}
for i = 3, #ARGV do
  redis.call('HDEL', content(name), ARGV[i])
  values[#values + 1] = ARGV[i]
end
return delete_unlisted(string.match(name, '^[^@]+'), values)
"""
)
"""Remove a part and the values that its warming added. Arguments: name, field, values."""

DELETE_UNLISTED: Final = (
    _COMMON
    + """
return delete_unlisted(ARGV[1], {unpack(ARGV, 2)})
"""
)
"""Delete the values that no version of a dataset has. Arguments: dataset, values. Returns the number of chunks."""

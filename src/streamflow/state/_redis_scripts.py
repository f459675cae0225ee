"""What a Redis server does for a store, as Lua: each script is one step, in which it does nothing else.

Above: `_redis`. Rules:

- A conversation is one hash, so it expires and is copied as one: `rev`, `turns`, `messages`, `bytes`, `created`, `updated`, `ttl`,
  `expires`, `meta` and `token`; for each turn `s:<seq>`, its id; `i:<id>`, what is known of it; `b:<id>`, its messages.
- Conversations are listed in a sorted set of their ids. One that has expired leaves the list when it is met there.
- A script that is sent again, because its answer was lost, is known by its token, and gives the same answer.
- An answer begins with `ok`, `conflict` (the revision that there is, the newest turn), `limit` (its name) or `none`.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "APPEND",
    "CREATE",
    "DELETE",
    "EXPIRE",
    "FIND",
    "FORK",
    "GET",
    "INFO",
    "LOAD",
    "PAGE",
    "PUT",
    "REMOVE",
    "REPLACE",
]

_COMMON = """
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end
local function text(number) return string.format('%.6f', number) end
local function newest(key, turns)
  if turns == 0 then return '' end
  return redis.call('HGET', key, 's:' .. (turns - 1)) or ''
end
local function split(info)
  local seq, rev, status, messages, bytes, at, print =
    string.match(info, '^(%d+)|(%d+)|(%a+)|(%d+)|(%d+)|([%d.]+)|(%x*)$')
  return tonumber(seq), tonumber(rev), status, tonumber(messages), tonumber(bytes), at, print
end
local function head(key)
  local h = redis.call('HMGET', key, 'rev', 'turns', 'messages', 'bytes', 'created', 'updated', 'ttl', 'expires', 'meta')
  if not h[1] then return nil end
  return h
end
local function write_expiry(key, at, ttl)
  if ttl == '' then
    redis.call('PERSIST', key)
    redis.call('HSET', key, 'ttl', '', 'expires', '')
  else
    local until_s = at + tonumber(ttl)
    redis.call('HSET', key, 'ttl', ttl, 'expires', text(until_s))
    redis.call('PEXPIREAT', key, string.format('%.0f', until_s * 1000))
  end
end
local function write_head(key, index, id, h, at)
  redis.call('HSET', key, 'rev', h.rev, 'turns', h.turns, 'messages', h.messages, 'bytes', h.bytes,
    'created', h.created, 'updated', text(at), 'meta', h.meta)
  write_expiry(key, at, h.ttl)
  redis.call('ZADD', index, 0, id)
end
local function known(key, at, ttl)
  local h = head(key)
  if not h then
    return {rev = 0, turns = 0, messages = 0, bytes = 0, created = text(at), meta = '{}', ttl = ttl}
  end
  return {rev = tonumber(h[1]), turns = tonumber(h[2]), messages = tonumber(h[3]), bytes = tonumber(h[4]),
    created = h[5], ttl = h[7], meta = h[9]}
end
local function write_turn(key, seq, rev, at, id, status, messages, print, body)
  local info = string.format('%d|%d|%s|%d|%d|%.6f|%s', seq, rev, status, messages, #body, at, print)
  redis.call('HSET', key, 's:' .. seq, id, 'i:' .. id, info, 'b:' .. id, body)
end
local function starts(text, with) return string.sub(text, 1, #with) == with end
"""

# Keys: the conversation, the index. Values: its id, its metadata, its time to live, the token.
CREATE: Final = (
    _COMMON
    + """
local key, index = KEYS[1], KEYS[2]
local h = head(key)
if h and redis.call('HGET', key, 'token') ~= ARGV[4] then
  return {'conflict', tonumber(h[1]), newest(key, tonumber(h[2]))}
end
if not h then
  local at = now()
  local made = known(key, at, ARGV[3])
  made.meta = ARGV[2]
  write_head(key, index, ARGV[1], made, at)
  redis.call('HSET', key, 'token', ARGV[4])
end
return {'ok', head(key)}
"""
)

# Keys: the conversation.
INFO: Final = (
    _COMMON
    + """
local h = head(KEYS[1])
if not h then return {'none'} end
return {'ok', h}
"""
)

# Keys: the conversation. Values: how many messages, or nothing; since which revision; most messages, most bytes.
LOAD: Final = (
    _COMMON
    + """
local key, last, since = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local most_messages, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local h = head(key)
if not h then return {'none'} end
local messages, bytes, first = 0, 0, tonumber(h[2])
for seq = tonumber(h[2]) - 1, 0, -1 do
  if last and messages >= last then break end
  local id = redis.call('HGET', key, 's:' .. seq)
  local _, rev, _, count, size = split(redis.call('HGET', key, 'i:' .. id))
  if rev <= since then break end
  messages, bytes, first = messages + count, bytes + size, seq
  if messages > most_messages then return {'limit', 'max_load_messages'} end
  if bytes > most_bytes then return {'limit', 'max_load_bytes'} end
end
local found = {}
for seq = first, tonumber(h[2]) - 1 do
  local id = redis.call('HGET', key, 's:' .. seq)
  found[#found + 1] = {id, redis.call('HGET', key, 'i:' .. id), redis.call('HGET', key, 'b:' .. id)}
end
return {'ok', h, found}
"""
)

# Keys: the conversation. Values: the turn's id.
FIND: Final = """
local found = redis.call('HMGET', KEYS[1], 'i:' .. ARGV[1], 'b:' .. ARGV[1])
if not found[1] then return {'none'} end
return {'ok', found[1], found[2]}
"""

# Keys: the conversation, the index. Values: its id; the turn's id, status, messages, fingerprint, body; the expected
# revision or nothing; time to live of a new one.
APPEND: Final = (
    _COMMON
    + """
local key, index, at = KEYS[1], KEYS[2], now()
local id, turn, status, messages, print, body = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local h = known(key, at, ARGV[8])
local seq, last = h.turns, newest(key, h.turns)
local info = redis.call('HGET', key, 'i:' .. turn)
if info then
  local old_seq, rev, old_status, old_messages, old_bytes, _, old_print = split(info)
  if starts(old_print, print) and (old_status == 'whole' or status == 'cut') then return {'ok', rev} end
  if old_status ~= 'cut' or last ~= turn or not starts(print, old_print) then
    return {'conflict', h.rev, last, 'turn'}
  end
  seq, h.turns = old_seq, h.turns - 1
  h.messages, h.bytes = h.messages - old_messages, h.bytes - old_bytes
end
if ARGV[7] ~= '' and tonumber(ARGV[7]) ~= h.rev then return {'conflict', h.rev, last} end
h.rev, h.turns, h.messages, h.bytes = h.rev + 1, h.turns + 1, h.messages + messages, h.bytes + #body
write_turn(key, seq, h.rev, at, turn, status, messages, print, body)
write_head(key, index, id, h, at)
return {'ok', h.rev}
"""
)

# Keys: the conversation, the index. Values: its id; the expected revision or nothing; time to live of a new one; the token;
# five of each turn: its id, status, messages, fingerprint, body.
REPLACE: Final = (
    _COMMON
    + """
local key, index, at = KEYS[1], KEYS[2], now()
local h = known(key, at, ARGV[3])
if redis.call('HGET', key, 'token') == ARGV[4] then return {'ok', h.rev} end
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= h.rev then return {'conflict', h.rev, newest(key, h.turns)} end
redis.call('DEL', key)
h.rev, h.turns, h.messages, h.bytes = h.rev + 1, 0, 0, 0
for place = 5, #ARGV, 5 do
  local body = ARGV[place + 4]
  write_turn(key, h.turns, h.rev, at, ARGV[place], ARGV[place + 1], tonumber(ARGV[place + 2]), ARGV[place + 3], body)
  h.turns, h.messages, h.bytes = h.turns + 1, h.messages + tonumber(ARGV[place + 2]), h.bytes + #body
end
write_head(key, index, ARGV[1], h, at)
redis.call('HSET', key, 'token', ARGV[4])
return {'ok', h.rev}
"""
)

# Keys: the source, the target, the index. Values: the target's id; up to which revision, or nothing; time to live; the token.
FORK: Final = (
    _COMMON
    + """
local source, target, index, at = KEYS[1], KEYS[2], KEYS[3], now()
local taken = head(target)
if taken then
  if redis.call('HGET', target, 'token') == ARGV[4] then return {'ok', taken} end
  return {'conflict', tonumber(taken[1]), newest(target, tonumber(taken[2]))}
end
if not head(source) then return {'none'} end
redis.call('COPY', source, target)
local h = known(target, at, '')
local most = tonumber(ARGV[2]) or h.rev
for seq = h.turns - 1, 0, -1 do
  local id = redis.call('HGET', target, 's:' .. seq)
  local _, rev, _, messages, bytes = split(redis.call('HGET', target, 'i:' .. id))
  if rev <= most then break end
  redis.call('HDEL', target, 's:' .. seq, 'i:' .. id, 'b:' .. id)
  h.turns, h.messages, h.bytes = h.turns - 1, h.messages - messages, h.bytes - bytes
end
h.rev, h.created, h.ttl = math.min(most, h.rev), text(at), ARGV[3]
write_head(target, index, ARGV[1], h, at)
redis.call('HSET', target, 'token', ARGV[4])
return {'ok', head(target)}
"""
)

# Keys: the conversation. Values: time to live.
EXPIRE: Final = (
    _COMMON
    + """
if not head(KEYS[1]) then return {'none'} end
write_expiry(KEYS[1], now(), ARGV[1])
return {'ok'}
"""
)

# Keys: the conversation, the index. Values: its id; the expected revision or nothing.
DELETE: Final = (
    _COMMON
    + """
local h = head(KEYS[1])
local rev = h and tonumber(h[1]) or 0
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= rev then
  return {'conflict', rev, h and newest(KEYS[1], tonumber(h[2])) or ''}
end
redis.call('ZREM', KEYS[2], ARGV[1])
if not h then return {'none'} end
redis.call('DEL', KEYS[1])
return {'ok'}
"""
)

# Keys: the index. Values: what keys of conversations begin with; the bounds of the ids; how many.
PAGE: Final = (
    _COMMON
    + """
local found, from = {}, ARGV[2]
local most = tonumber(ARGV[4])
while #found < most do
  local ids = redis.call('ZRANGEBYLEX', KEYS[1], from, ARGV[3], 'LIMIT', 0, most)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local h = head(ARGV[1] .. id)
    if not h then
      redis.call('ZREM', KEYS[1], id)
    elseif #found < most then
      found[#found + 1] = {id, h}
    end
    from = '(' .. id
  end
end
return {'ok', found}
"""
)

# Keys: the document.
GET: Final = """
local found = redis.call('HMGET', KEYS[1], 'value', 'rev')
if not found[2] then return {'none'} end
return {'ok', found[1], tonumber(found[2])}
"""

# Keys: the document. Values: the value; the expected revision or nothing; time to live; the token.
PUT: Final = """
local found = redis.call('HMGET', KEYS[1], 'rev', 'token')
local rev = tonumber(found[1] or 0)
if found[2] == ARGV[4] then return {'ok', rev} end
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= rev then return {'conflict', rev, ''} end
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'rev', rev + 1, 'token', ARGV[4])
if ARGV[3] == '' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(1, tonumber(ARGV[3]) * 1000)))
end
return {'ok', rev + 1}
"""

# Keys: the document. Values: the expected revision or nothing.
REMOVE: Final = """
local rev = tonumber(redis.call('HGET', KEYS[1], 'rev') or 0)
if ARGV[1] ~= '' and tonumber(ARGV[1]) ~= rev then return {'conflict', rev, ''} end
if redis.call('DEL', KEYS[1]) == 0 then return {'none'} end
return {'ok'}
"""

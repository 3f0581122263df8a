#!lua name=counterfoil_rates_1
-- GCRA for all counters of one action, charged together or not at all; the rule is
-- broker/core/gcra.py. Keys share one hash tag. Arguments: interval in microseconds and
-- burst, per key. Answer: allowed (1 or 0), now in microseconds, then what each counter
-- kept before (0 if new).
--
-- Lua numbers are doubles: whole numbers are exact up to 2^53, and nothing larger is
-- let in. string.format, because tostring would round to 14 digits.
--
-- The time is this server's, not the caller's: all replicas share one clock, so a
-- replica whose clock runs ahead can neither earn requests nor lock others out.

local EXACT_MAX = 9007199254740991

local function whole(text, least, most)
  local number = tonumber(text)
  if number == nil or number ~= math.floor(number) then
    return nil
  end
  if number < least or number > most then
    return nil
  end
  return number
end

local function check(keys, args)
  if #keys == 0 or #args ~= 2 * #keys then
    return redis.error_reply('ERR a key, an interval and a burst are needed')
  end
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local held = redis.call('MGET', unpack(keys))
  local answer = { 1, now }
  local starts, tolerances, intervals = {}, {}, {}
  for i = 1, #keys do
    local interval = whole(args[2 * i - 1], 1, EXACT_MAX)
    local burst = whole(args[2 * i], 1, EXACT_MAX)
    if not interval or not burst or now + (burst + 1) * interval > EXACT_MAX then
      return redis.error_reply('ERR an interval or a burst cannot be counted exactly')
    end
    local kept = 0
    if held[i] then
      -- What cannot be read counts as full, for one burst at most.
      kept = whole(held[i], 0, EXACT_MAX) or EXACT_MAX
    end
    local tolerance = interval * burst
    answer[i + 2] = kept
    starts[i] = math.max(now, kept)
    if starts[i] + interval > now + tolerance then
      answer[1] = 0
    end
    tolerances[i], intervals[i] = tolerance, interval
  end
  for i = 1, #keys do
    local keep = nil
    if answer[1] == 1 then
      keep = starts[i] + intervals[i]
    elseif answer[i + 2] > now + tolerances[i] then
      keep = now + tolerances[i]
    end
    if keep then
      -- A counter that has run empty says nothing: let it go.
      local left_ms = math.ceil((keep - now) / 1000)
      redis.call('SET', keys[i], string.format('%.0f', keep), 'PX', left_ms)
    end
  end
  return answer
end

redis.register_function('counterfoil_rates_1', check)

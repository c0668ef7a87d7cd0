-- A Wireshark dissector for Préau, version 1 of its protocol. proto.md is the source; this follows its names.
--
-- To use it, copy it into Wireshark's folder of personal Lua plugins (Help, About, Folders), or:
--     tshark -X lua_script:preau.lua -r class.pcapng
-- Sealed datagrams are opened with the file that `--key-log FILE` wrote:
--     tshark -X lua_script:preau.lua -o preau.key_log:FILE -r class.pcapng
--
-- It runs in Lua 5.2 (Wireshark 4.0 to 4.2) and 5.4 (from 4.4): no integer division, no bit operators in plain sight.
-- What it remembers of a capture (names, first sendings) is kept by frame number, the lowest wins, so that any order
-- and any number of passes over the frames shows the same.

local preau = Proto("preau", "Préau")
preau.prefs.key_log = Pref.string("Key log file", "", "The file that preau --key-log wrote: opens sealed datagrams")

local HEADER, TAG, COOKIE, DATAGRAM, HELLO, PORT = 15, 16, 24, 1200, 512, 26262
local MAX_DEPTH, MAX_INFO, MAX_QUOTE = 8, 240, 48

-- 1. What the protocol says ------------------------------------------------------------------------------------------

local C2S, S2C = "client to server", "server to client"

-- Section 2: name, direction (nil: either), bytes after the header at least and at most, what it is for.
local types = {
  [0x01] = { "hello", C2S, HELLO - HEADER, HELLO - HEADER, "Who is there? Padded, so that no answer is larger" },
  [0x02] = { "retry", S2C, 1, HELLO - HEADER, "A cookie to give back, and the server's public keys" },
  [0x03] = { "initiate", C2S, COOKIE + 32 + TAG, DATAGRAM - HEADER, "The cookie, and a sealed request to come in" },
  [0x04] = { "respond", S2C, 32 + TAG, DATAGRAM - HEADER, "The sealed answer, which gives the session its index" },
  [0x05] = { "confirm", C2S, TAG, DATAGRAM - HEADER, "The last step of coming in; its key is never logged" },
  [0x06] = { "outcome", S2C, TAG, DATAGRAM - HEADER, "How it ended; its key is never logged" },
  [0x07] = { "sealed", nil, TAG, DATAGRAM - HEADER, "Encrypted: for one member's eyes" },
  [0x08] = { "readable", nil, TAG, DATAGRAM - HEADER, "Authenticated, not encrypted: everyone may read it" },
  [0x09] = { "credential", S2C, TAG, DATAGRAM - HEADER, "A token; its key is never logged" },
  [0x0a] = { "hint", S2C, 0, 0, "I do not know this session (anybody can send this)" },
}
local reserved = { [0x10] = "group", [0x11] = "peer", [0x20] = "probe", [0x21] = "announce" }

local type_names = {}
for code, about in pairs(types) do type_names[code] = about[1] end
for code, name in pairs(reserved) do type_names[code] = name .. " (reserved)" end

local refusals = {
  [1] = "text empty", [2] = "text too long", [3] = "a recipient is not a member", [4] = "no such room",
  [5] = "too many recipients", [6] = "parts do not fit together",
}
local statuses = {
  [0] = "done", [4] = "name taken", [5] = "name not allowed", [8] = "the server cannot store",
  [11] = "not understood", [12] = "not permitted",
}
local byes = {
  [0] = "the sender leaves", [1] = "the server is closing, try again later", [2] = "sessions revoked, sign in again",
  [3] = "the account was removed",
  [4] = "the account has too many sessions",
}
local storing = { [0] = "all is well", [1] = "the server cannot store: read and wait" }
local sealed_room, key_logged = { 1, "sealed", "the room is sealed" }, { 2, "key_log", "the server keeps a key log" }
local online, teacher, removed = { 1, "online", "online" }, { 2, "teacher", "teacher" }, { 4, "removed", "removed" }

-- A field: name, type, and for some the words of its values, of 0 alone, or the names of its bits. Types: u8 to u64;
-- str; bin, or bin32 and so on where the length is fixed; time; users; list, of at most `most` records described by
-- `of` (64 if nothing is said); with a `?`: or nil.
local RANGES = { { "first", "u64" }, { "last", "u64" } }
local STORED = { { "n", "u64" }, { "room", "u32" }, { "seq", "u64" }, { "of", "u32" } }
local TOLD = { { "n", "u64" }, { "seq", "u64" }, { "to", "users" }, { "absent", "users" } }
local RECEIPTS = { { "seq", "u64" }, { "received", "u32" }, { "of", "u32" } }
local MEMBERS = {
  { "user", "u32" }, { "version", "u64" }, { "username", "str" }, { "first_name", "str" }, { "last_name", "str" },
  { "former", "str?" }, { "flags", "u8", bits = { online, teacher, removed } },
}
local MESSAGES = {
  { "room", "u32", zero = "inbox" }, { "seq", "u64" }, { "author", "u32" }, { "to", "users" },
  { "time", "time" }, { "text", "str" },
}
local ACK = { { "upto", "u64" }, { "delay_us", "u32" }, { "ranges", "list", of = RANGES, as = "range", most = 16 } }
local PART = { { "part", "u8" }, { "parts", "u8" }, { "text", "str" } }

local function fields(...) -- Lists of fields, one after the other.
  local all = {}
  for _, list in ipairs({ ... }) do
    for _, field in ipairs(list) do all[#all + 1] = field end
  end
  return all
end

-- Section 5: name, protection, from, fields.
local SERVER, CLIENT, BOTH = "server", "client", "both"
local frames = {
  [0x01] = { "page", "R", SERVER, {
    { "room", "u32" }, { "epoch", "u32" }, { "first", "u64" }, { "count", "u16" },
    { "key", "u8", zero = "not sealed" }, { "blob", "bin" } } },
  [0x02] = { "tip", "R", SERVER, {
    { "room", "u32" }, { "epoch", "u32" }, { "head", "u64" }, { "hash", "bin32" }, { "signature", "bin64" },
    { "boot", "u32" }, { "roster", "u64" }, { "status", "u8", words = storing } } },
  [0x03] = { "ack", "R", CLIENT, fields({ { "room", "u32" }, { "epoch", "u32" } }, ACK) },
  [0x04] = { "roster", "R", SERVER, {
    { "boot", "u32" }, { "after", "u64" }, { "upto", "u64" }, { "members", "list", of = MEMBERS, as = "member" } } },
  [0x05] = { "roster_ack", "R", CLIENT, fields({ { "boot", "u32" } }, ACK) },
  [0x06] = { "ping", "R", BOTH, { { "nonce", "u32" } } },
  [0x07] = { "pong", "R", BOTH, { { "nonce", "u32" } } },
  [0x08] = { "say", "R", CLIENT, fields({
    { "instance", "u64", hex = true }, { "n", "u64" }, { "room", "u32" } }, PART) },
  [0x09] = { "stored", "R", SERVER, {
    { "instance", "u64", hex = true }, { "list", "list", of = STORED, as = "item" } } },
  [0x0a] = { "receipt", "R", SERVER, {
    { "room", "u32" }, { "version", "u32" }, { "list", "list", of = RECEIPTS, as = "item" } } },
  [0x0b] = { "receipt_ack", "R", CLIENT, { { "room", "u32" }, { "version", "u32" } } },
  [0x0c] = { "want", "R", CLIENT, { { "room", "u32" }, { "first", "u64" }, { "last", "u64" } } },
  [0x20] = { "welcome", "S", SERVER, {
    { "user", "u32" }, { "username", "str" }, { "name", "str" }, { "epoch", "u32" }, { "since", "u64" },
    { "head", "u64" }, { "inbox_head", "u64" }, { "inbox_from", "u64" }, { "boot", "u32" }, { "roster", "u64" },
    { "decided", "u64" }, { "flags", "u8", bits = { sealed_room, key_logged } }, { "key", "u8" },
    { "room_key", "bin32?" } } },
  [0x21] = { "tell", "S", CLIENT, fields({
    { "instance", "u64", hex = true }, { "n", "u64" }, { "to", "users", most = 32 } }, PART) },
  [0x22] = { "told", "S", SERVER, {
    { "instance", "u64", hex = true }, { "list", "list", of = TOLD, as = "item" } } },
  [0x23] = { "letters", "S", SERVER, { { "epoch", "u32" }, { "first", "u64" }, { "entries", "bin" } } },
  [0x24] = { "letters_ack", "S", CLIENT, fields({ { "epoch", "u32" } }, ACK) },
  [0x25] = { "letters_want", "S", CLIENT, { { "first", "u64" }, { "last", "u64" } } },
  [0x26] = { "letters_receipt", "S", SERVER, {
    { "version", "u32" }, { "list", "list", of = RECEIPTS, as = "item" } } },
  [0x27] = { "letters_receipt_ack", "S", CLIENT, { { "version", "u32" } } },
  [0x28] = { "refused", "S", SERVER, {
    { "instance", "u64", hex = true }, { "n", "u64" }, { "code", "u8", words = refusals } } },
  [0x29] = { "slow", "S", SERVER, { { "wait_ms", "u32" } } },
  [0x2a] = { "call", "S", CLIENT, { { "id", "u32" }, { "have", "u64", hex = true }, { "body", "bin" } } },
  [0x2b] = { "reply", "S", SERVER, { { "id", "u32" }, { "index", "u8" }, { "total", "u8" }, { "body", "bin" } } },
  [0x2c] = { "bye", "S", BOTH, { { "reason", "u8", words = byes } } },
  [0x2d] = { "token_ack", "S", CLIENT, {} },
  [0x40] = { "token", "C", SERVER, { { "token", "bin32" }, { "lifetime_s", "u32" }, { "device", "bin32" } } },
}

-- What each is for, in a few words.
local purposes = {
  page = "messages of the room, committed and signed together",
  tip = "how far the room goes, so that nobody misses the last message",
  ack = "these entries of the room arrived",
  roster = "who the members are, and who is online",
  roster_ack = "these changes of the roster arrived",
  ping = "are you there?",
  pong = "I am",
  say = "a message for everybody, on its way to the server",
  stored = "your messages are on the server's disk, and these are their numbers",
  receipt = "so many members have received your messages",
  receipt_ack = "the receipt arrived",
  want = "these entries are missing here: send them",
  welcome = "you are in: who you are, and how far everything goes",
  tell = "a private message, on its way to the server",
  told = "your private messages are on the server's disk",
  letters = "private messages to or from this member",
  letters_ack = "these private messages arrived",
  letters_want = "these private messages are missing here: send them",
  letters_receipt = "so many recipients have received your private messages",
  letters_receipt_ack = "the receipt arrived",
  refused = "this message will never be taken",
  slow = "too fast: keep the message and wait",
  call = "a question to the server",
  reply = "its answer, or a piece of it",
  bye = "the session ends",
  token_ack = "the token arrived, and is kept",
  token = "what brings this member back without the password",
}

-- Section 6: what entries are made of, by their first element.
local entry_kinds = {
  [1] = { { "kind", "u8" }, { "author", "u32" }, { "time", "time" }, { "rest", "u8" }, { "text", "str" } },
  [2] = {
    { "kind", "u8" }, { "author", "u32" }, { "time", "time" }, { "rest", "u8" }, { "to", "users" }, { "text", "str" },
  },
}

-- Section 10: name, what is asked, what the answer holds after a status of 0.
local WHAT = { "what", "u8" }
local calls = {
  [1] = { "rename", { WHAT, { "username", "str" } }, {} },
  [2] = { "room history", { WHAT, { "room", "u32" }, { "before", "u64" }, { "limit", "u16" } }, { "messages" } },
  [3] = { "private history", { WHAT, { "with", "u32" }, { "before", "u64" }, { "limit", "u16" } }, { "messages" } },
  [4] = { "search", { WHAT, { "words", "str" }, { "limit", "u16" } }, { "messages" } },
  [5] = { "room key", { WHAT, { "key", "u8" } }, { "key" } },
  [6] = { "sign out", { WHAT }, {} },
}
local call_names = {}
for code, about in pairs(calls) do call_names[code] = about[1] end
WHAT.words = call_names
local STATUS = { "status", "u8", words = statuses }
local ANSWER = { STATUS }
local ANSWER_MESSAGES = { STATUS, { "messages", "list", of = MESSAGES, as = "message", most = 200 } }
local ANSWER_KEY = { STATUS, { "key", "u8" }, { "room_key", "bin32" } }
local RETRY = { { "cookie", "bin24" }, { "ed25519", "bin32" }, { "x25519", "bin32" }, { "name", "str" } }

-- 2. Wireshark's fields, made from the tables ------------------------------------------------------------------------

local registered, pf = {}, {}

local function register(abbrev, make, ...)
  if not pf[abbrev] then
    pf[abbrev] = make("preau." .. abbrev, ...)
    registered[#registered + 1] = pf[abbrev]
  end
end

local function label(name)
  local words = name:gsub("_us$", " (µs)"):gsub("_ms$", " (ms)"):gsub("_s$", " (s)"):gsub("_", " ")
  return (words:gsub("^%l", string.upper))
end

local makers = { u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32, u64 = ProtoField.uint64 }

local function register_all(prefix, list)
  for _, field in ipairs(list) do
    local name, kind = field[1], field[2]:gsub("%?", "")
    local abbrev = prefix .. "." .. name
    if makers[kind] then
      register(abbrev, makers[kind], label(name), field.hex and base.HEX or base.DEC, field.words)
      for _, bit in ipairs(field.bits or {}) do
        register(abbrev .. "." .. bit[2], ProtoField.bool, label(bit[3]), 8, { "yes", "no" }, bit[1])
      end
    elseif kind == "str" then
      register(abbrev, ProtoField.string, label(name), base.UNICODE)
    elseif kind == "time" then
      register(abbrev, ProtoField.absolute_time, label(name), base.LOCAL)
    elseif kind == "users" then
      register(abbrev, ProtoField.uint32, label(name), base.DEC)
    elseif kind == "list" then
      register_all(prefix .. "." .. field.as, field.of)
    else
      register(abbrev, ProtoField.bytes, label(name))
    end
  end
end

register("version", ProtoField.uint8, "Version", base.DEC)
register("type", ProtoField.uint8, "Type", base.HEX, type_names)
register("session", ProtoField.uint32, "Session index", base.HEX)
register("attempt", ProtoField.uint64, "Attempt", base.HEX)
register("counter", ProtoField.uint64, "Counter", base.DEC)
register("direction", ProtoField.string, "Direction")
register("tag", ProtoField.bytes, "Tag")
register("tag.status", ProtoField.uint8, "Tag check", base.DEC,
  { [0] = "not checked, the key is not known", [1] = "tag verifies", [2] = "tag does not verify" })
register("sealed", ProtoField.bytes, "Sealed")
register("padding", ProtoField.bytes, "Padding")
register("cookie.expiry", ProtoField.uint32, "Expiry", base.DEC)
register("cookie.mac", ProtoField.bytes, "MAC")
register("noise.ephemeral", ProtoField.bytes, "Ephemeral public key")
register("noise.payload", ProtoField.bytes, "Sealed payload")
register("noise.tag", ProtoField.bytes, "Tag")
local frame_names = {}
for code, about in pairs(frames) do frame_names[code] = about[1] end
register("frame", ProtoField.uint8, "Kind", base.HEX, frame_names)
for _, about in pairs(frames) do
  register(about[1], ProtoField.none, label(about[1]))
  register_all(about[1], about[4])
end
register("entry", ProtoField.none, "Entry")
register("page.last", ProtoField.uint64, "Last", base.DEC)
register("page.previous", ProtoField.bytes, "Hash of the page before")
register("page.signature", ProtoField.bytes, "Signature")
register("page.sealed", ProtoField.bytes, "Sealed blob")
register("page.tag", ProtoField.bytes, "Seal's tag")
register("page.tag.status", ProtoField.uint8, "Seal's tag check", base.DEC,
  { [0] = "not checked, the room key is not known", [1] = "tag verifies", [2] = "tag does not verify" })
register("entry.seq", ProtoField.uint64, "Seq", base.DEC)
for _, list in pairs(entry_kinds) do register_all("entry", list) end
for _, about in pairs(calls) do register_all("call", about[2]) end
register_all("answer", ANSWER_MESSAGES)
register_all("answer", ANSWER_KEY)
register_all("retry", RETRY)
register("user.name", ProtoField.string, "Name")
register("retransmission_of", ProtoField.framenum, "Retransmission of", base.NONE, frametype.RETRANS_PREV)
register("duplicate_of", ProtoField.framenum, "Same datagram as", base.NONE, frametype.DUP_ACK)
register("answers", ProtoField.framenum, "Answers", base.NONE, frametype.REQUEST)
register("after_ms", ProtoField.double, "After (ms)")
preau.fields = registered

local malformed = ProtoExpert.new("preau.expert.malformed", "Not as proto.md describes it: a receiver drops this",
  expert.group.PROTOCOL, expert.severity.ERROR) -- The group MALFORMED is for dissectors that ran off the end.
local misplaced = ProtoExpert.new("preau.expert.misplaced", "Travels otherwise than it must: a receiver drops this",
  expert.group.PROTOCOL, expert.severity.WARN)
local forged = ProtoExpert.new("preau.expert.tag", "The tag does not verify: a receiver drops this",
  expert.group.CHECKSUM, expert.severity.WARN)
local resent = ProtoExpert.new("preau.expert.retransmission", "Sent again", expert.group.SEQUENCE, expert.severity.NOTE)
local doubled = ProtoExpert.new("preau.expert.duplicate", "The same datagram again: a receiver drops the second",
  expert.group.SEQUENCE, expert.severity.NOTE)
local refusal = ProtoExpert.new("preau.expert.refused", "The server refuses", expert.group.RESPONSE_CODE,
  expert.severity.NOTE)
local unread = ProtoExpert.new("preau.expert.key_log", "The key log cannot be used", expert.group.UNDECODED,
  expert.severity.WARN)
local fault = ProtoExpert.new("preau.expert.fault", "The dissector itself failed here", expert.group.UNDECODED,
  expert.severity.ERROR)
preau.experts = { malformed, misplaced, forged, resent, doubled, refusal, unread, fault }

-- 3. ChaCha20-Poly1305 (RFC 8439) ------------------------------------------------------------------------------------

local TWO32 = 4294967296
local bxor, rotl, add -- on 32-bit words, signed or not
do
  -- Lua 5.3 and later have operators, which 5.2 must not see.
  local native = load([[return
    function(a, b) return a ~ b end,
    function(x, n) return ((x << n) | (x >> (32 - n))) & 0xffffffff end,
    function(a, b) return (a + b) & 0xffffffff end]])
  local found, bit_library = pcall(function() return bit or require("bit") end)
  if native then
    bxor, rotl, add = native()
  elseif found and bit_library then
    local tobit = bit_library.tobit
    bxor, rotl, add = bit_library.bxor, bit_library.rol, function(a, b) return tobit(a + b) end
  else
    local nibbles = {}
    for a = 0, 15 do
      for b = 0, 15 do
        local x, y, r = a, b, 0
        for i = 0, 3 do
          if x % 2 ~= y % 2 then r = r + 2 ^ i end
          x, y = math.floor(x / 2), math.floor(y / 2)
        end
        nibbles[a * 16 + b] = r
      end
    end
    bxor = function(a, b)
      local r, unit = 0, 1
      for _ = 1, 8 do
        r = r + nibbles[(a % 16) * 16 + b % 16] * unit
        a, b, unit = math.floor(a / 16), math.floor(b / 16), unit * 16
      end
      return r
    end
    rotl = function(x, n) return (x * 2 ^ n) % TWO32 + math.floor(x / 2 ^ (32 - n)) end
    add = function(a, b) return (a + b) % TWO32 end
  end
end

local function word(s, at) -- little-endian
  local a, b, c, d = s:byte(at, at + 3)
  return a + b * 256 + c * 65536 + d * 16777216
end

local function word_bytes(w)
  w = w % TWO32
  return string.char(w % 256, math.floor(w / 256) % 256, math.floor(w / 65536) % 256, math.floor(w / 16777216))
end

local function chacha_words(key, counter, nonce)
  local start = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 }
  for i = 0, 7 do start[5 + i] = word(key, 1 + 4 * i) end
  start[13] = counter
  for i = 0, 2 do start[14 + i] = word(nonce, 1 + 4 * i) end
  local x = {}
  for i = 1, 16 do x[i] = start[i] end
  local function quarter(a, b, c, d)
    local xa, xb, xc, xd = x[a], x[b], x[c], x[d]
    xa = add(xa, xb) xd = rotl(bxor(xd, xa), 16)
    xc = add(xc, xd) xb = rotl(bxor(xb, xc), 12)
    xa = add(xa, xb) xd = rotl(bxor(xd, xa), 8)
    xc = add(xc, xd) xb = rotl(bxor(xb, xc), 7)
    x[a], x[b], x[c], x[d] = xa, xb, xc, xd
  end
  for _ = 1, 10 do
    quarter(1, 5, 9, 13) quarter(2, 6, 10, 14) quarter(3, 7, 11, 15) quarter(4, 8, 12, 16)
    quarter(1, 6, 11, 16) quarter(2, 7, 12, 13) quarter(3, 8, 9, 14) quarter(4, 5, 10, 15)
  end
  for i = 1, 16 do x[i] = add(x[i], start[i]) end
  return x
end

local function chacha_xor(key, nonce, text)
  local padded = text .. string.rep("\0", -#text % 64)
  local out = {}
  for block = 0, #padded / 64 - 1 do
    local stream = chacha_words(key, block + 1, nonce)
    for i = 1, 16 do
      out[#out + 1] = word_bytes(bxor(stream[i] % TWO32, word(padded, block * 64 + 4 * i - 3)))
    end
  end
  return table.concat(out):sub(1, #text)
end

local function limbs(bytes) -- 17 bytes as ten numbers of 13 bits: products stay far below 2^53
  local out, held, bits = {}, 0, 0
  for i = 1, #bytes do
    held, bits = held + bytes:byte(i) * 2 ^ bits, bits + 8
    if bits >= 13 then
      out[#out + 1] = held % 8192
      held, bits = (held - held % 8192) / 8192, bits - 13
    end
  end
  return out
end

local function poly1305(key, text)
  local clamped = {}
  for i = 1, 16 do
    local b = key:byte(i)
    if i % 4 == 0 then b = b % 16 elseif i > 1 and i % 4 == 1 then b = b - b % 4 end
    clamped[i] = string.char(b)
  end
  local r = limbs(table.concat(clamped) .. "\0")
  local h = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  local function carry()
    local c = 0
    for i = 1, 10 do
      local d = h[i] + c
      h[i] = d % 8192
      c = (d - h[i]) / 8192
    end
    h[1] = h[1] + 5 * c
  end
  for at = 1, #text, 16 do
    local block = text:sub(at, at + 15) .. "\1"
    local m = limbs(block .. string.rep("\0", 17 - #block))
    for i = 1, 10 do m[i] = m[i] + h[i] end
    for i = 1, 10 do
      local sum, over = 0, 0
      for j = 1, i do sum = sum + m[j] * r[i - j + 1] end
      for j = i + 1, 10 do over = over + m[j] * r[i - j + 11] end
      h[i] = sum + 5 * over
    end
    carry()
  end
  carry() carry()
  -- h mod 2^130 - 5: take h + 5 - 2^130 if it is not negative.
  local g, c = {}, 5
  for i = 1, 10 do
    local d = h[i] + c
    g[i] = d % 8192
    c = (d - g[i]) / 8192
  end
  if c > 0 then h = g end
  local out, held, bits, over = {}, 0, 0, 0
  local next_limb = 1
  for i = 1, 16 do
    while bits < 8 do
      held, bits, next_limb = held + h[next_limb] * 2 ^ bits, bits + 13, next_limb + 1
    end
    local sum = held % 256 + key:byte(16 + i) + over
    out[i] = string.char(math.floor(sum % 256))
    over = math.floor(sum / 256)
    held, bits = math.floor(held / 256), bits - 8
  end
  return table.concat(out)
end

local function verifies(key, nonce, aad, sealed, tag)
  local stream = chacha_words(key, 0, nonce)
  local once = {}
  for i = 1, 8 do once[i] = word_bytes(stream[i]) end
  local function pad(s) return string.rep("\0", -#s % 16) end
  local function length(s) return word_bytes(#s) .. "\0\0\0\0" end
  local text = aad .. pad(aad) .. sealed .. pad(sealed) .. length(aad) .. length(sealed)
  return poly1305(table.concat(once), text) == tag
end

-- 4. The key log (section 15) ----------------------------------------------------------------------------------------

local keys = { sessions = {}, rooms = {}, size = -1, path = nil, generation = 0, checked = 0, problem = nil }

local function unhex(s)
  return (s:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function read_key_log()
  local path = preau.prefs.key_log
  keys.checked = os.time()
  if path == nil or path == "" then
    if keys.path then keys.generation = keys.generation + 1 end
    keys.sessions, keys.rooms, keys.path, keys.size, keys.problem = {}, {}, nil, -1, nil
    return
  end
  local file, why = io.open(path, "rb")
  if not file then
    keys.problem = "The key log cannot be read: " .. tostring(why)
    return
  end
  local size = file:seek("end")
  if size == keys.size and path == keys.path then
    file:close()
    return
  end
  file:seek("set", 0)
  keys.sessions, keys.rooms, keys.problem = {}, {}, nil
  keys.path, keys.size, keys.generation = path, size, keys.generation + 1
  for line in file:lines() do
    local index, up, down = line:match("^SESSION%s+(%x+)%s+(%x+)%s+(%x+)%s*$")
    local room, number, key = line:match("^ROOM%s+(%x+)%s+(%x+)%s+(%x+)%s*$")
    if index and #index <= 8 and #up == 64 and #down == 64 then
      local at = tonumber(index, 16)
      keys.sessions[at] = keys.sessions[at] or {}
      table.insert(keys.sessions[at], { [C2S] = unhex(up), [S2C] = unhex(down) })
    elseif room and #room <= 8 and #number <= 2 and #key == 64 then
      local at = tonumber(room, 16) .. ":" .. tonumber(number, 16)
      keys.rooms[at] = keys.rooms[at] or {}
      table.insert(keys.rooms[at], unhex(key))
    elseif line:match("%S") then
      keys.problem = "The key log has a line that is not understood"
    end
  end
  file:close()
end

-- While capturing, the key log grows: look again, at most once a second, when a key is missing.
local function look_again()
  if preau.prefs.key_log ~= "" and os.time() ~= keys.checked then read_key_log() end
end

-- 5. What is remembered of the capture -------------------------------------------------------------------------------

local seen, names, servers, opened, chunks

local function forget()
  seen, names, servers, opened, chunks = {}, {}, {}, {}, {}
  keys.size = -1
  read_key_log()
end

preau.init = forget
preau.prefs_changed = forget

-- The first frame in which `key` was met: a table of its number and time, and `what` the caller kept.
local function first(key, pinfo, what)
  local known = seen[key]
  if not known or known.number > pinfo.number then
    known = { number = pinfo.number, time = tonumber(tostring(pinfo.rel_ts)) or 0, what = what }
    seen[key] = known
  end
  return known
end

local function learn_name(server, user, name, number)
  local known = names[server .. "/" .. user]
  if not known then
    known = {}
    names[server .. "/" .. user] = known
  end
  local at = #known + 1
  while at > 1 and known[at - 1].number >= number do at = at - 1 end
  if known[at] and known[at].number == number then
    known[at].name = name
  else
    table.insert(known, at, { number = number, name = name })
  end
end

-- What a user was called before frame `number`: the frame's own news would not be known to all of it in one pass.
local function name_of(server, user, number)
  local known = names[server .. "/" .. user] or {}
  for at = #known, 1, -1 do
    if known[at].number < number then return known[at].name end
  end
end

-- 6. MessagePack ------------------------------------------------------------------------------------------------------

-- A value: kind, its place (at, from 0, and len, header included), and what it holds. Numbers: `n` (exact below 2^53),
-- `hi` and `lo`, and `text` in decimal. Strings and byte strings: `from`, `size`, `raw`. Arrays: their elements.
local function number_value(at, len, hi, lo)
  local value = { kind = "uint", at = at, len = len, hi = hi, lo = lo }
  if hi < 2097152 then
    value.n = hi * TWO32 + lo
    value.text = string.format("%.0f", value.n)
  else
    value.n = hi * 4294967296.0 + lo
    value.text = tostring(UInt64.new(lo, hi))
  end
  return value
end

local function big_endian(raw, at, size) -- at from 0; size at most 4
  local n = 0
  for i = 1, size do n = n * 256 + raw:byte(at + i) end
  return n
end

local read_value

local function read_array(raw, at, head, count, stop, depth)
  if depth >= MAX_DEPTH then return nil, "nested too deeply" end
  if count > stop - at - head then return nil, "an array claims more elements than there are bytes" end
  local value = { kind = "array", at = at }
  local next_at = at + head
  for i = 1, count do
    local element, why = read_value(raw, next_at, stop, depth + 1)
    if not element then return nil, why end
    value[i] = element
    next_at = next_at + element.len
  end
  value.len = next_at - at
  return value
end

local function read_bytes(kind, raw, at, head, size, stop)
  if size > stop - at - head then return nil, "a length goes beyond the end" end
  return {
    kind = kind, at = at, len = head + size, from = at + head, size = size,
    raw = raw:sub(at + head + 1, at + head + size),
  }
end

-- After the first byte: how many bytes of number or of length follow.
local following = {
  [0xc4] = 1, [0xc5] = 2, [0xc6] = 4, [0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8, [0xd0] = 1, [0xd1] = 2,
  [0xd2] = 4, [0xd3] = 8, [0xd9] = 1, [0xda] = 2, [0xdb] = 4, [0xdc] = 2, [0xdd] = 4,
}

read_value = function(raw, at, stop, depth)
  if at >= stop then return nil, "it ends too early" end
  local b = raw:byte(at + 1)
  if b < 0x80 then return number_value(at, 1, 0, b) end
  if b >= 0xe0 then return { kind = "negative", at = at, len = 1 } end
  if b >= 0x90 and b < 0xa0 then return read_array(raw, at, 1, b - 0x90, stop, depth) end
  if b >= 0xa0 and b < 0xc0 then return read_bytes("str", raw, at, 1, b - 0xa0, stop) end
  if b == 0xc0 then return { kind = "nil", at = at, len = 1 } end
  if b == 0xc2 or b == 0xc3 then return { kind = "bool", at = at, len = 1 } end
  local more = following[b]
  if not more then return nil, string.format("MessagePack 0x%02x is not used here", b) end
  if at + 1 + more > stop then return nil, "it ends too early" end
  local hi = more == 8 and big_endian(raw, at + 1, 4) or 0
  local n = big_endian(raw, at + 1 + (more == 8 and 4 or 0), more == 8 and 4 or more)
  if b <= 0xc6 then return read_bytes("bin", raw, at, 1 + more, n, stop) end
  if b <= 0xcf then return number_value(at, 1 + more, hi, n) end
  if b <= 0xd3 then
    if raw:byte(at + 2) >= 0x80 then return { kind = "negative", at = at, len = 1 + more } end
    return number_value(at, 1 + more, hi, n)
  end
  if b <= 0xdb then return read_bytes("str", raw, at, 1 + more, n, stop) end
  return read_array(raw, at, 1 + more, n, stop, depth)
end

-- 7. Text to show -----------------------------------------------------------------------------------------------------

-- The length of the UTF-8 character at `at` (from 1), or nil.
local function character(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  local function tail(x) return x and x >= 0x80 and x < 0xc0 end
  if a < 0x80 then return 1 end
  if a >= 0xc2 and a < 0xe0 and tail(b) then return 2 end
  if a >= 0xe0 and a < 0xf0 and tail(b) and tail(c) and not (a == 0xe0 and b < 0xa0)
    and not (a == 0xed and b >= 0xa0) then
    return 3
  end
  if a >= 0xf0 and a < 0xf5 and tail(b) and tail(c) and tail(d) and not (a == 0xf0 and b < 0x90)
    and not (a == 0xf4 and b >= 0x90) then
    return 4
  end
end

-- The text with what is not UTF-8 replaced, and whether all of it was.
local function utf8_text(s)
  if not s:find("[\x80-\xff]") then return s, true end
  local out, at, good = {}, 1, true
  while at <= #s do
    local size = character(s, at)
    out[#out + 1] = size and s:sub(at, at + size - 1) or "\xef\xbf\xbd"
    good = good and size ~= nil
    at = at + (size or 1)
  end
  return table.concat(out), good
end

local function code_point(c) -- of a character of two or three bytes
  local a, b, d = c:byte(1, 3)
  return string.format("‹U+%04X›", d and (a % 16) * 4096 + (b % 64) * 64 + d % 64 or (a % 32) * 64 + b % 64)
end

-- Control and bidi characters shown, not obeyed.
local function visible(s)
  s = s:gsub("\r?\n", "⏎")
  s = s:gsub("%c", function(c)
    local b = c:byte()
    return b == 127 and "␡" or "\xe2\x90" .. string.char(0x80 + b)
  end)
  s = s:gsub("\xc2[\x80-\x9f]", code_point):gsub("\xd8\x9c", code_point)
  s = s:gsub("\xe2\x80[\x8b\x8e\x8f\xa8-\xae]", code_point):gsub("\xe2\x81[\xa0-\xaf]", code_point)
  return (s:gsub("\xef\xbb\xbf", code_point))
end

local function shorten(s, most) -- to `most` bytes, at a character
  if #s <= most then return s end
  local stop = most
  while stop > 0 and s:byte(stop + 1) >= 0x80 and s:byte(stop + 1) < 0xc0 do stop = stop - 1 end
  return s:sub(1, stop) .. "…"
end

local function quote(s) return '"' .. shorten(visible((utf8_text(s))), MAX_QUOTE) .. '"' end

local function plural(n, one, many) return n == 1 and ("1 " .. one) or (n .. " " .. (many or one .. "s")) end

-- From one seq to another; both are texts.
local function span(a, b) return a == b and a or a .. "–" .. b end

-- 8. Values into the tree ---------------------------------------------------------------------------------------------

-- While a datagram is dissected, `d` holds: pinfo, tree, tvb, raw (of tvb), src, dst, server, session, number, info.

local widest = { u8 = 256, u16 = 65536, u32 = TWO32 }

local function who(d, user, server)
  local name = name_of(server or d.server, user.text, d.number)
  return name and string.format("user %s (%s)", user.text, visible(name)) or "user " .. user.text
end

local function complain(d, item, text)
  item:add_proto_expert_info(malformed, text)
  d.bad = d.bad or (d.inside and d.inside .. ": " or "") .. text
end

local function add_number(d, tree, buf, pfield, field, value)
  local kind = field[2]
  if widest[kind] and value.n >= widest[kind] then
    complain(d, tree:add(buf.tvb(value.at, value.len), label(field[1]) .. ": " .. value.text), "a number is too large")
    return false
  end
  local range = buf.tvb(value.at, value.len)
  local number = kind == "u64" and UInt64.new(value.lo, value.hi) or value.n
  local item = tree:add(pfield, range, number)
  local said = {}
  for _, bit in ipairs(field.bits or {}) do
    item:add(pf[field.abbrev .. "." .. bit[2]], range, value.n)
    if math.floor(value.n / bit[1]) % 2 == 1 then said[#said + 1] = bit[3] end
  end
  if field.bits then item:append_text(" (" .. (#said > 0 and table.concat(said, ", ") or "none") .. ")") end
  if field.zero and value.n == 0 then item:append_text(" (" .. field.zero .. ")") end
  if field[1] == "author" or field[1] == "with" then
    local name = name_of(d.server, value.text, d.number)
    if name then item:append_text(" (" .. visible(name) .. ")") end
  end
  return true
end

local function add_time(d, tree, buf, pfield, field, value)
  local range = buf.tvb(value.at, value.len)
  if value.n >= 1e14 then -- the year 5138: more than some systems' times hold
    complain(d, tree:add(range, label(field[1]) .. ": " .. value.text .. " ms"), "a time far in the future")
    return false
  end
  local ms = value.n % 1000
  tree:add(pfield, range, NSTime.new((value.n - ms) / 1000, ms * 1000000))
  return true
end

local add_record
local describe = {} -- by a list of fields: a record in words

local function add_list(d, tree, buf, prefix, field, value)
  local branch = tree:add(buf.tvb(value.at, value.len), string.format("%s: %d", label(field[1]), #value))
  if #value > (field.most or 64) then complain(d, branch, "a list is too long") end
  local good = true
  for i = 1, #value do
    local element = value[i]
    if field[2] == "users" then
      good = add_record(d, branch, buf, prefix, { { field[1], "u32" } }, { kind = "array", element }) and good
    else
      local leaf = branch:add(buf.tvb(element.at, element.len), label(field.as))
      local record = add_record(d, leaf, buf, prefix .. "." .. field.as, field.of, element)
      element.record, good = record, record and good
      if record and describe[field.of] then leaf:set_text(describe[field.of](d, record)) end
    end
  end
  if field[2] == "users" and good then
    local people = {}
    for i = 1, #value do people[i] = who(d, value[i]) end
    branch:set_text(label(field[1]) .. ": " .. (#people > 0 and table.concat(people, ", ") or "nobody"))
  end
  return good
end

local function add_bytes(tree, buf, pfield, name, value)
  if value.size == 0 then return tree:add(buf.tvb(value.at, value.len), label(name) .. ": empty") end
  return tree:add(pfield, buf.tvb(value.from, value.size))
end

local comes_as = { time = "uint", users = "array", list = "array" }

-- Adds one field. Gives whether it was what it must be.
local function add_field(d, tree, buf, prefix, field, value)
  local kind, optional = field[2]:gsub("%?", "")
  local abbrev = prefix .. "." .. field[1]
  local pfield, range = pf[abbrev], buf.tvb(value.at, value.len)
  local expected = makers[kind] and "uint" or comes_as[kind] or kind:match("^%a+")
  if value.kind == "nil" and optional > 0 then
    tree:add(range, label(field[1]) .. ": none")
    return true
  end
  if value.kind ~= expected then
    complain(d, tree:add(range, label(field[1]) .. ": " .. value.kind), field[1] .. " is not what it must be")
    return false
  end
  if makers[kind] then
    field.abbrev = abbrev
    return add_number(d, tree, buf, pfield, field, value)
  elseif kind == "time" then
    return add_time(d, tree, buf, pfield, field, value)
  elseif expected == "array" then
    return add_list(d, tree, buf, prefix, field, value)
  elseif kind == "str" then
    local text, good = utf8_text(value.raw)
    value.shown = visible(text)
    local item = tree:add(pfield, range, text)
    item:set_text(label(field[1]) .. ": " .. value.shown)
    if not good then complain(d, item, "the text is not UTF-8") end
    return good
  end
  local item = add_bytes(tree, buf, pfield, field[1], value)
  local size = tonumber(kind:match("%d+"))
  if size and size ~= value.size then
    complain(d, item, string.format("%d bytes in place of %d", value.size, size))
    return false
  end
  return true
end

-- Adds an array of exactly these fields. Gives its values by name, or nil when something is wrong with them.
add_record = function(d, tree, buf, prefix, list, value)
  if value.kind ~= "array" then
    complain(d, tree, "not an array of fields")
    return nil
  end
  local record, good = {}, true
  for i, field in ipairs(list) do
    if value[i] then
      good = add_field(d, tree, buf, prefix, field, value[i]) and good
      record[field[1]] = value[i]
    end
  end
  if #value ~= #list then
    complain(d, tree, string.format("%s in place of %d", plural(#value, "field"), #list))
    good = false
  end
  return good and record or nil
end

local function flags_in_words(value, bits)
  local said = {}
  for _, bit in ipairs(bits) do
    if math.floor(value.n / bit[1]) % 2 == 1 then said[#said + 1] = bit[3] end
  end
  return table.concat(said, ", ")
end

local function place(room) return room.text == "0" and "inbox" or room.text == "1" and "" or "room " .. room.text end

local function recipients(d, users)
  if #users == 0 then return "" end
  local people = {}
  for i = 1, math.min(#users, 3) do people[i] = who(d, users[i]) end
  return " to " .. table.concat(people, ", ") .. (#users > 3 and " and " .. (#users - 3) .. " more" or "")
end

describe[RANGES] = function(_, r) return "Range: " .. span(r.first.text, r.last.text) end
describe[STORED] = function(_, r)
  return string.format("n=%s is entry #%s of room %s (others online then: %s)", r.n.text, r.seq.text, r.room.text,
    r.of.text)
end
describe[TOLD] = function(d, r)
  return string.format("n=%s is entry #%s of the author's inbox,%s", r.n.text, r.seq.text, recipients(d, r.to))
end
describe[RECEIPTS] = function(_, r)
  return string.format("#%s received by %s of %s", r.seq.text, r.received.text, r.of.text)
end
describe[MEMBERS] = function(d, r)
  learn_name(d.server, r.user.text, (utf8_text(r.username.raw)), d.number)
  local flags = flags_in_words(r.flags, { online, teacher, removed })
  return string.format("user %s (%s): %s", r.user.text, r.username.shown, flags ~= "" and flags or "not online")
end
describe[MESSAGES] = function(d, r)
  return string.format("%s #%s from %s%s %s", r.room.text == "0" and "Letter" or "Entry", r.seq.text, who(d, r.author),
    recipients(d, r.to), quote(r.text.raw))
end

-- 9. What each frame means --------------------------------------------------------------------------------------------

local function be32(n) return word_bytes(n):reverse() end
local function be64(value) return be32(value.hi) .. be32(value.lo) end

local function plus(value, more) -- value + more as a value; wraps at 2^64
  local lo = value.lo + more
  local hi = value.hi + math.floor(lo / TWO32)
  return number_value(value.at, value.len, math.floor(hi % TWO32), math.floor(lo % TWO32))
end

local function generated(tree, pfield, value) tree:add(pfield, value):set_generated() end

-- Marks `item` when the same thing was sent before, by the same host to the same destination.
local function sent_before(d, item, what)
  local known = first(d.flow .. "/" .. what, d.pinfo)
  if known.number >= d.number or d.duplicate then return end
  generated(item, pf["retransmission_of"], known.number)
  item:add_proto_expert_info(resent, "Retransmission of frame " .. known.number)
  d.resent = true
end

-- Links an answer to its question.
local function answers(d, item, what, sentence)
  local known = seen[what]
  if not known or known.number >= d.number then return nil end
  generated(item, pf["answers"], known.number)
  local us = math.floor(((tonumber(tostring(d.pinfo.rel_ts)) or 0) - known.time) * 1000000 + 0.5)
  local ms = us / 1000
  item:add(pf["after_ms"], ms):set_text(string.format("[%s %.3f ms]", sentence, ms))
  return known.what
end

local function another_tvb(raw, name)
  return { tvb = ByteArray.new(raw, true):tvb(name), raw = raw }
end

-- Entries one after the other from `at` to `stop`; gives how many, and the first of them in words.
local function add_entries(d, tree, buf, at, stop, first_seq, noun)
  local count, said = 0, {}
  while at < stop do
    local value, why = read_value(buf.raw, at, stop, 0)
    if not value then
      complain(d, tree:add(buf.tvb(at, stop - at), "Entry"), "entry: " .. why)
      return count, said
    end
    local item = tree:add(pf["entry"], buf.tvb(at, value.len))
    local seq = plus(first_seq, count)
    generated(item, pf["entry.seq"], UInt64.new(seq.lo, seq.hi))
    local list = value.kind == "array" and value[1] and value[1].kind == "uint" and entry_kinds[value[1].n]
    if list then
      local r = add_record(d, item, buf, "entry", list, value)
      if r then
        local words = string.format("from %s%s %s%s", who(d, r.author), r.to and recipients(d, r.to) or "",
          quote(r.text.raw), r.rest.n > 0 and " (" .. r.rest.text .. " more of it)" or "")
        item:set_text(string.format("%s #%s %s", noun, seq.text, words))
        if #said < 3 then said[#said + 1] = words end
        if r.text.size > 800 then complain(d, item, "more than 800 bytes of text in an entry") end
        if r.rest.n > 5 then complain(d, item, "more than 6 entries of one message") end
      end
    else
      complain(d, item, "an entry of a kind that is not known")
    end
    at, count = at + value.len, count + 1
  end
  return count, said
end

local function entries_in_words(noun, nouns, first_seq, count, said)
  if count == 0 then return nouns .. ": none" end
  if count == 1 then return string.format("%s #%s %s", noun, first_seq.text, said[1] or "") end
  local more = count > #said and " …" or ""
  return string.format("%s #%s: %s%s", nouns, span(first_seq.text, plus(first_seq, count - 1).text),
    table.concat(said, ", "), more)
end

-- Opens the blob of a page sealed for the room, if its key is known. Gives the status of its tag and the blob.
local function open_page(d, r)
  if r.blob.size < TAG then return 2 end
  local name = r.room.text .. ":" .. r.key.text
  if not keys.rooms[name] then look_again() end
  local known = opened[d.number .. "/" .. name .. r.blob.raw]
  if known and known.generation == keys.generation then return known.status, known.plain end
  known = { generation = keys.generation, status = 0 }
  opened[d.number .. "/" .. name .. r.blob.raw] = known
  local nonce = "\0\0\0\0" .. be64(r.first)
  local aad = be32(r.room.n) .. be32(r.epoch.n) .. be64(r.first) .. be32(r.count.n):sub(3) .. string.char(r.key.n)
  local text, tag = r.blob.raw:sub(1, -TAG - 1), r.blob.raw:sub(-TAG)
  for _, key in ipairs(keys.rooms[name] or {}) do
    known.status = 2
    if verifies(key, nonce, aad, text, tag) then
      known.status, known.plain = 1, chacha_xor(key, nonce, text)
      break
    end
  end
  return known.status, known.plain
end

local meaning = {} -- by frame name: function(d, item, buf, record) gives the summary

function meaning.page(d, item, buf, r)
  sent_before(d, item, table.concat({ "page", d.session, r.room.text, r.epoch.text, r.first.text }, "/"))
  local last = plus(r.first, math.max(r.count.n, 1) - 1)
  generated(item, pf["page.last"], UInt64.new(last.lo, last.hi))
  if r.count.n == 0 or (r.first.hi == 0 and r.first.lo == 0) then complain(d, item, "a page of no entries") end
  local at, stop = r.blob.from, r.blob.from + r.blob.size
  if r.key.n ~= 0 then
    local status, plain = open_page(d, r)
    if r.blob.size >= TAG then
      item:add(pf["page.sealed"], buf.tvb(at, r.blob.size - TAG))
      item:add(pf["page.tag"], buf.tvb(stop - TAG, TAG))
    end
    generated(item, pf["page.tag.status"], status)
    if status == 2 then
      item:add_proto_expert_info(forged, "The seal does not verify under room key " .. r.key.text)
      d.bad = d.bad or "the page's seal does not verify"
    end
    if not plain then
      return string.format("Page #%s (sealed under room key %s, %d bytes)", span(r.first.text, last.text), r.key.text,
        r.blob.size)
    end
    buf, at, stop = another_tvb(plain, "Opened page"), 0, #plain
  end
  if stop - at < 96 then
    complain(d, item, "a page's blob has less than 96 bytes")
    return "Page"
  end
  item:add(pf["page.previous"], buf.tvb(at, 32))
  item:add(pf["page.signature"], buf.tvb(at + 32, 64)):append_text(" (Ed25519, not checked here)")
  if stop - at - 96 > 1024 then complain(d, item, "more than 1,024 bytes of entries") end
  local count, said = add_entries(d, item, buf, at + 96, stop, r.first, "Entry")
  if count ~= r.count.n then complain(d, item, string.format("%d entries in a page of %s", count, r.count.text)) end
  return entries_in_words("Entry", "Entries", r.first, count, said)
end

function meaning.tip(_, item, _, r)
  local bad = r.status.n ~= 0
  if bad then item:add_proto_expert_info(refusal, "The server cannot store: its disk is full or failing") end
  return "Tip: head " .. r.head.text .. (bad and " (the server cannot store)" or "")
end

local function acked(d, item, r)
  local said, below = { "≤" .. r.upto.text }, r.upto
  for i = 1, #r.ranges do
    local range = r.ranges[i].record
    local function less(a, b) return a.hi < b.hi or (a.hi == b.hi and a.lo < b.lo) end
    if not less(plus(below, 1), range.first) or less(range.last, range.first) then
      complain(d, item, "the ranges do not ascend")
    end
    said[#said + 1] = span(range.first.text, range.last.text)
    below = range.last
  end
  return table.concat(said, ", ")
end

function meaning.ack(d, item, _, r) return "Ack " .. acked(d, item, r) end
function meaning.roster_ack(d, item, _, r) return "Roster ack " .. acked(d, item, r) end
function meaning.letters_ack(d, item, _, r) return "Letters ack " .. acked(d, item, r) end

function meaning.roster(_, item, _, r)
  local said = {}
  for i = 1, math.min(#r.members, 3) do
    local member = r.members[i].record
    local flags = flags_in_words(member.flags, { online, teacher, removed })
    said[i] = member.username.shown .. (flags ~= "" and " " .. flags or " not online")
  end
  local more = #r.members > 3 and " …" or ""
  return string.format("Roster ≤%s: %s%s", r.upto.text, #said > 0 and table.concat(said, "; ") or "no change", more)
end

function meaning.ping(d, _, _, r)
  first("ping/" .. d.flow .. "/" .. d.session .. "/" .. r.nonce.text, d.pinfo)
  return "Ping"
end

function meaning.pong(d, item, _, r)
  answers(d, item, "ping/" .. d.back .. "/" .. d.session .. "/" .. r.nonce.text, "The round trip took")
  return "Pong"
end

local function submission(r) return table.concat({ r.instance.text, r.n.text }, "/") end

local function submitted(d, item, r)
  sent_before(d, item, table.concat({ "submission", submission(r), r.part.text }, "/"))
  first("submit/" .. d.server .. "/" .. submission(r), d.pinfo)
  if r.part.n >= r.parts.n or r.parts.n > 6 then complain(d, item, "a part beyond the last") end
  if r.text.size > 800 then complain(d, item, "more than 800 bytes of text in a part") end
  return r.parts.n > 1 and string.format(" part %.0f/%s", r.part.n + 1, r.parts.text) or ""
end

function meaning.say(d, item, _, r)
  local part = submitted(d, item, r)
  local room = place(r.room)
  return string.format("Say n=%s%s %s%s", r.n.text, part, room ~= "" and "in " .. room .. " " or "", quote(r.text.raw))
end

function meaning.tell(d, item, _, r)
  local part = submitted(d, item, r)
  return string.format("Tell n=%s%s%s %s", r.n.text, part, recipients(d, r.to), quote(r.text.raw))
end

function meaning.stored(d, item, _, r)
  local said = {}
  for i = 1, #r.list do
    local one = r.list[i].record
    answers(d, item, "submit/" .. d.server .. "/" .. r.instance.text .. "/" .. one.n.text,
      "n=" .. one.n.text .. " was stored after")
    if i <= 3 then said[i] = string.format("n=%s as #%s", one.n.text, one.seq.text) end
  end
  return "Stored " .. table.concat(said, ", ") .. (#r.list > 3 and " …" or "")
end

function meaning.told(d, item, _, r)
  local said = {}
  for i = 1, #r.list do
    local one = r.list[i].record
    answers(d, item, "submit/" .. d.server .. "/" .. r.instance.text .. "/" .. one.n.text,
      "n=" .. one.n.text .. " was stored after")
    local absent = recipients(d, one.absent):gsub("^ to ", ", absent: ")
    if i <= 3 then
      said[i] = string.format("n=%s as letter #%s%s%s", one.n.text, one.seq.text, recipients(d, one.to), absent)
    end
  end
  return "Told " .. table.concat(said, "; ") .. (#r.list > 3 and " …" or "")
end

local function received(noun, r)
  local said = {}
  for i = 1, math.min(#r.list, 3) do
    local one = r.list[i].record
    said[i] = string.format("#%s by %s of %s", one.seq.text, one.received.text, one.of.text)
  end
  return noun .. " received: " .. table.concat(said, ", ") .. (#r.list > 3 and " …" or "")
end

function meaning.receipt(_, _, _, r) return received("Entries", r) end
function meaning.letters_receipt(_, _, _, r) return received("Letters", r) end
function meaning.receipt_ack(_, _, _, r) return "Receipt ack v" .. r.version.text end
function meaning.letters_receipt_ack(_, _, _, r) return "Letters receipt ack v" .. r.version.text end
function meaning.want(_, _, _, r) return "Want #" .. span(r.first.text, r.last.text) end
function meaning.letters_want(_, _, _, r) return "Letters want #" .. span(r.first.text, r.last.text) end

function meaning.welcome(d, _, _, r)
  learn_name(d.server, r.user.text, (utf8_text(r.username.raw)), d.number)
  learn_name(d.server, "session " .. d.session, (utf8_text(r.username.raw)), d.number)
  return string.format("Welcome user %s (%s) to %s, head %s", r.user.text, r.username.shown, quote(r.name.raw),
    r.head.text)
end

function meaning.letters(d, item, buf, r)
  if r.entries.size == 0 then return "Letters: none yet from #" .. r.first.text .. " on" end
  sent_before(d, item, table.concat({ "letters", d.session, r.epoch.text, r.first.text }, "/"))
  local from = r.entries.from
  local count, said = add_entries(d, item, buf, from, from + r.entries.size, r.first, "Letter")
  return entries_in_words("Letter", "Letters", r.first, count, said)
end

function meaning.refused(d, item, _, r)
  local why = refusals[r.code.n] or "code " .. r.code.text
  answers(d, item, "submit/" .. d.server .. "/" .. submission(r), "n=" .. r.n.text .. " was refused after")
  item:add_proto_expert_info(refusal, "Refused for good: " .. why)
  return string.format("Refused n=%s: %s", r.n.text, why)
end

function meaning.slow(_, _, _, r) return "Slow down: wait " .. r.wait_ms.text .. " ms" end

local function call_key(d, r) return table.concat({ "call", d.server, d.session, r.id.text }, "/") end

function meaning.call(d, item, buf, r)
  local branch = item:add(buf.tvb(r.body.at, r.body.len), "What is asked")
  local value, why = read_value(buf.raw, r.body.from, r.body.from + r.body.size, 0)
  if value and value.len ~= r.body.size then value, why = nil, "something follows it" end
  local what = value and value.kind == "array" and value[1] and value[1].kind == "uint" and value[1].n
  if not what or not calls[what] then
    complain(d, branch, why or "not known")
    return "Call " .. r.id.text
  end
  first(call_key(d, r), d.pinfo, what)
  local fine = add_record(d, branch, buf, "call", calls[what][2], value)
  local said = ""
  if fine and what == 1 then said = " " .. quote(fine.username.raw) end
  if fine and what == 4 then said = " " .. quote(fine.words.raw) end
  branch:set_text("What is asked: " .. calls[what][1] .. said)
  return string.format("Call %s: %s%s", r.id.text, calls[what][1], said)
end

local function add_answer(d, item, buf, at, stop, what)
  local branch = item:add(buf.tvb(at, stop - at), "Answer")
  local value, why = read_value(buf.raw, at, stop, 0)
  if value and value.len ~= stop - at then value, why = nil, "something follows it" end
  if not value or value.kind ~= "array" or not value[1] or value[1].kind ~= "uint" then
    complain(d, branch, "answer: " .. (why or "not an array with a status"))
    return ""
  end
  local holds = ({ messages = ANSWER_MESSAGES, key = ANSWER_KEY })[what and calls[what][3][1]]
  if not what then holds = ({ [2] = ANSWER_MESSAGES, [3] = ANSWER_KEY })[#value] end -- The call was not captured.
  if value[1].n ~= 0 or not holds then holds = ANSWER end
  local answer = add_record(d, branch, buf, "answer", holds, value)
  if not answer then return "" end
  if answer.status.n ~= 0 then
    local words = statuses[answer.status.n] or "code " .. answer.status.text
    branch:add_proto_expert_info(refusal, "Refused: " .. words)
    return ", refused: " .. words
  end
  return answer.messages and ", " .. plural(#answer.messages, "message") or ", done"
end

function meaning.reply(d, item, buf, r)
  local what = answers(d, item, call_key(d, r), "The answer came after")
  local words = "Reply " .. r.id.text .. (what and " (" .. calls[what][1] .. ")" or "")
  if r.index.n >= r.total.n or r.total.n > 64 or r.body.size > 1000 then
    complain(d, item, "a chunk beyond the last, or too long")
    return words
  end
  if r.total.n == 1 then
    if r.body.size == 0 then
      complain(d, item, "an empty answer")
      return words
    end
    return words .. add_answer(d, item, buf, r.body.from, r.body.from + r.body.size, what)
  end
  words = string.format("%s chunk %.0f/%s", words, r.index.n + 1, r.total.text)
  local key = call_key(d, r)
  local whole = chunks[key] or { held = 0 }
  chunks[key] = whole
  if not whole[r.index.text] then whole[r.index.text], whole.held = r.body.raw, whole.held + 1 end
  if whole.held == r.total.n and not whole.at then whole.at = d.number end
  if whole.at ~= d.number then return words end
  local all = {}
  for i = 0, r.total.n - 1 do all[#all + 1] = whole[string.format("%.0f", i)] or "" end
  local raw = table.concat(all)
  if #raw == 0 then return words end
  return words .. add_answer(d, item, another_tvb(raw, "Whole answer"), 0, #raw, what)
end

function meaning.bye(_, _, _, r) return "Bye: " .. (byes[r.reason.n] or "reason " .. r.reason.text) end
function meaning.token() return "Token" end
function meaning.token_ack() return "Token arrived" end

-- 10. The body: frames, one after the other ---------------------------------------------------------------------------

local function add_frame(d, tree, buf, kind, at, value, came)
  local about = frames[kind]
  local item = tree:add(pf[about[1]], buf.tvb(at, 1 + value.len))
  item:add(pf["frame"], buf.tvb(at, 1)):append_text(": " .. purposes[about[1]])
  local fits = about[2] == came or (came == "S" and about[2] == "R" and about[1] ~= "page" and about[1] ~= "tip")
  if not fits then
    local must = ({ R = "readable", S = "sealed", C = "credential" })[about[2]]
    item:add_proto_expert_info(misplaced, string.format("A %s must travel %s", about[1], must))
    d.bad = d.bad or about[1] .. " must travel " .. must
  end
  local from = d.direction and (d.direction == C2S and CLIENT or SERVER)
  if from and about[3] ~= BOTH and about[3] ~= from then
    item:add_proto_expert_info(misplaced, string.format("A %s comes from the %s alone", about[1], about[3]))
  end
  d.inside = about[1]
  local record = add_record(d, item, buf, about[1], about[4], value)
  local words = record and meaning[about[1]](d, item, buf, record)
  d.inside = nil
  local name = label(about[1])
  if words then item:set_text(words:sub(1, #name) == name and words or name .. ": " .. words) end
  d.info[#d.info + 1] = words or label(about[1])
end

local function add_frames(d, tree, buf, at, stop, came)
  if at == stop then complain(d, tree, "a body without a frame") end
  while at < stop do
    local kind = buf.raw:byte(at + 1)
    local value, why
    if not frames[kind] then
      why = string.format("frame kind 0x%02x is not known", kind)
    else
      value, why = read_value(buf.raw, at + 1, stop, 0)
    end
    if not value then
      local name = frames[kind] and frames[kind][1] .. ": " or ""
      complain(d, tree:add(buf.tvb(at, stop - at), "Frame that cannot be read"), name .. why)
      return
    end
    add_frame(d, tree, buf, kind, at, value, came)
    at = at + 1 + value.len
  end
end

-- 11. The datagram ----------------------------------------------------------------------------------------------------

local function endpoint(address, port) return tostring(address) .. " " .. port end

-- Which way a datagram goes: by its type, by who is known to be a server, by the port.
local function find_direction(d, pinfo)
  local way = types[d.type] and types[d.type][2]
  if way then
    servers[way == C2S and d.dst or d.src] = true
    return way
  end
  if servers[d.dst] ~= servers[d.src] then return servers[d.dst] and C2S or S2C end
  if (pinfo.dst_port == PORT) ~= (pinfo.src_port == PORT) then return pinfo.dst_port == PORT and C2S or S2C end
end

-- A readable body says itself who sent it, by its first frame.
local function direction_by_frame(kind)
  local from = frames[kind] and frames[kind][3]
  return from == SERVER and S2C or from == CLIENT and C2S or nil
end

-- The status of a datagram's tag, its plaintext where it could be opened, and the direction its key is of.
local function open_datagram(d, sealed)
  if not keys.sessions[d.session] then look_again() end
  local header, body, tag = d.raw:sub(1, HEADER), d.raw:sub(HEADER + 1, -TAG - 1), d.raw:sub(-TAG)
  local name = d.number .. "/" .. header .. tag
  local known = opened[name]
  if known and known.generation == keys.generation then return known end
  known = { generation = keys.generation, status = 0 }
  opened[name] = known
  local nonce = "\0\0\0\0" .. header:sub(8)
  local ways = d.direction == S2C and { S2C, C2S } or { C2S, S2C }
  for _, pair in ipairs(keys.sessions[d.session] or {}) do
    for _, way in ipairs(ways) do
      local good
      if sealed then good = verifies(pair[way], nonce, header, body, tag)
      else good = verifies(pair[way], nonce, header .. body, "", tag) end
      if good then
        known.status, known.direction = 1, way
        known.plain = sealed and chacha_xor(pair[way], nonce, body) or nil
        return known
      end
      known.status = 2
    end
  end
  return known
end

local function add_tag(d, tree, known)
  local item = tree:add(pf["tag"], d.tvb(#d.raw - TAG, TAG))
  if not known then
    item:append_text(" (its key is never logged)")
    return
  end
  local words = { [0] = "not checked: no key", "tag verifies", "tag does not verify" }
  item:append_text(" (" .. words[known.status] .. ")")
  generated(tree, pf["tag.status"], known.status)
  if known.status == 2 then
    item:add_proto_expert_info(forged, "The tag does not verify under the session's key")
    d.bad = d.bad or "tag does not verify"
  end
end

local function sealed_bytes(d) return #d.raw - HEADER - TAG end

-- What follows the header, by type. Each gives the summary where the frames do not.
local bodies = {}

bodies[0x01] = function(d, tree)
  local item = tree:add(pf["padding"], d.tvb(HEADER, #d.raw - HEADER))
  item:set_text(plural(#d.raw - HEADER, "byte") .. " of padding: no answer to a stranger is larger than the question")
  if d.raw:sub(HEADER + 1):find("[^\0]") then complain(d, item, "the padding is not zero") end
  return "Hello"
end

local function add_cookie(d, tree, at)
  local item = tree:add(pf["retry.cookie"], d.tvb(at, COOKIE))
  item:add(pf["cookie.expiry"], d.tvb(at, 4)):append_text(" (as this server makes them)")
  item:add(pf["cookie.mac"], d.tvb(at + 4, COOKIE - 4))
end

bodies[0x02] = function(d, tree)
  local buf = { tvb = d.tvb, raw = d.raw }
  local value, why = read_value(d.raw, HEADER, #d.raw, 0)
  local branch = tree:add(d.tvb(HEADER, #d.raw - HEADER), "Retry: give the cookie back to go on")
  if not value or value.len ~= #d.raw - HEADER then
    complain(d, branch, "retry: " .. (why or "something follows it"))
    return "Retry"
  end
  local r = add_record(d, branch, buf, "retry", RETRY, value)
  if not r then return "Retry" end
  local cookie = branch:add(d.tvb(r.cookie.from, COOKIE), "The cookie as this server makes them")
  cookie:add(pf["cookie.expiry"], d.tvb(r.cookie.from, 4))
  cookie:add(pf["cookie.mac"], d.tvb(r.cookie.from + 4, COOKIE - 4))
  return "Retry (cookie), room " .. quote(r.name.raw)
end

local function add_noise(d, tree, at, number)
  local branch = tree:add(d.tvb(at, #d.raw - at), "Noise NK, message " .. number)
  branch:add(pf["noise.ephemeral"], d.tvb(at, 32))
  local size = #d.raw - at - 32 - TAG
  if size > 0 then
    branch:add(pf["noise.payload"], d.tvb(at + 32, size)):append_text(" (sealed, " .. plural(size, "byte") .. ")")
  end
  branch:add(pf["noise.tag"], d.tvb(#d.raw - TAG, TAG))
end

bodies[0x03] = function(d, tree)
  add_cookie(d, tree, HEADER)
  add_noise(d, tree, HEADER + COOKIE, 1)
  return "Initiate (cookie, sealed request)"
end

bodies[0x04] = function(d, tree)
  add_noise(d, tree, HEADER, 2)
  if d.session == 0 then return "Respond: refused (sealed)" end
  return string.format("Respond: session %08x (sealed answer)", d.session)
end

local function closed(word)
  return function(d, tree)
    local size = sealed_bytes(d)
    if size > 0 then
      local item = tree:add(pf["sealed"], d.tvb(HEADER, size))
      item:append_text(" (sealed, " .. plural(size, "byte") .. ")")
    end
    add_tag(d, tree)
    return string.format("%s (sealed, %s)", word, plural(size, "byte"))
  end
end

bodies[0x05] = closed("Confirm")
bodies[0x06] = closed("Outcome")
bodies[0x09] = closed("Credential")

local function set_direction(d, way)
  d.direction = way
  d.server = way == S2C and d.src or d.dst
end

bodies[0x07] = function(d, tree)
  local known = open_datagram(d, true)
  if known.direction then set_direction(d, known.direction) end
  local size = sealed_bytes(d)
  if size > 0 then
    tree:add(pf["sealed"], d.tvb(HEADER, size)):append_text(string.format(" (%s, %s)",
      known.plain and "opened with the key log" or "sealed", plural(size, "byte")))
  end
  add_tag(d, tree, known)
  if not known.plain then return string.format("Sealed, %s", plural(size, "byte")) end
  if #known.plain == 0 then
    complain(d, tree, "a body without a frame")
    return "Sealed, empty"
  end
  local buf = another_tvb(known.plain, "Opened datagram")
  d.opened = true
  add_frames(d, tree, buf, 0, #known.plain, "S")
end

bodies[0x08] = function(d, tree)
  local known = open_datagram(d, false)
  local way = known.direction or d.direction or direction_by_frame(d.raw:byte(HEADER + 1))
  if way then set_direction(d, way) end
  add_frames(d, tree, { tvb = d.tvb, raw = d.raw }, HEADER, #d.raw - TAG, "R")
  add_tag(d, tree, known)
end

bodies[0x0a] = function(d)
  return string.format("Hint: session %08x is not known here", d.session)
end

-- Marks a datagram that is, byte for byte, one sent before: meant so while coming in, else the network's doing.
local function same_datagram(d, item)
  if d.type == 0x0a then return end -- Hints for one session are all alike.
  local mark = d.type <= 0x06 and d.raw or d.raw:sub(1, HEADER) .. d.raw:sub(-TAG) -- The tag stands for the body.
  local known = first("same/" .. d.flow .. "/" .. mark, d.pinfo)
  if known.number >= d.number then return end
  if d.type <= 0x06 then
    generated(item, pf["retransmission_of"], known.number)
    item:add_proto_expert_info(resent, "Retransmission of frame " .. known.number)
    d.resent = true
  else
    generated(item, pf["duplicate_of"], known.number)
    item:add_proto_expert_info(doubled, "The same datagram as in frame " .. known.number .. ": the network doubled it")
    d.duplicate = true
  end
end

local function add_header(d, tree, about)
  tree:add(pf["version"], d.tvb(1, 1), d.raw:byte(2) % 16)
  tree:add(pf["type"], d.tvb(2, 1)):append_text(about and ": " .. about[5] or "")
  local session = tree:add(pf["session"], d.tvb(3, 4))
  local member = d.session ~= 0 and name_of(d.server, "session " .. d.session, d.number)
  if member then session:append_text(" (" .. visible(member) .. ")") end
  local counter = tree:add(pf[d.type <= 0x04 and "attempt" or "counter"], d.tvb(7, 8))
  if d.type <= 0x03 and d.session ~= 0 then complain(d, session, "a session before there is one") end
  if (d.type == 0x05 or d.type == 0x06 or d.type == 0x0a) and d.raw:sub(8, 15) ~= string.rep("\0", 8) then
    complain(d, counter, "the counter is not 0")
  end
end

local function dissect(d, tree, pinfo)
  local about = types[d.type]
  d.direction = find_direction(d, pinfo)
  set_direction(d, d.direction)
  same_datagram(d, tree)
  add_header(d, tree, about)
  local size = #d.raw - HEADER
  if d.tvb:reported_len() > #d.raw then
    tree:add(d.tvb(HEADER, size), "The capture holds only the first " .. #d.raw .. " bytes of this datagram")
    return about and label(about[1]) .. " (not captured whole)"
  end
  if not about then
    complain(d, tree, (type_names[d.type] or string.format("type 0x%02x", d.type)) .. " is not in use")
    return "Unknown type"
  end
  if size < about[3] or size > about[4] then
    complain(d, tree, string.format("%s after the header; %s has %d to %d", plural(size, "byte"), about[1], about[3],
      about[4]))
    return label(about[1])
  end
  return bodies[d.type](d, tree)
end

local function summary(d, words)
  if words then table.insert(d.info, 1, words) end
  local text = shorten(table.concat(d.info, "; "), MAX_INFO)
  if d.opened then text = "(opened) " .. text end
  if d.bad then text = "[Bad: " .. d.bad .. "] " .. text end
  if d.resent then text = "[Retransmission] " .. text end
  if d.duplicate then text = "[Duplicate] " .. text end
  return text
end

function preau.dissector(tvb, pinfo, tree)
  local size = tvb:len()
  if size < HEADER then return 0 end
  local raw = tvb:raw(0, size)
  if raw:byte(1) ~= 0xd5 or math.floor(raw:byte(2) / 16) ~= 0xe then return 0 end
  pinfo.cols.protocol = "Préau"
  local item = tree:add(preau, tvb(0, size))
  if raw:byte(2) % 16 ~= 1 then
    item:add(pf["version"], tvb(1, 1), raw:byte(2) % 16)
    item:add_proto_expert_info(malformed, "another version of the protocol")
    pinfo.cols.info = "Another version"
    return size
  end
  local src, dst = endpoint(pinfo.src, pinfo.src_port), endpoint(pinfo.dst, pinfo.dst_port)
  local d = {
    pinfo = pinfo, tvb = tvb, raw = raw, type = raw:byte(3), session = big_endian(raw, 3, 4), src = src, dst = dst,
    flow = src .. ">" .. dst, back = dst .. ">" .. src, number = pinfo.number, info = {},
  }
  -- Whatever is in a capture, it must stay readable: our own mistake is shown as such, where it is.
  local fine, words = pcall(dissect, d, item, pinfo)
  if not fine then
    item:add_proto_expert_info(fault, "The dissector failed: " .. tostring(words))
    words = "The dissector failed"
  end
  if keys.problem then item:add_proto_expert_info(unread, keys.problem) end
  local text = summary(d, words)
  pinfo.cols.info = text
  item:set_text("Préau: " .. text)
  if d.direction then generated(item, pf["direction"], d.direction) end
  return size
end

-- 12. Which datagrams are ours ----------------------------------------------------------------------------------------

-- On any port: magic, version, a type in use, the length and the fixed zeros of the type.
local function ours(tvb)
  local size = tvb:len()
  if size < HEADER or tvb:reported_len() > DATAGRAM or tvb(0, 2):uint() ~= 0xd5e1 then return false end
  local kind = tvb(2, 1):uint()
  local about = types[kind]
  local body = tvb:reported_len() - HEADER
  if not about or body < about[3] or body > about[4] then return false end
  if kind <= 0x03 and tvb(3, 4):uint() ~= 0 then return false end
  local zero = kind == 0x05 or kind == 0x06 or kind == 0x0a
  return not (zero and (tvb(7, 4):uint() ~= 0 or tvb(11, 4):uint() ~= 0))
end

preau:register_heuristic("udp", function(tvb, pinfo, tree)
  if not ours(tvb) then return false end
  preau.dissector(tvb, pinfo, tree)
  pinfo.conversation = preau
  return true
end)

DissectorTable.get("udp.port"):add(PORT, preau)

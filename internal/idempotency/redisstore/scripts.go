package redisstore

import (
	"github.com/redis/go-redis/v9"
)

// seesSource is how a script begins that must notice a server which may have lost its latest writes: identity is that of
// the data that it serves, Unseen where INFO is hidden; note keeps it at a bucket's data key, with when that was. "of"
// tells whether what stands at such a key is of an identity.
const seesSource = `
local function identity()
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or '` + unseen + `'
end
local function of(noted, id)
  return noted and string.sub(noted, 1, #id + 1) == id .. '|'
end
local function note(key, id, lifetime)
  local t = redis.call('TIME')
  local noted = id .. '|' .. string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
  redis.call('SET', key, noted, 'PX', lifetime)
  return noted
end
`

// unseen is the identity of data that cannot be told from other data.
const unseen = "-"

// swapSource writes a record if its bucket and the write before still stand as given. The bucket's epochs live on with it: they
// must not end while records stand, nor outlive them for ever, since a record that is gone while its epoch stands looks as
// if it had never been. They are renewed only when they lost a sixteenth of their lifetime, so that most writes cost a look.
//
// KEYS[1] -> epoch key of the bucket
// KEYS[2] -> record key
// KEYS[3] -> data key of the bucket
// KEYS[4] -> count key of the bucket
// ARGV[1] -> epoch that the caller holds, "<id>|<lost>"
// ARGV[2] -> what it holds of the data, "<identity>|<back>"
// ARGV[3] -> how the standing record must begin, "<version>|<token>|"; "" if none may stand
// ARGV[4] -> how the record to write begins, "<version>|<token>|"
// ARGV[5] -> its value
// ARGV[6] -> its lifetime and the epochs', in milliseconds
// ARGV[7] -> the highest count that the caller met
//
// Returns 0 if it wrote; else what stands: {epoch or nil, record or nil, data or nil}, and wrote nothing.
const swapSource = matchSource + writeSource + `return 0`

// intentSource is swapSource for a caller that acts on the write: it writes only if the server serves the data that the
// bucket was last known to live on. Where their identity is hidden it counts such writes, and a count below the one that
// the caller met is of an older state.
//
// Returns the count, 0 where there is none, if it wrote; else what stands, and wrote nothing but perhaps that of the data.
const intentSource = seesSource + matchSource + `
local id, count = identity(), 0
if id == '` + unseen + `' then
  count = tonumber(redis.call('GET', KEYS[4]) or '0') + 1
end
if not of(stands[3], id) or count > 0 and count <= tonumber(ARGV[7]) then
  stands[3] = note(KEYS[3], id, ARGV[6])
  if count > 0 then
    redis.call('SET', KEYS[4], ARGV[7], 'PX', ARGV[6])
  end
  return stands
end
if count > 0 then
  redis.call('SET', KEYS[4], count, 'PX', ARGV[6])
end` + writeSource + `return count`

// matchSource ends a script where something else stands than its caller holds.
const matchSource = `
local stands = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local record, begin = stands[2], ARGV[3]
local same
if begin == '' then
  same = not record
else
  same = record and string.sub(record, 1, #begin) == begin
end
if not same or stands[1] ~= ARGV[1] or stands[3] ~= ARGV[2] then
  return stands
end
`

const writeSource = `
redis.call('SET', KEYS[2], ARGV[4] .. ARGV[5], 'PX', ARGV[6])
if redis.call('PTTL', KEYS[1]) < ARGV[6] * 15 / 16 then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
`

// epochSource replaces a bucket's epoch if it still stands as given; replaced by itself, it is renewed. It notes the data
// that the server serves now if it is not what is noted, and else replaces the note if it still stands as given. The first
// epoch of a fresh system is of data that lost nothing.
//
// KEYS[1] -> epoch key of the bucket
// KEYS[2] -> data key of the bucket
// KEYS[3] -> count key of the bucket
// ARGV[1] -> the epoch to replace; "" if none may stand
// ARGV[2] -> the epoch to write
// ARGV[3] -> its lifetime in milliseconds
// ARGV[4] -> the note to replace
// ARGV[5] -> the note to write; "" to leave it as it is
//
// Returns what stands then, {epoch, data}: the epoch is ARGV[2] if it wrote or if the same stood there, another one if
// not, "" if none.
const epochSource = seesSource + `
local stands = redis.call('GET', KEYS[1]) or ''
local noted = redis.call('GET', KEYS[2])
local fresh = stands == '' and not noted and string.sub(ARGV[2], -2) == '|0'
if stands == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
  stands = ARGV[2]
end
local id = identity()
if fresh then
  noted = id .. '|0'
  redis.call('SET', KEYS[2], noted, 'PX', ARGV[3])
elseif not of(noted, id) then
  noted = note(KEYS[2], id, ARGV[3])
elseif noted == ARGV[4] and of(ARGV[5], id) then
  noted = ARGV[5]
  redis.call('SET', KEYS[2], noted, 'PX', ARGV[3])
end
return {stands, noted}
`

// script is a Lua script as servers know it: by its digest once they have seen it, by its source until then.
type script struct {
	source string
	digest string
}

func newScript(source string) script {
	return script{source: source, digest: redis.NewScript(source).Hash()}
}

// call is one command to send: a script over keys of one slot, or a plain command whose name comes first in args.
type call struct {
	script *script
	keys   []string
	args   []any
	// write asks for the replicas' word.
	write bool
}

// words is the command as it is sent; whole sends a script by its source.
func (c call) words(whole bool) []any {
	if c.script == nil {
		words := append(make([]any, 0, 4), c.args[0])
		for _, key := range c.keys {
			words = append(words, key)
		}
		return append(words, c.args[1:]...)
	}
	words := make([]any, 0, 3+len(c.keys)+len(c.args))
	if whole {
		words = append(words, "eval", c.script.source)
	} else {
		words = append(words, "evalsha", c.script.digest)
	}
	words = append(words, len(c.keys))
	for _, key := range c.keys {
		words = append(words, key)
	}
	return append(words, c.args...)
}

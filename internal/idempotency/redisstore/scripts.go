package redisstore

import (
	"github.com/redis/go-redis/v9"
)

// swapSource writes a record if its bucket and its version still stand as given. The bucket's epoch lives on with it: it
// must not end while records stand, nor outlive them for ever, since a record that is gone while its epoch stands looks
// as if it had never been. It is renewed only when it lost a sixteenth of its lifetime, so that most writes cost a look.
//
// KEYS[1] -> epoch key of the bucket
// KEYS[2] -> record key
// ARGV[1] -> epoch that the caller holds, "<id>|<lost>"
// ARGV[2] -> how the standing record must begin, "<version>|"; "" if none may stand
// ARGV[3] -> how the record to write begins, "<version>|<token>|"
// ARGV[4] -> its value
// ARGV[5] -> its lifetime and the epoch's, in milliseconds
//
// Returns 1 if it wrote; else what stands: {epoch or nil, record or nil}, and wrote nothing.
const swapSource = `
local stands = redis.call('MGET', KEYS[1], KEYS[2])
local record, begin = stands[2], ARGV[2]
local same
if begin == '' then
  same = not record
else
  same = record and string.sub(record, 1, #begin) == begin
end
if same and stands[1] == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[3] .. ARGV[4], 'PX', ARGV[5])
  if redis.call('PTTL', KEYS[1]) < ARGV[5] * 15 / 16 then
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
  end
  return 1
end
return stands
`

// epochSource replaces a bucket's epoch if it still stands as given; replaced by itself, it is renewed.
//
// KEYS[1] -> epoch key of the bucket
// ARGV[1] -> the epoch to replace; "" if none may stand
// ARGV[2] -> the epoch to write
// ARGV[3] -> its lifetime in milliseconds
//
// Returns the epoch that stands then: ARGV[2] if it wrote or if the same stood there, another one if not, "" if none.
const epochSource = `
local stands = redis.call('GET', KEYS[1]) or ''
if stands == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return ARGV[2]
end
return stands
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

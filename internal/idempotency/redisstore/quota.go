package redisstore

import (
	"context"
	"fmt"
	"time"
)

// quotaSource lets calls through at a steady rate with a burst (the generic cell rate algorithm): what is kept is the
// time at which the next call fits the rate. The server's clock counts, since all processes share it.
//
// KEYS[1] -> the quota's key
// ARGV[1] -> microseconds between calls at the rate
// ARGV[2] -> microseconds by which calls may come early, the burst
// ARGV[3] -> the longest wait in microseconds for which a call is still taken
//
// Returns the microseconds to wait. Above ARGV[3] nothing was taken.
const quotaSource = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local due = tonumber(redis.call('GET', KEYS[1]) or '0')
if due < now then due = now end
local wait = due - tonumber(ARGV[2]) - now
if wait < 0 then wait = 0 end
if wait <= tonumber(ARGV[3]) then
  local next = due + tonumber(ARGV[1])
  redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', string.format('%.0f', (next - now) / 1000 + 1000))
end
return wait
`

// Quota is a rate that all processes with the same Redis and prefix share; it costs a call one round trip.
type Quota struct {
	store  *Store
	script script
	every  time.Duration
	burst  time.Duration
}

// NewQuota returns a quota of so many calls a second, with so many at once.
func NewQuota(store *Store, rate float64, burst int) (*Quota, error) {
	if rate <= 0 || burst < 1 {
		return nil, fmt.Errorf("quota: rate %v must be above 0 and burst %d at least 1", rate, burst)
	}
	every := time.Duration(float64(time.Second) / rate)
	return &Quota{store: store, script: newScript(quotaSource), every: every, burst: every * time.Duration(burst-1)}, nil
}

// Take asks for one call under a name. It returns how long the caller must wait before making it; above most nothing was
// taken. Its only error is [idempotency.ErrUnavailable].
func (q *Quota) Take(ctx context.Context, name string, most time.Duration) (time.Duration, error) {
	a, err := q.store.do(ctx, call{
		script: &q.script, keys: []string{q.store.config.Prefix + ":{quota:" + name + "}"},
		args: []any{q.every.Microseconds(), q.burst.Microseconds(), most.Microseconds()},
	})
	if err != nil {
		return 0, unavailable("taking from the quota "+name, err)
	}
	wait, ok := a.value.(int64)
	if !ok {
		return 0, unavailable("taking from the quota "+name, errReply)
	}
	return time.Duration(wait) * time.Microsecond, nil
}

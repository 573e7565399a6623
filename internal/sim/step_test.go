package sim

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
)

// The store steps back as real ones do: a server starts again with an older state, or a replica that lagged is promoted.
// All its records are then as they were at an earlier moment, and its data have another identity. Unlike what goes back
// without a word (store_test.go) that may befall any order at any time, also when every process dies with it.

// steps takes the store back, and perhaps some of these processes with it, or all.
func (w *world) steps(living []*process) bool {
	w.mu.Lock()
	all := slices.Clone(w.snapshots)
	w.mu.Unlock()
	if len(all) == 0 || !w.scenario.mayStep() {
		return false
	}
	w.faults.left--
	i, die := w.rng.IntN(len(all)), w.rng.IntN(3)
	if w.rng.IntN(2) == 0 { // not far
		i = len(all) - 1 - w.rng.IntN(min(len(all), 6))
	}
	to := all[i]
	w.mu.Lock()
	w.snapshots = all[:i+1] // a past that was left does not come back
	w.mu.Unlock()
	for _, p := range living {
		if die == 2 || die == 1 && w.rng.IntN(2) == 0 {
			w.kill(p)
		}
	}
	w.stats.events["step back"]++
	w.say("The store starts again from an EARLIER STATE")
	keys := w.records.Snapshot().Keys()
	w.records.Restart(to)
	held := memstore.New(w.records, memstore.Config{})
	now := map[string][]byte{}
	for _, key := range slices.Concat(keys, to.Keys()) {
		record, err := held.Load(w.quiet(), key)
		must(err)
		now[key] = record.Value
	}
	if lost := w.watch.stepped(now); len(lost) > 0 {
		w.ordersAgain(lost[w.rng.IntN(len(lost))])
	}
	return true
}

// ordersAgain has a sender order again what is lost, as the same request or as another, while the vendor's query may not
// show yet what was charged.
func (w *world) ordersAgain(m message) {
	m.key, m.skew = "", 0
	if w.rng.IntN(2) == 0 {
		m.value = bytes.ReplaceAll(m.value, []byte(strconv.Quote(m.request)), []byte(strconv.Quote(m.request+"-again")))
		m.request += "-again"
	}
	w.later(between(w.rng, 2*tolerance(), queryLag), "write "+m.request+" again", func() { w.again(m) })
}

// mayStep reports whether a step is one that is promised to be survived: no producer's clock is further ahead than own
// ones may be, and records do not expire.
func (s *scenario) mayStep() bool {
	if s.lifetime != longLived {
		return false
	}
	for _, m := range s.messages {
		if m.skew > tolerance() {
			return false
		}
	}
	return true
}

// setClocks keeps the producers' clocks from being ahead further than own ones may be.
func (s *scenario) setClocks() {
	for i := range s.messages {
		s.messages[i].skew = min(s.messages[i].skew, tolerance())
	}
}

// stepped takes note of what stands on record since the store stepped back. It returns the orders of money of which nothing
// stands any more.
func (w *watch) stepped(now map[string][]byte) (lost []message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.firstWipe.IsZero() {
		w.firstWipe = time.Now()
	}
	w.lastWipe = time.Now()
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if bytes.Equal(now[key], w.records[key]) {
			continue
		}
		w.steps[key]++
		w.rewinds[key] = true
		delete(w.moves, key)
		if w.records[key] = now[key]; now[key] == nil {
			delete(w.records, key)
			delete(w.written, key)
			for _, m := range w.messages {
				if m.topic == commandTopic && m.valid && operation.Key(w.scenario.specs[0], commands.OperationKey(m.order)) == key {
					lost = append(lost, m)
				}
			}
		}
	}
	return lost
}

// stepMutations are the mistakes around a store that steps back.
func stepMutations() []mutation {
	blind := func(b stepless) func(*world, idempotency.Store) idempotency.Store {
		return func(_ *world, s idempotency.Store) idempotency.Store {
			b.Store = s
			return b
		}
	}
	return []mutation{
		{
			name: "a step back is not seen", danger: "what was sent in the part that is lost is sent again",
			store: blind(stepless{absent: true, standing: true}),
		},
		{
			name: "a step back is seen by new orders only", danger: "a record that stands may be older than what was sent",
			store: blind(stepless{standing: true}),
		},
		{
			name: "a step back is seen by known orders only", danger: "an order whose record is gone is taken for a new one",
			store: blind(stepless{absent: true}),
		},
	}
}

// stepless is a store that does not tell of a step back: of records that are absent, or that stand.
type stepless struct {
	idempotency.Store
	absent, standing bool
}

func (s stepless) hide(r idempotency.Record) idempotency.Record {
	if r.Version == 0 && s.absent || r.Version > 0 && s.standing {
		r.Back = time.Time{}
	}
	return r
}

func (s stepless) Expect(key string) idempotency.Record { return s.hide(s.Store.Expect(key)) }

func (s stepless) Load(ctx context.Context, key string) (idempotency.Record, error) {
	r, err := s.Store.Load(ctx, key)
	return s.hide(r), err
}

func (s stepless) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	r, err := s.Store.Swap(ctx, was, value)
	if conflict, ok := errors.AsType[*idempotency.Conflict](err); ok {
		return r, &idempotency.Conflict{Standing: s.hide(conflict.Standing)}
	}
	return r, err
}

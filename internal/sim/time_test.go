package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"paydispatch/internal/stream"
)

// What the times of messages are, and what happens when records have come to their end.

// margin is how far a producer's clock may be off.
const margin = 30 * time.Second

// A record lives for longLived, longer than any run; where an old topic is played again it lives for shortLived, longer
// than any operation takes.
const (
	longLived  = 24 * time.Hour
	shortLived = 9 * time.Minute
)

// clocks sets what the producers' clocks say of the messages.
func (s *scenario) clocks(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		return
	}
	for i := range s.messages {
		s.messages[i].skew = between(rng, -margin+time.Second, margin-time.Second)
	}
}

// replays plays some messages again, with the times that they had, before and after the records of them have ended.
func (s *scenario) replays(rng *rand.Rand) {
	s.lifetime = longLived
	if rng.IntN(8) > 0 {
		return
	}
	s.lifetime = shortLived
	for range 1 + rng.IntN(3) {
		m := s.messages[rng.IntN(len(s.messages))]
		if m.replayed {
			continue
		}
		again := m
		again.at = between(rng, shortLived, shortLived+deadline+3*time.Minute)
		again.skew, again.replayed = m.skew-(again.at-m.at), true
		s.messages = append(s.messages, again)
	}
}

// stamp notes the time that the producer of a message wrote beside it.
func (w *world) stamp(m message, partition int, offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stamps[fmt.Sprintf("%s/%d@%d", m.topic, partition, offset)] = time.UnixMilli(time.Now().Add(m.skew).UnixMilli())
}

// stamped is a message with its producer's time.
func (w *world) stamped(m stream.Message) stream.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.stamps[place(m)]; ok {
		m.Time = at
	}
	return m
}

// standing returns what the store holds at a key, nil when nothing; it needs the lock.
func (w *watch) standing(key string) []byte {
	at, ok := w.written[key]
	if ok && time.Since(at) >= w.scenario.lifetime {
		w.expired[key]++
		delete(w.written, key)
		delete(w.records, key)
		delete(w.moves, key)
	}
	return w.records[key]
}

// era counts how often the store lost a record, or what was written of it last.
func (w *watch) era(key string) int { return w.wipes + w.expired[key] + w.steps[key] }

// forgetful reports whether the store ever lost anything, and could know.
func (w *watch) forgetful() bool { return w.wipes > 0 || len(w.expired) > 0 || len(w.steps) > 0 }

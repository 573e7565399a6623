package sim

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
)

// What befalls the record store beside being wiped: it goes back in time, and its replicas are away.

// maxSnapshots bounds how far back the store may go.
const maxSnapshots = 32

// remember keeps what the store holds now, for it to go back to.
func (w *world) snapshot() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.snapshots) == maxSnapshots {
		w.snapshots = w.snapshots[1:]
	}
	w.snapshots = append(w.snapshots, w.records.Snapshot())
}

// rewind takes the records of some orders back to an earlier moment, epochs kept, so that nothing tells. It strikes orders
// that are in hand all the same: a parked copy that is not committed knows of every submission, and no command of the order
// is still to be handled, since a message without any memory cannot know what the store lost.
func (w *world) rewind() bool {
	w.mu.Lock()
	all := slices.Clone(w.snapshots)
	w.mu.Unlock()
	var keys []string
	for _, no := range w.orderNos() {
		if key := recordOf(no); w.alone(no, 1) && w.watch.outweighed(key, no) {
			keys = append(keys, key)
		}
	}
	if len(all) == 0 || len(keys) == 0 {
		return false
	}
	if w.rng.IntN(2) == 0 {
		keys = keys[:1]
	}
	to := all[w.rng.IntN(len(all))]
	w.stats.events["rewind"]++
	w.say("The store goes BACK in time: %s", strings.Join(keys, ", "))
	w.back(to, keys)
	return true
}

// back takes records back to a snapshot.
func (w *world) back(to memstore.Snapshot, keys []string) {
	w.records.Rewind(to, func(key string, _ int) bool { return slices.Contains(keys, key) })
	held := memstore.New(w.records, memstore.Config{})
	for _, key := range keys {
		record, err := held.Load(w.quiet(), key)
		must(err)
		w.watch.rewound(key, record.Value)
	}
}

// outweighed reports whether a copy waits, and each that does knows all that the record of an order says of submissions.
func (w *watch) outweighed(key, orderNo string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.messages {
		if m.order == orderNo && m.topic == commandTopic && !w.handled(m) {
			return false
		}
	}
	record, err := commands.DecodeState(w.records[key])
	if err != nil || record.Phase == commands.Sending || record.Phase == commands.Unresolved || record.Phase.Final() {
		return false
	}
	waits := false
	for topic, all := range w.parked {
		for _, c := range all[min(w.offsets[topic][0], int64(len(all))):] {
			encoded, _ := c.Header(operation.HeaderState)
			copied, err := commands.DecodeState(encoded)
			if err != nil || operation.Key(w.scenario.specs[0], copied.Key) != key || copied.Topic != commandTopic {
				continue
			}
			if copied.Sends < record.Sends || copied.SentAt.Before(record.SentAt) {
				return false // it may be taken up first
			}
			waits = true
		}
	}
	return waits
}

// handled reports whether all that was written of a message is committed, and nothing of it is to be written.
func (w *watch) handled(m message) bool {
	if time.Since(w.started) <= m.at {
		return false
	}
	for _, c := range w.commands[m.topic] {
		if bytes.Equal(c.Value, m.value) && w.offsets[m.topic][c.Partition] <= c.Offset {
			return false
		}
	}
	return true
}

// rewound takes note of what stands on record after the store went back.
func (w *watch) rewound(key string, value []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rewinds[key] = true
	if value == nil {
		delete(w.records, key)
		return
	}
	w.records[key] = value
}

// loseReplicas keeps writes from being acknowledged for a while. They land all the same.
func (w *world) loseReplicas() {
	w.stats.events["replicas away"]++
	w.say("The replicas are AWAY")
	w.records.Replicas(false)
	w.later(between(w.rng, time.Second, 40*time.Second), "the replicas are back", func() { w.records.Replicas(true) })
}

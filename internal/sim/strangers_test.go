package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/memstream"
)

// What a stranger writes who may write to our topics and has read them.

// strange is what a stranger writes: the value of a command, under headers that claim to be ours.
type strange struct {
	at   time.Duration
	of   int // the message whose value it has
	kind int
}

const kindsOfStrange = 4

func (s *scenario) strangers(rng *rand.Rand) {
	if rng.IntN(4) > 0 {
		return
	}
	for range 1 + rng.IntN(3) {
		s.strange = append(s.strange, strange{at(rng) + at(rng), rng.IntN(len(s.messages)), rng.IntN(kindsOfStrange)})
	}
}

// strangers puts on the agenda what strangers write.
func (w *world) intrude() {
	for i, x := range w.scenario.strange {
		m := w.scenario.messages[x.of]
		if !m.valid {
			continue
		}
		w.later(x.at, fmt.Sprintf("a stranger writes #%d as kind %d for %s", i+1, x.kind, m.order), func() { w.strange(m, x.kind) })
	}
}

// strange writes a message with headers of a parked copy that this service did not write: a verdict to a command topic, a
// due time far away, the seal of another copy, and a verdict to a delay topic.
func (w *world) strange(m message, kind int) {
	spec := w.scenario.specs[slices.IndexFunc(w.scenario.specs, func(s commands.Spec) bool { return s.Topic == m.topic })]
	due := stream.Header{Key: operation.HeaderDue, Value: strconv.AppendInt(nil, time.Now().Add(1000*time.Hour).UnixMilli(), 10)}
	mac := stream.Header{Key: operation.HeaderMAC, Value: []byte("MDEyMzQ1Njc4OWFiY2RlZg")}
	verdict := stream.Header{Key: operation.HeaderState, Value: w.claimed(spec, m)}
	topic := operation.DelayTopic(m.topic, w.scenario.pace.tiers[0])
	var headers []stream.Header
	switch kind {
	case 0:
		topic, headers = m.topic, []stream.Header{verdict}
	case 1:
		topic, headers = m.topic, []stream.Header{due}
	case 2:
		headers = []stream.Header{verdict, due, mac}
		if overheard, ok := w.overheard(m.topic); ok {
			headers = overheard
			headers[0] = verdict
		}
	case 3:
		headers = []stream.Header{due, mac, verdict}
	}
	out := stream.Message{Topic: topic, Key: []byte(m.key), Value: m.value, Headers: headers}
	must(w.broker.Publisher(memstream.Gates{}).Publish(context.Background(), out))
	w.watch.intruded(w.broker.Messages(topic), topic)
}

// claimed is a state that says that the operation has succeeded.
func (w *world) claimed(spec commands.Spec, m message) []byte {
	key := commands.OperationKey(m.order)
	s := commands.State{
		Schema: 1, Phase: commands.Settled, Verdict: commands.StatusSucceeded, Topic: m.topic, Key: key, RequestID: commands.RequestID(m.request),
		Fingerprint: "guessed", FirstSeen: time.Now(), Result: &commands.Result{
			ID: spec.VerdictID(key, commands.StatusSucceeded), Type: spec.Type + ".succeeded.v1", Source: spec.Source,
			Subject: m.order, Time: time.Now(), Data: []byte(`{"amount":"999999.00"}`),
		},
	}
	value, err := s.Encode()
	must(err)
	return value
}

// overheard are our headers of a copy that waits for another operation of a topic.
func (w *world) overheard(topic string) ([]stream.Header, bool) {
	for _, name := range operation.DelayTopics(topic, w.scenario.pace.tiers) {
		for _, m := range w.broker.Messages(name) {
			if _, ok := m.Header(operation.HeaderMAC); ok {
				return slices.Clone(m.Headers), true
			}
		}
	}
	return nil, false
}

// intruded notes the last message of a topic as a stranger's.
func (w *watch) intruded(all []stream.Message, topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.commands[topic] != nil || w.isCommand(topic) {
		known := map[string]bool{}
		for _, m := range w.commands[topic] {
			known[place(m)] = true
		}
		for _, m := range all {
			if !known[place(m)] {
				w.strange[place(m)] = true
			}
		}
		w.commands[topic] = all
		return
	}
	m := all[len(all)-1]
	w.parked[topic] = append(w.parked[topic], m)
	w.strange[place(m)] = true
}

func (w *watch) isCommand(topic string) bool {
	return slices.ContainsFunc(w.scenario.specs, func(s commands.Spec) bool { return s.Topic == topic })
}

// fooled checks the dead letter of a message that a stranger wrote.
func (w *watch) fooled(origin string) bool {
	for at := range w.strange {
		if dead(at) == origin {
			return true
		}
	}
	return false
}

// dead writes a place as a dead letter names it.
func dead(at string) string {
	b := []byte(at)
	for i, c := range b {
		if c == '@' {
			b[i] = '/'
		}
	}
	return string(b)
}

package operation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
)

// Headers of our own messages.
const (
	// HeaderState carries the encoded commands.State of a parked message.
	HeaderState = "pd-state"
	// HeaderTopic carries the command topic of a parked message.
	HeaderTopic = "pd-topic"
	// HeaderWritten carries when the command of a parked message was written to its topic, in Unix milliseconds.
	HeaderWritten = "pd-written"
)

// DelayTopic is where operations of a command topic wait for one tier, such as "withhold.request.delay.5s".
func DelayTopic(topic string, tier time.Duration) string {
	name := tier.String()
	for _, zero := range []string{"m0s", "h0m"} { // 5m0s reads 5m, 1h0m0s reads 1h
		if strings.HasSuffix(name, zero) {
			name = name[:len(name)-2]
		}
	}
	return topic + ".delay." + name
}

// DelayTopics lists the delay topics of a command topic.
func DelayTopics(topic string, tiers []time.Duration) []string {
	names := make([]string, len(tiers))
	for i, t := range tiers {
		names[i] = DelayTopic(topic, t)
	}
	return names
}

// Parked returns the copy of a command message that waits in a delay topic: the same key, value and headers, and what
// has been done so far, so that it can be finished even if the store forgets everything.
func Parked(m stream.Message, s *commands.State, tiers []time.Duration, act commands.Action) (stream.Message, error) {
	state, err := s.Encode()
	if err != nil {
		return stream.Message{}, fmt.Errorf("encode the state of %s: %w", s.Key, err)
	}
	own := []string{HeaderState, HeaderTopic, stream.HeaderDue, HeaderWritten}
	headers := slices.DeleteFunc(slices.Clone(m.Headers), func(h stream.Header) bool { return slices.Contains(own, h.Key) })
	headers = append(headers,
		stream.Header{Key: HeaderState, Value: state},
		stream.Header{Key: HeaderTopic, Value: []byte(s.Topic)},
		stream.Header{Key: stream.HeaderDue, Value: strconv.AppendInt(nil, dueMillis(act.Until), 10)},
	)
	if at := Written(m); !at.IsZero() {
		headers = append(headers, stream.Header{Key: HeaderWritten, Value: strconv.AppendInt(nil, at.UnixMilli(), 10)})
	}
	return stream.Message{Topic: DelayTopic(s.Topic, tiers[act.Tier]), Key: m.Key, Value: m.Value, Headers: headers}, nil
}

// Written is when a command was written to its topic, also that of a parked copy; zero when the message does not tell.
func Written(m stream.Message) time.Time {
	if text, ok := m.Header(HeaderWritten); ok {
		if millis, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return time.UnixMilli(millis)
		}
	}
	return m.Time
}

// dueMillis rounds up, so that a copy never comes due before the moment that its state names.
func dueMillis(t time.Time) int64 { return t.Add(time.Millisecond - time.Nanosecond).UnixMilli() }

// Event returns the message of a result in CloudEvents binary mode (the Kafka protocol binding of CloudEvents 1.0).
func Event(r commands.Result, topic, trace string) stream.Message {
	headers := []stream.Header{
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: []byte(r.ID)},
		{Key: "ce_type", Value: []byte(r.Type)},
		{Key: "ce_source", Value: []byte(r.Source)},
		{Key: "ce_subject", Value: []byte(r.Subject)},
		{Key: "ce_time", Value: []byte(r.Time.UTC().Format(time.RFC3339Nano))},
		{Key: "content-type", Value: []byte("application/json")},
	}
	if trace != "" {
		headers = append(headers, stream.Header{Key: HeaderTrace, Value: []byte(trace)})
	}
	return stream.Message{Topic: topic, Key: []byte(r.Subject), Value: r.Data, Headers: headers}
}

package operation

import (
	"fmt"
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
	// HeaderDue carries when a parked message may be handled, in Unix milliseconds.
	HeaderDue = "pd-due"
	// HeaderWritten carries when the command of a parked message was written to its topic, in Unix milliseconds.
	HeaderWritten = "pd-written"
	// HeaderMAC carries the seal of a parked message. It comes after the headers that it covers.
	HeaderMAC = "pd-mac"
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

// Parked returns the copy of a job's message that waits in a delay topic: the same key, value and headers, and what has
// been done so far, so that it can be finished even if the store forgets everything. It is sealed under the newest key.
func (d *Driver) Parked(job *Job, s *commands.State, act commands.Action) (stream.Message, error) {
	state, err := s.Encode()
	if err != nil {
		return stream.Message{}, fmt.Errorf("encode the state of %s: %w", s.Key, err)
	}
	m := stream.Message{
		Topic: DelayTopic(d.Policy.Spec.Topic, d.Policy.Tiers[act.Tier]), Key: job.Message.Key, Value: job.Message.Value,
		Headers: append(Strip(job.Message.Headers),
			stream.Header{Key: HeaderState, Value: state},
			stream.Header{Key: HeaderTopic, Value: []byte(d.Policy.Spec.Topic)},
			stream.Header{Key: HeaderDue, Value: strconv.AppendInt(nil, dueMillis(act.Until), 10)},
		),
	}
	if !job.Written.IsZero() {
		written := strconv.AppendInt(nil, job.Written.UnixMilli(), 10)
		m.Headers = append(m.Headers, stream.Header{Key: HeaderWritten, Value: written})
	}
	return d.seal(m)
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

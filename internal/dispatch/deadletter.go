package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// Headers of a dead letter, beside the original ones.
const (
	HeaderReason    = "pd-reason"     // stable word, such as "invalid"
	HeaderError     = "pd-error"      // for a person; no personal data
	HeaderOrigin    = "pd-origin"     // topic/partition/offset
	HeaderFirstSeen = "pd-first-seen" // RFC 3339, when the message was written to its topic
	HeaderBuriedAt  = "pd-buried-at"  // RFC 3339
	// HeaderTruncated says that the value was too large for the dead-letter topic: its size and SHA-256; the whole
	// message still stands at its origin for as long as that topic keeps it.
	HeaderTruncated = "pd-truncated"
)

// keptOfTooLarge is how much of a value is kept when the whole does not fit the dead-letter topic.
const keptOfTooLarge = 64 << 10

// reject publishes a rejected result and the dead letter of a message that must not be executed.
func (t *task) reject(ctx context.Context, r commands.Rejection) error {
	r.Origin = origin(t.job.Message)
	result := t.spec.Rejected(r, time.Now())
	event := t.job.Trace.Carry(operation.Event(*result, t.spec.ResultTopic, ""))
	if result.Subject == "" {
		event.Key = t.job.Message.Key
	}
	if err := t.Publisher.Publish(ctx, event); err != nil {
		return fmt.Errorf("publish the rejection of %s: %w", r.Origin, err)
	}
	if t.Observe.Rejected != nil {
		t.Observe.Rejected(t.spec.Topic)
	}
	return t.bury(ctx, r.Reason, r.Detail)
}

// bury publishes the message to the dead-letter topic with its reason.
func (t *task) bury(ctx context.Context, reason, detail string) error {
	letter := stream.Message{Topic: t.spec.DeadLetterTopic(), Key: t.job.Message.Key, Value: t.job.Message.Value}
	letter.Headers = append(letter.Headers, t.job.Message.Headers...)
	for _, h := range [][2]string{
		{HeaderReason, reason}, {HeaderError, detail}, {HeaderOrigin, origin(t.job.Message)},
		{HeaderFirstSeen, t.job.Message.Time.UTC().Format(time.RFC3339Nano)},
		{HeaderBuriedAt, time.Now().UTC().Format(time.RFC3339Nano)},
	} {
		letter.Headers = append(letter.Headers, stream.Header{Key: h[0], Value: []byte(h[1])})
	}
	err := t.Publisher.Publish(ctx, letter)
	if errors.Is(err, stream.ErrTooLarge) {
		err = t.Publisher.Publish(ctx, truncated(letter))
	}
	if err != nil {
		return fmt.Errorf("dead-letter %s: %w", origin(t.job.Message), err)
	}
	if t.Observe.DeadLettered != nil {
		t.Observe.DeadLettered(t.spec.Topic, reason)
	}
	t.finished("dead_letter", slog.String("reason", reason), slog.String("detail", detail))
	return nil
}

func truncated(letter stream.Message) stream.Message {
	sum := sha256.Sum256(letter.Value)
	note := fmt.Sprintf("%d bytes, sha256 %s", len(letter.Value), hex.EncodeToString(sum[:]))
	letter.Headers = append(letter.Headers, stream.Header{Key: HeaderTruncated, Value: []byte(note)})
	letter.Value = letter.Value[:min(len(letter.Value), keptOfTooLarge)]
	return letter
}

func origin(m stream.Message) string {
	return m.Topic + "/" + strconv.Itoa(m.Partition) + "/" + strconv.FormatInt(m.Offset, 10)
}

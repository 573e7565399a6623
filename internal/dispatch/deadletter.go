package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

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
	// HeaderShed says that the sender's own headers were too large for the dead-letter topic: how many, of how many bytes.
	// What executes the message is whole.
	HeaderShed = "pd-shed"
	// HeaderTruncated says that more than that was too large: the size and SHA-256 of each part that is cut or missing.
	// The whole message still stands at its origin for as long as that topic keeps it; the letter cannot be replayed.
	HeaderTruncated = "pd-truncated"
)

const (
	// keptOfTooLarge is how much of a value is kept when the whole does not fit the dead-letter topic, and leastOfTooLarge
	// when that does not either.
	keptOfTooLarge, leastOfTooLarge = 64 << 10, 1 << 10
	// maxDetail bounds the text for a person, and leastDetail that of the smallest letter, in bytes.
	maxDetail, leastDetail = 1000, 200
)

// reject publishes a rejected result and the dead letter of a message that must not be executed.
func (t *task) reject(ctx context.Context, r commands.Rejection) error {
	r.Origin = t.origin
	result := t.spec.Rejected(r, time.Now())
	if err := t.route.Driver.Tell(ctx, *result, t.job.Trace, t.job.Message.Key); err != nil {
		return fmt.Errorf("reject %s: %w", r.Origin, err)
	}
	if t.Observe.Rejected != nil {
		t.Observe.Rejected(t.spec.Topic)
	}
	return t.bury(ctx, r.Reason, r.Detail)
}

// bury publishes the message to the dead-letter topic with its reason. What the log finds too large is shed until it
// fits: what is left in the end is bounded, so that no message holds up its lane by its size.
func (t *task) bury(ctx context.Context, reason, detail string) error {
	detail = readable(detail, maxDetail)
	l := t.letter(reason, detail)
	err := t.Publisher.Publish(ctx, l.message())
	for _, smaller := range []func(){l.shedHeaders, l.shedKey, l.shedValue, l.shedRest} {
		if !errors.Is(err, stream.ErrTooLarge) {
			break
		}
		smaller()
		err = t.Publisher.Publish(ctx, l.message())
	}
	if err != nil {
		return fmt.Errorf("dead-letter %s: %w", t.origin, err)
	}
	if t.Observe.DeadLettered != nil {
		t.Observe.DeadLettered(t.spec.Topic, reason)
	}
	t.finished("dead_letter", slog.String("reason", reason), slog.String("detail", detail))
	return nil
}

// letter is a dead letter in the making.
type letter struct {
	topic      string
	key, value []byte
	whole      bool // the value is
	// carried are the message's headers, about those of the letter, notes what is missing.
	carried, about []stream.Header
	shed           string
	notes          []string
}

func (t *task) letter(reason, detail string) *letter {
	m := t.job.Message
	l := &letter{topic: t.spec.DeadLetterTopic(), key: m.Key, value: m.Value, whole: true, carried: m.Headers}
	for _, h := range [][2]string{
		{HeaderReason, reason}, {HeaderError, detail}, {HeaderOrigin, t.origin},
		{HeaderFirstSeen, m.Time.UTC().Format(time.RFC3339Nano)},
		{HeaderBuriedAt, time.Now().UTC().Format(time.RFC3339Nano)},
	} {
		l.about = append(l.about, stream.Header{Key: h[0], Value: []byte(h[1])})
	}
	return l
}

func (l *letter) message() stream.Message {
	headers := slices.Concat(l.carried, l.about)
	for _, h := range [][2]string{{HeaderShed, l.shed}, {HeaderTruncated, strings.Join(l.notes, "; ")}} {
		if h[1] != "" {
			headers = append(headers, stream.Header{Key: h[0], Value: []byte(h[1])})
		}
	}
	return stream.Message{Topic: l.topic, Key: l.key, Value: l.value, Headers: headers}
}

func (l *letter) shedHeaders() {
	kept := operation.Ours(l.carried)
	if n := len(l.carried) - len(kept); n > 0 {
		l.shed = fmt.Sprintf("%d headers, %d bytes", n, bytesOf(l.carried)-bytesOf(kept))
	}
	l.carried = kept
}

func (l *letter) shedKey() {
	if len(l.key) > 0 {
		l.note("key", l.key)
		l.key = nil
	}
}

func (l *letter) shedValue() { l.cut(keptOfTooLarge) }

// cut leaves this much of the value.
func (l *letter) cut(most int) {
	if len(l.value) <= most {
		return
	}
	if l.whole {
		l.note("value", l.value)
	}
	l.value, l.whole = l.value[:most], false
}

// shedRest leaves what says why and where from, and how the message began.
func (l *letter) shedRest() {
	l.cut(leastOfTooLarge)
	if state := slices.IndexFunc(l.carried, func(h stream.Header) bool { return h.Key == operation.HeaderState }); state >= 0 {
		l.note("state", l.carried[state].Value)
	}
	l.carried = nil
	for i, h := range l.about {
		if h.Key == HeaderError {
			l.about[i].Value = []byte(readable(string(h.Value), leastDetail))
		}
	}
}

// note tells of a part that is not whole any more.
func (l *letter) note(part string, was []byte) {
	sum := sha256.Sum256(was)
	l.notes = append(l.notes, fmt.Sprintf("%s of %d bytes, sha256 %s", part, len(was), hex.EncodeToString(sum[:])))
}

func bytesOf(headers []stream.Header) (n int) {
	for _, h := range headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// readable bounds a text for a person in bytes, and takes out what a terminal acts on: a stranger's message may be
// quoted in it.
func readable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), most)], ""))
	return text[:min(len(text), most)]
}

func origin(m stream.Message) string {
	return m.Topic + "/" + strconv.Itoa(m.Partition) + "/" + strconv.FormatInt(m.Offset, 10)
}

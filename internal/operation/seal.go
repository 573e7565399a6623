package operation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
)

// ErrNotAuthentic marks a message whose headers claim what only this service may say, and cannot prove it.
var ErrNotAuthentic = errors.New("not authentic")

// foreign begins the names under which headers are kept that claimed to be ours and were not.
const foreign = "foreign-"

// marks are the headers of a parked copy, in the order in which they are written.
func marks() []string { return []string{HeaderState, HeaderTopic, HeaderDue, HeaderWritten, HeaderMAC} }

// Strip returns the headers without those of a parked copy, whether they are ours or were disowned. The slice given stays
// as it is.
func Strip(headers []stream.Header) []stream.Header {
	return slices.DeleteFunc(slices.Clone(headers), func(h stream.Header) bool {
		return slices.Contains(marks(), strings.TrimPrefix(h.Key, foreign))
	})
}

// Disown returns the headers with those of a parked copy under other names, which nothing obeys: a person may still read
// them. The slice given stays as it is.
func Disown(headers []stream.Header) []stream.Header {
	headers = slices.Clone(headers)
	for i, h := range headers {
		if slices.Contains(marks(), h.Key) {
			headers[i].Key = foreign + h.Key
		}
	}
	return headers
}

// Owned returns the headers without those that were disowned. The slice given stays as it is.
func Owned(headers []stream.Header) []stream.Header {
	return slices.DeleteFunc(slices.Clone(headers), func(h stream.Header) bool {
		return strings.HasPrefix(h.Key, foreign) && slices.Contains(marks(), strings.TrimPrefix(h.Key, foreign))
	})
}

// Copy is a message of a delay topic.
type Copy struct {
	// Sealed says that this service parked the copy, as it is and where it is. One that is not sealed comes from the
	// version before, or from anybody who may write to the topic: it is a command that may have been sent before.
	Sealed bool
	// Memory is the state that the copy carries, nil when it carries none. A sealed copy always has one.
	Memory *commands.State
	// Written is when the command was written to its topic; zero when no proof tells.
	Written time.Time
}

// Open reads what a message says of itself, by where it was found: nil for a command. It refuses with ErrNotAuthentic
// what only this service may say and a stranger said, with commands.ErrNewer a sealed state that a newer version wrote, and
// with ErrUnreadable any other that it cannot read: a newer version would have sealed it.
func (d *Driver) Open(m stream.Message) (*Copy, error) {
	if d.Hold(m.Topic) == 0 {
		for _, h := range m.Headers {
			if h.Key == HeaderState || h.Key == HeaderDue || h.Key == HeaderMAC {
				return nil, fmt.Errorf("%w: header %s on a command topic; this service writes it to delay topics only", ErrNotAuthentic, h.Key)
			}
		}
		return nil, nil
	}
	sealed, err := d.sealed(m)
	if err != nil {
		return nil, err
	}
	c := &Copy{Sealed: sealed}
	if encoded, ok := m.Header(HeaderState); ok {
		memory, err := commands.DecodeState(encoded)
		switch {
		case err != nil && sealed:
			return nil, fmt.Errorf("header %s: %w", HeaderState, unreadable(err))
		case err != nil:
			return nil, fmt.Errorf("%w: header %s: %w", ErrUnreadable, HeaderState, err)
		}
		c.Memory = &memory
	}
	if sealed {
		c.Written, _ = moment(m, HeaderWritten)
	}
	return c, nil
}

// Belongs checks that the state of a copy is the state of the command in its body. The request may be another one: after
// a loss a record of the same content under another request may have been taken over.
func (c *Copy) Belongs(command commands.Command) error {
	s := c.Memory
	switch {
	case s == nil:
		return nil
	case s.Topic != command.Topic:
		return fmt.Errorf("%w: the state is of another topic than the command", ErrNotAuthentic)
	case s.Key != command.Key:
		return fmt.Errorf("%w: the state is of another operation than the command", ErrNotAuthentic)
	case !slices.Contains(command.Fingerprints, s.Fingerprint):
		return fmt.Errorf("%w: the state is of another content than the command (or a fingerprint key is missing)", ErrNotAuthentic)
	}
	return nil
}

// Hold is how long a message of a topic may be held back at most: its tier and the jitter, 0 for every other topic.
func (d *Driver) Hold(topic string) time.Duration { return d.holds[topic] }

// holds returns the longest hold of each delay topic; the jitter is a tenth of the tier at most.
func holds(p commands.Policy) map[string]time.Duration {
	all := map[string]time.Duration{}
	for _, tier := range p.Tiers {
		all[DelayTopic(p.Spec.Topic, tier)] = tier + tier/10
	}
	return all
}

// Due is when a message may be handled, for stream.Config; the zero time for what is not held back. A due time counts
// on a delay topic only, and never for longer than Hold from now.
//
// What is not sealed is held no longer than that from its own time either, nor from the beginning of this process: the
// version before parked it earlier than that, or while the roll-out lasted. So writing many copies does not hold a
// partition back again and again.
func (d *Driver) Due(m stream.Message) time.Time {
	most := d.Hold(m.Topic)
	due, ok := moment(m, HeaderDue)
	if most == 0 || !ok {
		return time.Time{}
	}
	sealed, err := d.sealed(m)
	if err != nil {
		return time.Time{}
	}
	due = earlier(due, d.Now().Add(most))
	if !sealed {
		due = earlier(due, earlier(m.Time, d.began).Add(most))
	}
	return due
}

// seal returns the copy with its seal.
func (d *Driver) seal(m stream.Message) (stream.Message, error) {
	seal := d.Keys.Seal(d.covered(m))
	if seal == "" {
		return stream.Message{}, fmt.Errorf("park in %s: there is no key to seal the copy with", m.Topic)
	}
	m.Headers = append(m.Headers, stream.Header{Key: HeaderMAC, Value: []byte(seal)})
	return m, nil
}

// sealed reports whether a message of a delay topic carries the right seal; one with a wrong seal is an error.
//
// A seal counts only behind the headers that it covers. The version before hands on a header that it does not know, in
// front of the state that it writes: that seal is the one of an earlier copy, and says nothing of this one.
func (d *Driver) sealed(m stream.Message) (bool, error) {
	seal, last := []byte(nil), ""
	seen := make(map[string]bool, len(marks()))
	repeated := false
	for _, h := range m.Headers {
		if slices.Contains(marks(), h.Key) {
			repeated = repeated || seen[h.Key]
			seen[h.Key], last, seal = true, h.Key, h.Value
		}
	}
	switch {
	case last != HeaderMAC:
		return false, nil
	case repeated || !seen[HeaderState]:
		return false, fmt.Errorf("%w: a header of a parked copy is there twice, or is missing", ErrNotAuthentic)
	case !d.Keys.VerifySeal(d.covered(m), string(seal)):
		return false, fmt.Errorf("%w: %s does not prove this state for this message in this topic (or its key is missing)",
			ErrNotAuthentic, HeaderMAC)
	}
	return true, nil
}

// covered is what a seal is made of: everything of a parked copy that is obeyed, where it is written to, and the message
// that it belongs to. Each part has its length in front, so that no two messages have the same.
func (d *Driver) covered(m stream.Message) []byte {
	parts := [][]byte{[]byte(d.Policy.Spec.Topic), []byte(m.Topic), m.Key, m.Value}
	for _, name := range marks() {
		if name == HeaderMAC {
			continue
		}
		part := []byte(nil) // a header that is missing
		if value, ok := m.Header(name); ok {
			part = append([]byte{1}, value...)
		}
		parts = append(parts, part)
	}
	size := 0
	for _, p := range parts {
		size += 8 + len(p)
	}
	out := make([]byte, 0, size)
	for _, p := range parts {
		out = append(binary.BigEndian.AppendUint64(out, uint64(len(p))), p...)
	}
	return out
}

// moment reads a header that holds Unix milliseconds.
func moment(m stream.Message, name string) (time.Time, bool) {
	text, ok := m.Header(name)
	if !ok { // as on each command: not worth an error
		return time.Time{}, false
	}
	millis, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(millis), true
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

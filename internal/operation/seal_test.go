package operation_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

const (
	oldKey = "the-old-key-0123"
	newKey = "the-new-key-0123"
)

// parker returns the driver of a topic with the tiers 5s and 1m.
func parker(t testing.TB, topic string, keys ...string) *operation.Driver {
	t.Helper()
	var ring commands.Keyring
	if len(keys) > 0 {
		var raw [][]byte
		for _, k := range keys {
			raw = append(raw, []byte(k))
		}
		var err error
		ring, err = commands.NewKeyring(raw...)
		require.NoError(t, err)
	}
	d, err := operation.New(operation.Config{Keys: ring, Policy: commands.Policy{
		Spec: commands.Spec{Topic: topic}, Lease: time.Second, Settle: time.Second, Deadline: time.Hour, MaxSends: 1,
		Tiers: []time.Duration{5 * time.Second, time.Minute},
	}})
	require.NoError(t, err)
	return d
}

// parked is a copy of a message with the key "B1", which waits in a delay topic until due.
func parked(t testing.TB, d *operation.Driver, due time.Time, headers ...stream.Header) stream.Message {
	t.Helper()
	topic := d.Policy.Spec.Topic
	m, err := d.Parked(&operation.Job{
		Message: stream.Message{Topic: topic, Key: []byte("B1"), Value: []byte(`{"amount":"1.00"}`), Headers: headers},
		Written: time.UnixMilli(1_700_000_000_123),
	}, &commands.State{Phase: commands.Asking, Topic: topic, Key: "B1", RequestID: "R1", Fingerprint: "f1", FirstSeen: time.UnixMilli(0).UTC()},
		commands.Action{Do: commands.DoPark, Until: due})
	require.NoError(t, err)
	return m
}

// having returns a copy of m whose header has another value.
func having(m stream.Message, name, value string) stream.Message {
	headers := make([]stream.Header, len(m.Headers))
	for i, h := range m.Headers {
		if headers[i] = h; h.Key == name {
			headers[i].Value = []byte(value)
		}
	}
	m.Headers = headers
	return m
}

// lacking returns a copy of m without a header.
func lacking(m stream.Message, name string) stream.Message {
	var headers []stream.Header
	for _, h := range m.Headers {
		if h.Key != name {
			headers = append(headers, h)
		}
	}
	m.Headers = headers
	return m
}

// byTheVersionBefore parks a copy again as the version before did: it hands on a header that it does not know.
func byTheVersionBefore(m stream.Message, due time.Time) stream.Message {
	state, _ := m.Header(operation.HeaderState)
	topic, _ := m.Header(operation.HeaderTopic)
	for _, name := range []string{operation.HeaderState, operation.HeaderTopic, operation.HeaderDue, operation.HeaderWritten} {
		m = lacking(m, name)
	}
	m.Headers = append(m.Headers,
		stream.Header{Key: operation.HeaderState, Value: bytes.Replace(state, []byte(`"R1"`), []byte(`"R2"`), 1)},
		stream.Header{Key: operation.HeaderTopic, Value: topic},
		stream.Header{Key: operation.HeaderDue, Value: strconv.AppendInt(nil, due.UnixMilli(), 10)})
	return m
}

// The names, their order and their values are read by the pods of other versions.
func TestTheHeadersOfAParkedCopy(t *testing.T) {
	t.Parallel()
	m := parked(t, parker(t, "t", oldKey), time.UnixMilli(1_800_000_000_000), stream.Header{Key: "traceparent", Value: []byte("theirs")})
	require.Equal(t, "t.delay.5s", m.Topic)
	var got [][2]string
	for _, h := range m.Headers {
		got = append(got, [2]string{h.Key, string(h.Value)})
	}
	require.Equal(t, [][2]string{
		{"traceparent", "theirs"},
		{"pd-state", `{"v":1,"phase":"asking","topic":"t","key":"B1","request":"R1","fp":"f1","first":"1970-01-01T00:00:00Z"}`},
		{"pd-topic", "t"},
		{"pd-due", "1800000000000"},
		{"pd-written", "1700000000123"},
		{"pd-mac", "BBePWVxVJwUXGrYknyYG8w"},
	}, got)
}

// The time at which a command was written to its topic goes with its parked copies, and each header is there once.
func TestTheWrittenTimeSurvivesParking(t *testing.T) {
	t.Parallel()
	d := parker(t, "t", oldKey)
	m := parked(t, d, time.UnixMilli(1_800_000_000_000))
	for range 3 {
		m.Time = time.Now()
		copied, err := d.Open(m)
		require.NoError(t, err)
		require.True(t, copied.Sealed)
		require.Equal(t, time.UnixMilli(1_700_000_000_123), copied.Written)
		m, err = d.Parked(&operation.Job{Message: m, Written: copied.Written}, copied.Memory, commands.Action{Tier: 1})
		require.NoError(t, err)
	}
	require.Len(t, m.Headers, 5)
}

// Whatever is obeyed, and the message and topic that it belongs to, is proven; a copy in which any of it differs is not
// ours.
func TestACopyThatWasChangedIsNotAuthentic(t *testing.T) {
	t.Parallel()
	d := parker(t, "t", oldKey)
	m := parked(t, d, time.Now())
	state, _ := m.Header(operation.HeaderState)
	move := func(topic string, key, value []byte) stream.Message {
		return stream.Message{Topic: topic, Key: key, Value: value, Headers: m.Headers}
	}
	again := m
	again.Headers = slices.Concat(m.Headers, m.Headers)
	for name, changed := range map[string]stream.Message{
		"another delay topic": move("t.delay.1m", m.Key, m.Value),
		"another key":         move(m.Topic, []byte("B2"), m.Value),
		"no key":              move(m.Topic, nil, m.Value),
		"another body":        move(m.Topic, m.Key, []byte(`{"amount":"9.00"}`)),
		"a shifted border":    move(m.Topic, append([]byte("B1"), m.Value[0]), m.Value[1:]),
		"another state":       having(m, operation.HeaderState, string(bytes.Replace(state, []byte(`"R1"`), []byte(`"R2"`), 1))),
		"another due time":    having(m, operation.HeaderDue, "1"),
		"another written":     having(m, operation.HeaderWritten, "1"),
		"another topic named": having(m, operation.HeaderTopic, "u"),
		"another seal":        having(m, operation.HeaderMAC, "H0lMOsnHzEy6JxDqdCLtvg"),
		"an empty seal":       having(m, operation.HeaderMAC, ""),
		"no state":            lacking(m, operation.HeaderState),
		"no due time":         lacking(m, operation.HeaderDue),
		"no written":          lacking(m, operation.HeaderWritten),
		"an empty written":    having(m, operation.HeaderWritten, ""),
		"headers twice":       again,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied, err := d.Open(changed)
			require.ErrorIs(t, err, operation.ErrNotAuthentic)
			require.Nil(t, copied)
			require.NotContains(t, err.Error(), "B1")
			changed.Headers = append([]stream.Header{}, changed.Headers...)
			changed.Time = time.Now()
			require.Zero(t, d.Due(changed), "what is not authentic is not held back")
		})
	}
	for name, other := range map[string]*operation.Driver{
		"the copy of another command topic": parker(t, "u", oldKey), "another key": parker(t, "t", newKey),
	} {
		theirs := parked(t, other, time.Now())
		theirs.Topic = m.Topic
		_, err := d.Open(theirs)
		require.ErrorIs(t, err, operation.ErrNotAuthentic, name)
	}
}

// On a command topic no state counts, however well it is proven: this service does not write it there.
func TestNothingIsObeyedOnACommandTopic(t *testing.T) {
	t.Parallel()
	d := parker(t, "t", oldKey)
	m := parked(t, d, time.Now().Add(time.Second))
	m.Topic = "t"
	_, err := d.Open(m)
	require.ErrorIs(t, err, operation.ErrNotAuthentic)
	for name, honest := range map[string]bool{
		operation.HeaderState: false, operation.HeaderDue: false, operation.HeaderMAC: false,
		operation.HeaderWritten: true, operation.HeaderTopic: true, "traceparent": true, "foreign-pd-state": true,
	} {
		m := stream.Message{Topic: "t", Key: []byte("B1"), Headers: []stream.Header{{Key: name, Value: []byte("9000000000000")}}}
		copied, err := d.Open(m)
		require.Nil(t, copied, name)
		require.Equal(t, honest, err == nil, name)
		require.Zero(t, d.Due(m), name)
	}
}

// The newest key makes the proof, each verifies it, and one that was taken away no longer does.
func TestKeysOfSealsRotate(t *testing.T) {
	t.Parallel()
	open := func(m stream.Message, keys ...string) error {
		_, err := parker(t, "t", keys...).Open(m)
		return err
	}
	before := parked(t, parker(t, "t", oldKey), time.Now())
	during := parked(t, parker(t, "t", newKey, oldKey), time.Now())
	require.NoError(t, open(before, oldKey, newKey))
	require.NoError(t, open(before, newKey, oldKey))
	require.ErrorIs(t, open(before, newKey), operation.ErrNotAuthentic)
	require.NoError(t, open(during, newKey))
	require.ErrorIs(t, open(during, oldKey), operation.ErrNotAuthentic)
}

// The version before seals nothing, and hands on the seal of an earlier copy in front of its own state.
func TestACopyOfTheVersionBefore(t *testing.T) {
	t.Parallel()
	d := parker(t, "t", oldKey)
	m := parked(t, d, time.Now())
	for name, legacy := range map[string]stream.Message{
		"unsealed": lacking(m, operation.HeaderMAC), "with the seal of an earlier copy": byTheVersionBefore(m, time.Now()),
	} {
		copied, err := d.Open(legacy)
		require.NoError(t, err, name)
		require.False(t, copied.Sealed, name)
		require.Zero(t, copied.Written, name)
		require.Equal(t, commands.OperationKey("B1"), copied.Memory.Key, name)
	}
	bare, err := d.Open(stream.Message{Topic: "t.delay.5s"})
	require.NoError(t, err)
	require.Equal(t, &operation.Copy{}, bare)
	_, err = d.Open(having(lacking(m, operation.HeaderMAC), operation.HeaderState, `{"v":99}`))
	require.ErrorIs(t, err, operation.ErrUnreadable)
}

// A sealed state that only a newer version can go on from waits for it; what nobody sealed was parked by no newer version.
func TestACopyOfANewerVersionWaits(t *testing.T) {
	t.Parallel()
	d := parker(t, "t", oldKey)
	m := parked(t, d, time.Now())
	state, _ := m.Header(operation.HeaderState)
	newer := having(lacking(m, operation.HeaderMAC), operation.HeaderState, strings.Replace(string(state), "asking", "held", 1))
	sealed, err := operation.Seal(d, newer)
	require.NoError(t, err)
	_, err = d.Open(sealed)
	require.ErrorIs(t, err, commands.ErrNewer)
	require.NotErrorIs(t, err, operation.ErrUnreadable)
	_, err = d.Open(newer)
	require.ErrorIs(t, err, operation.ErrUnreadable)

	damaged, err := operation.Seal(d, having(newer, operation.HeaderState, "{"))
	require.NoError(t, err)
	_, err = d.Open(damaged)
	require.ErrorIs(t, err, operation.ErrUnreadable)
}

func TestAStateBelongsToItsBody(t *testing.T) {
	t.Parallel()
	command := commands.Command{Topic: "t", Key: "B1", RequestID: "R1", Fingerprints: []string{"f2", "f1"}}
	for name, c := range map[string]struct {
		state commands.State
		ok    bool
	}{
		"its own":                              {commands.State{Topic: "t", Key: "B1", RequestID: "R1", Fingerprint: "f1"}, true},
		"the same content for another request": {commands.State{Topic: "t", Key: "B1", RequestID: "R2", Fingerprint: "f2"}, true},
		"another topic":                        {commands.State{Topic: "u", Key: "B1", RequestID: "R1", Fingerprint: "f1"}, false},
		"another operation":                    {commands.State{Topic: "t", Key: "B2", RequestID: "R1", Fingerprint: "f1"}, false},
		"another content":                      {commands.State{Topic: "t", Key: "B1", RequestID: "R1", Fingerprint: "f3"}, false},
	} {
		err := (&operation.Copy{Memory: &c.state}).Belongs(command)
		require.Equal(t, c.ok, err == nil, name)
		require.Equal(t, !c.ok, errors.Is(err, operation.ErrNotAuthentic), name)
	}
	require.NoError(t, (&operation.Copy{}).Belongs(command), "what carries no state claims nothing")
}

// A due time holds a message back for a tier and its jitter at most. What is not sealed is not held for longer than that
// from its own time, nor from the beginning of the process.
func TestADueTimeIsBounded(t *testing.T) {
	t.Parallel()
	const most = 5500 * time.Millisecond
	far := 24 * 365 * time.Hour
	for name, c := range map[string]struct {
		sealed bool
		due    time.Duration // from now
		age    time.Duration // of the message
		since  time.Duration // the process began
		held   time.Duration
	}{
		"sealed":                                   {true, 5 * time.Second, 0, time.Hour, 5 * time.Second},
		"sealed and due":                           {true, -time.Second, 0, time.Hour, -time.Second},
		"sealed far ahead":                         {true, far, 0, time.Hour, most},
		"sealed, whatever its own time":            {true, 5 * time.Second, time.Hour, time.Hour, 5 * time.Second},
		"unsealed while the roll-out lasts":        {false, 4 * time.Second, time.Second, 0, 4 * time.Second},
		"unsealed far ahead":                       {false, far, 0, 0, most},
		"unsealed far ahead, written long ago":     {false, far, 3 * time.Second, 0, most - 3*time.Second},
		"unsealed far ahead, written in time past": {false, far, time.Hour, 0, most - time.Hour},
		"unsealed far ahead, from the future":      {false, far, -far, time.Second, most - time.Second},
		"unsealed after the roll-out":              {false, 5 * time.Second, 0, time.Hour, most - time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := parker(t, "t", oldKey)
				time.Sleep(c.since)
				m := parked(t, d, time.Now().Add(c.due))
				if !c.sealed {
					m = lacking(m, operation.HeaderMAC)
				}
				m.Time = time.Now().Add(-c.age)
				require.Equal(t, c.held, time.Until(d.Due(m)))
			})
		})
	}
}

// However many copies anybody writes, each with a due time and a time of its own far ahead: they hold a partition back for
// one tier and its jitter in all.
func TestManyForgedCopiesHoldNoLongerThanOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := parker(t, "t", oldKey)
		began := time.Now()
		for range 100 {
			m := lacking(parked(t, d, time.Now().Add(time.Hour)), operation.HeaderMAC)
			m.Time = time.Now().Add(time.Hour)
			time.Sleep(time.Until(d.Due(m)))
		}
		require.LessOrEqual(t, time.Since(began), d.Hold("t.delay.5s"))
	})
}

func TestADueTimeThatIsNoNumber(t *testing.T) {
	t.Parallel()
	d := parker(t, "t", oldKey)
	m := lacking(parked(t, d, time.Now()), operation.HeaderMAC)
	for _, due := range []string{"", "soon", "99999999999999999999"} {
		require.Zero(t, d.Due(having(m, operation.HeaderDue, due)), due)
	}
	require.Zero(t, d.Due(lacking(m, operation.HeaderDue)))
	require.Zero(t, d.Due(stream.Message{Topic: "elsewhere", Headers: m.Headers}))
}

// Without a key a copy would be believed as little as a stranger's: none is written.
func TestParkingNeedsAKey(t *testing.T) {
	t.Parallel()
	_, err := parker(t, "t").Parked(&operation.Job{}, &commands.State{Key: "B1", Topic: "t"}, commands.Action{})
	require.ErrorContains(t, err, "no key to seal")
}

func TestForeignHeadersAreKeptButNotObeyed(t *testing.T) {
	t.Parallel()
	d := parker(t, "t", oldKey)
	m := parked(t, d, time.Now().Add(time.Hour), stream.Header{Key: "theirs", Value: []byte("x")})
	disowned := operation.Disown(m.Headers)
	require.Len(t, disowned, 6)
	for _, topic := range []string{"t", "t.delay.5s"} {
		copied, err := d.Open(stream.Message{Topic: topic, Key: m.Key, Value: m.Value, Headers: disowned})
		require.NoError(t, err)
		require.True(t, copied == nil || copied.Memory == nil && !copied.Sealed)
	}
	require.Equal(t, m.Headers[:1], operation.Strip(disowned))
	require.Equal(t, m.Headers[:1], operation.Strip(m.Headers))
	require.Equal(t, m.Headers[:1], operation.Owned(disowned))
	require.Equal(t, operation.HeaderState, m.Headers[1].Key, "the headers given stay as they are")
}

// No change of a part that is covered goes unnoticed, wherever the borders between the parts move.
func FuzzSealed(f *testing.F) {
	f.Add("B1", `{"a":1}`, "1", "2", "t", "B1{", `"a":1}`, "1", "2", "t", uint8(0))
	f.Add("", "", "", "", "", "B1", "x", "", "12", "t", uint8(3))
	f.Fuzz(func(t *testing.T, key, value, due, written, topic, key2, value2, due2, written2, topic2 string, missing uint8) {
		d := parker(t, "t", oldKey)
		sign := func(key, value, due, written, topic string) stream.Message {
			m := stream.Message{Topic: "t.delay.5s", Key: []byte(key), Value: []byte(value), Headers: []stream.Header{
				{Key: operation.HeaderState, Value: []byte(`{"v":1,"phase":"asking","topic":"t","key":"B1"}`)},
				{Key: operation.HeaderTopic, Value: []byte(topic)}, {Key: operation.HeaderDue, Value: []byte(due)},
				{Key: operation.HeaderWritten, Value: []byte(written)},
			}}
			sealed, err := operation.Seal(d, m)
			require.NoError(t, err)
			return sealed
		}
		a, b := sign(key, value, due, written, topic), sign(key2, value2, due2, written2, topic2)
		same := key == key2 && value == value2 && due == due2 && written == written2 && topic == topic2
		_, err := d.Open(a)
		require.NoError(t, err)
		seal, _ := a.Header(operation.HeaderMAC)
		_, err = d.Open(having(b, operation.HeaderMAC, string(seal)))
		require.Equal(t, same, err == nil)
		names := []string{operation.HeaderState, operation.HeaderTopic, operation.HeaderDue, operation.HeaderWritten}
		_, err = d.Open(lacking(a, names[int(missing)%len(names)]))
		require.ErrorIs(t, err, operation.ErrNotAuthentic)
	})
}

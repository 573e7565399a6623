package streamtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
)

// Run checks a log.
func Run(t *testing.T, h Harness) {
	for name, check := range map[string]func(*testing.T, Harness){
		"RoundTrip":           roundTrip,
		"PartitionsAsJava":    partitionsAsJava,
		"KeysSideBySide":      keysSideBySide,
		"OrderPerKey":         orderPerKey,
		"BlockedKey":          blockedKey,
		"KilledMember":        killedMember,
		"Resume":              resume,
		"HandlerError":        handlerError,
		"DueHead":             dueHead,
		"Drain":               drain,
		"SecondMember":        secondMember,
		"StartCommittedFirst": startCommittedFirst,
		"PrepareOnce":         prepareOnce,
		"PrepareError":        prepareError,
		"Witnesses":           witnesses,
		"TooLarge":            tooLarge,
		"PublishEndsWithCtx":  publishEndsWithCtx,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, h)
		})
	}
}

func newGroup() string { return "group-" + rand.Text() }

func roundTrip(t *testing.T, h Harness) {
	topic := h.NewTopic(t, 2)
	sent := []stream.Message{
		{Topic: topic, Key: []byte("k1"), Value: []byte("v1"), Headers: []stream.Header{
			{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte{0, 0xff}}, {Key: "a", Value: []byte("2")},
		}},
		{Topic: topic, Key: []byte("钥匙"), Value: []byte(`{"amount":"1.00"}`)},
		{Topic: topic, Value: []byte("no key")},
	}
	require.NoError(t, h.NewPublisher(t).Publish(t.Context(), sent...))
	r := &recorder{}
	m := h.start(t, Consumer{Group: newGroup(), Topics: []string{topic}}, r)
	r.ended(t, len(sent))
	for _, want := range sent {
		i := slices.IndexFunc(r.received(), func(got stream.Message) bool { return bytes.Equal(got.Value, want.Value) })
		require.GreaterOrEqual(t, i, 0)
		got := r.received()[i]
		require.Equal(t, topic, got.Topic)
		require.Equal(t, string(want.Key), string(got.Key))
		require.Len(t, got.Headers, len(want.Headers))
		for j := range want.Headers {
			require.Equal(t, want.Headers[j], got.Headers[j])
		}
		require.False(t, got.Time.IsZero())
	}
	last, ok := r.received()[slices.IndexFunc(r.received(), func(m stream.Message) bool { return len(m.Headers) > 0 })].Header("a")
	require.True(t, ok)
	require.Equal(t, "2", string(last))
	m.stop(t)
}

// partitionsAsJava uses keys whose murmur2 hashes are known from Apache Kafka's own tests.
func partitionsAsJava(t *testing.T, h Harness) {
	topic := h.NewTopic(t, 7)
	want := map[string]int{}
	var pairs [][2]string
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "abc": 479470107,
	} {
		want[key] = int(hash&0x7fffffff) % 7
		pairs = append(pairs, [2]string{key, key})
	}
	h.publish(t, topic, pairs...)
	r := &recorder{}
	m := h.start(t, Consumer{Group: newGroup(), Topics: []string{topic}}, r)
	r.ended(t, len(want))
	m.stop(t)
	for _, got := range r.received() {
		require.Equal(t, want[string(got.Key)], got.Partition, string(got.Key))
	}
}

// keysSideBySide lets no handler return before all are inside.
func keysSideBySide(t *testing.T, h Harness) {
	const keys = 16
	topic := h.NewTopic(t, 1)
	var barrier sync.WaitGroup
	barrier.Add(keys)
	r := &recorder{fate: func(context.Context, stream.Message) error {
		barrier.Done()
		barrier.Wait()
		return nil
	}}
	var pairs [][2]string
	for i := range keys {
		pairs = append(pairs, [2]string{fmt.Sprint("key", i), fmt.Sprint(i)})
	}
	h.publish(t, topic, pairs...)
	m := h.start(t, Consumer{Group: newGroup(), Topics: []string{topic}}, r)
	r.ended(t, keys)
	m.stop(t)
}

func orderPerKey(t *testing.T, h Harness) {
	const keys, each = 10, 20
	topic := h.NewTopic(t, 2)
	var pairs [][2]string
	for i := range each {
		for k := range keys {
			pairs = append(pairs, [2]string{fmt.Sprint("key", k), fmt.Sprintf("%d:%02d", k, i)})
		}
	}
	h.publish(t, topic, pairs...)
	r := &recorder{}
	m := h.start(t, Consumer{Group: newGroup(), Topics: []string{topic}}, r)
	r.ended(t, keys*each)
	m.stop(t)
	requireOnceInOrder(t, r, keys, each)
}

// requireOnceInOrder expects the values "key:sequence" of orderPerKey, each once and in order of its key.
func requireOnceInOrder(t *testing.T, r *recorder, keys, each int) {
	t.Helper()
	require.Empty(t, r.overlapped(), "keys with two handlers at once")
	byKey := map[string][]string{}
	for _, v := range r.starts() {
		key := v[:slices.Index([]byte(v), ':')]
		byKey[key] = append(byKey[key], v)
	}
	require.Len(t, byKey, keys)
	for key, values := range byKey {
		require.Len(t, values, each, "key %s: each once", key)
		require.True(t, slices.IsSorted(values), "key %s in order: %v", key, values)
	}
}

func blockedKey(t *testing.T, h Harness) {
	topic := h.NewTopic(t, 1)
	release := make(chan struct{})
	r := &recorder{fate: func(_ context.Context, m stream.Message) error {
		if string(m.Value) == "stuck" {
			<-release
		}
		return nil
	}}
	group := newGroup()
	h.publish(t, topic, [2]string{"x", "first"}, [2]string{"a", "stuck"}, [2]string{"a", "behind"}, [2]string{"b", "1"}, [2]string{"c", "2"})
	m := h.start(t, Consumer{Group: group, Topics: []string{topic}}, r)
	r.ended(t, 3)
	require.ElementsMatch(t, []string{"first", "1", "2"}, r.ends())
	eventually(t, func() bool { return h.Committed(t, group, topic)[0] == 1 }, "the finished prefix to be committed")
	require.NotContains(t, r.starts(), "behind")
	close(release)
	r.ended(t, 5)
	m.stop(t)
	require.EqualValues(t, 5, h.Committed(t, group, topic)[0])
}

// killedMember cuts a member off while one message is unfinished: everything from there on comes again, nothing before.
func killedMember(t *testing.T, h Harness) {
	topic, group := h.NewTopic(t, 1), newGroup()
	first := &recorder{fate: func(ctx context.Context, m stream.Message) error {
		if string(m.Value) == "3" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	var pairs [][2]string
	for i := range 8 {
		pairs = append(pairs, [2]string{fmt.Sprint("key", i), fmt.Sprint(i)})
	}
	h.publish(t, topic, pairs...)
	cut := make(chan struct{})
	dead := h.start(t, Consumer{
		Group: group, Topics: []string{topic}, Cut: cut,
		Stream: stream.Config{DrainBudget: 10 * time.Millisecond},
	}, first)
	first.ended(t, 7)
	eventually(t, func() bool { return h.Committed(t, group, topic)[0] == 3 }, "the finished prefix to be committed")
	close(cut)
	dead.cancel()

	second := &recorder{}
	m := h.start(t, Consumer{Group: group, Topics: []string{topic}}, second)
	second.ended(t, 5)
	m.stop(t)
	require.ElementsMatch(t, []string{"3", "4", "5", "6", "7"}, second.ends())
	require.EqualValues(t, 8, h.Committed(t, group, topic)[0])
}

func resume(t *testing.T, h Harness) {
	topic, group := h.NewTopic(t, 2), newGroup()
	for round := range 3 {
		var pairs [][2]string
		var want []string
		for i := range 5 {
			v := fmt.Sprintf("%d-%d", round, i)
			pairs, want = append(pairs, [2]string{v, v}), append(want, v)
		}
		h.publish(t, topic, pairs...)
		r := &recorder{}
		m := h.start(t, Consumer{Group: group, Topics: []string{topic}}, r)
		r.ended(t, 5)
		m.stop(t)
		require.ElementsMatch(t, want, r.starts())
		require.EqualValues(t, 5*(round+1), sum(h.Committed(t, group, topic)), "everything finished is committed when Run returns")
	}
}

func handlerError(t *testing.T, h Harness) {
	topic := h.NewTopic(t, 1)
	fails := 3
	r := &recorder{fate: func(_ context.Context, m stream.Message) error {
		if string(m.Value) == "a1" && fails > 0 {
			fails--
			return errors.New("store is away")
		}
		return nil
	}}
	h.publish(t, topic, [2]string{"a", "a1"}, [2]string{"a", "a2"}, [2]string{"b", "b1"})
	m := h.start(t, Consumer{Group: newGroup(), Topics: []string{topic}}, r)
	r.ended(t, 3)
	m.stop(t)
	ofA := slices.DeleteFunc(r.starts(), func(v string) bool { return v == "b1" })
	require.Equal(t, []string{"a1", "a1", "a1", "a1", "a2"}, ofA)
}

func dueHead(t *testing.T, h Harness) {
	topic, group := h.NewTopic(t, 1), newGroup()
	soon := time.Now().Add(300 * time.Millisecond)
	due := map[string]time.Time{"past": time.Now().Add(-time.Hour), "soon": soon, "later": time.Now().Add(time.Hour)}
	h.publish(t, topic, [2]string{"past", "past"}, [2]string{"soon", "soon"}, [2]string{"later", "later"})
	r := &recorder{fate: func(_ context.Context, m stream.Message) error {
		if string(m.Value) == "soon" && time.Now().Before(soon.Truncate(time.Millisecond)) {
			return errors.New("handled before it was due")
		}
		return nil
	}}
	m := h.start(t, Consumer{Group: group, Topics: []string{topic}, Stream: stream.Config{
		Due: func(m stream.Message) time.Time { return due[string(m.Value)] },
	}}, r)
	r.ended(t, 2)
	m.stop(t)
	// A group that took longer to form than "soon" was away finds both due, and two keys run side by side.
	require.ElementsMatch(t, []string{"past", "soon"}, r.starts())
	require.EqualValues(t, 2, h.Committed(t, group, topic)[0])
}

func drain(t *testing.T, h Harness) {
	topic, group := h.NewTopic(t, 1), newGroup()
	entered, release := make(chan struct{}), make(chan struct{})
	r := &recorder{fate: func(ctx context.Context, m stream.Message) error {
		if string(m.Value) == "1" {
			close(entered)
			<-release
		}
		return ctx.Err()
	}}
	h.publish(t, topic, [2]string{"a", "1"}, [2]string{"a", "2"})
	m := h.start(t, Consumer{Group: group, Topics: []string{topic}}, r)
	receive(t, entered, "the first message to be handled")
	eventually(t, func() bool { _, ok := h.Committed(t, group, topic)[0]; return ok }, "the start to be committed")
	m.cancel()
	select {
	case err := <-m.done:
		require.FailNow(t, "the consumer left a handler behind", "%v", err)
	default:
	}
	close(release)
	require.NoError(t, receive(t, m.done, "the consumer to stop"))
	require.Contains(t, r.ends(), "1")
	require.EqualValues(t, len(r.ends()), h.Committed(t, group, topic)[0], "what finished while draining is committed")
}

// secondMember lets members join and leave in the middle of a stream.
func secondMember(t *testing.T, h Harness) {
	const keys, each = 12, 30
	topic, group := h.NewTopic(t, 4), newGroup()
	r := &recorder{fate: func(ctx context.Context, _ stream.Message) error { // slow enough to be in flight at a rebalance
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
		return ctx.Err()
	}}
	c := Consumer{Group: group, Topics: []string{topic}}
	first := h.start(t, c, r)
	var second *member
	for i := range each {
		var pairs [][2]string
		for k := range keys {
			pairs = append(pairs, [2]string{fmt.Sprint("key", k), fmt.Sprintf("%d:%02d", k, i)})
		}
		h.publish(t, topic, pairs...)
		switch i {
		case each / 3:
			r.ended(t, keys)
			second = h.start(t, c, r)
		case 2 * each / 3:
			r.ended(t, keys*each/3)
			first.stop(t)
		}
	}
	r.ended(t, keys*each)
	second.stop(t)
	requireOnceInOrder(t, r, keys, each)
	require.EqualValues(t, keys*each, sum(h.Committed(t, group, topic)))
}

func startCommittedFirst(t *testing.T, h Harness) {
	topic, group := h.NewTopic(t, 2), newGroup()
	r := &recorder{fate: func(_ context.Context, m stream.Message) error {
		if _, ok := h.Committed(t, group, topic)[m.Partition]; !ok {
			t.Errorf("partition %d is handled although its start is not committed", m.Partition)
		}
		return nil
	}}
	for i := range 10 {
		h.publish(t, topic, [2]string{fmt.Sprint("key", i), fmt.Sprint(i)})
	}
	m := h.start(t, Consumer{Group: group, Topics: []string{topic}, Stream: stream.Config{CommitEvery: time.Hour}}, r)
	r.ended(t, 10)
	m.stop(t)
}

func prepareOnce(t *testing.T, h Harness) {
	topic, group := h.NewTopic(t, 3), newGroup()
	h.publish(t, topic, [2]string{"a", "1"})
	for round, want := range []bool{false, true} {
		var mu sync.Mutex
		var calls []bool
		prepare := func(_ context.Context, seenBefore bool) error {
			mu.Lock()
			defer mu.Unlock()
			if len(calls) == 0 && round == 0 && len(h.Committed(t, group, topic)) > 0 {
				t.Error("a start was committed before Prepare")
			}
			calls = append(calls, seenBefore)
			return nil
		}
		r := &recorder{}
		c := Consumer{Group: group, Topics: []string{topic}, Prepare: prepare}
		m := h.start(t, c, r)
		eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(calls) > 0 }, "Prepare")
		if round == 0 {
			r.ended(t, 1)
			// Another generation does not prepare again.
			other := h.start(t, Consumer{Group: group, Topics: []string{topic}}, r)
			h.publish(t, topic, [2]string{"b", "2"})
			r.ended(t, 2)
			other.stop(t)
		}
		m.stop(t)
		require.Equal(t, []bool{want}, calls)
	}
}

func prepareError(t *testing.T, h Harness) {
	topic, group := h.NewTopic(t, 1), newGroup()
	h.publish(t, topic, [2]string{"a", "1"})
	r := &recorder{}
	calls := 0
	m := h.start(t, Consumer{Group: group, Topics: []string{topic}, Prepare: func(context.Context, bool) error {
		if len(r.starts()) > 0 || len(h.Committed(t, group, topic)) > 0 {
			t.Error("handed out or committed before it was prepared")
		}
		if calls++; calls < 4 {
			return errors.New("store is away")
		}
		return nil
	}}, r)
	r.ended(t, 1)
	m.stop(t)
	require.Equal(t, 4, calls)
}

func tooLarge(t *testing.T, h Harness) {
	topic := h.NewTopic(t, 1)
	p := h.NewPublisher(t)
	err := p.Publish(t.Context(), stream.Message{Topic: topic, Key: []byte("a"), Value: make([]byte, h.TooLarge)})
	require.ErrorIs(t, err, stream.ErrTooLarge)
	require.NoError(t, p.Publish(t.Context(), stream.Message{Topic: topic, Key: []byte("a"), Value: []byte("fits")}))
}

func publishEndsWithCtx(t *testing.T, h Harness) {
	topic := h.NewTopic(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := h.NewPublisher(t).Publish(ctx, stream.Message{Topic: topic, Key: []byte("a"), Value: []byte("1")})
	require.ErrorIs(t, err, context.Canceled)
}

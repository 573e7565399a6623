package kafkastream_test

import (
	"crypto/rand"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

// teller is a producer that writes in transactions.
type teller struct {
	t      *testing.T
	client *kgo.Client
	topic  string
}

func newTeller(t *testing.T, addresses []string, topic string) *teller {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.TransactionalID("teller-"+rand.Text()),
		kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &teller{t: t, client: c, topic: topic}
}

func (w *teller) begin() { require.NoError(w.t, w.client.BeginTransaction()) }

func (w *teller) write(values ...string) {
	w.t.Helper()
	for _, v := range values {
		require.NoError(w.t, w.client.ProduceSync(w.t.Context(), &kgo.Record{Key: []byte(v), Value: []byte(v)}).FirstErr())
	}
}

func (w *teller) end(how kgo.TransactionEndTry) {
	w.t.Helper()
	require.NoError(w.t, w.client.EndTransaction(w.t.Context(), how))
}

func (w *teller) transaction(how kgo.TransactionEndTry, values ...string) {
	w.t.Helper()
	w.begin()
	w.write(values...)
	w.end(how)
}

// settled consumes a topic until its whole log is committed, and returns what was handled.
func settled(t *testing.T, addresses []string, topic string) []string {
	t.Helper()
	a := admin(t, addresses)
	cfg := consumerConfig(addresses, topic)
	var behind atomic.Int64
	behind.Store(-1)
	cfg.OnBehind = func(_ string, _ int, n int64) { behind.Store(n) }
	got := &collector{}
	stop := consume(t, consumer(t, cfg), got, topic)
	require.Eventually(t, func() bool {
		committed, err := a.Committed(t.Context(), topic, topic)
		if err != nil {
			return false
		}
		spans, err := a.Spans(t.Context(), topic) // the marker may be written after the producer was told
		return err == nil && committed[0] == spans[0].End && behind.Load() == 0
	}, 60*time.Second, 5*time.Millisecond, "markers and aborted messages are no backlog")
	require.NoError(t, stop())
	return got.values()
}

func TestConsumerLeavesOutWhatAProducerTookBack(t *testing.T) {
	t.Parallel()
	commit, abort := kgo.TryCommit, kgo.TryAbort
	tests := map[string]struct {
		write func(one, other *teller)
		want  []string
	}{
		"aborted": {func(one, _ *teller) { one.transaction(abort, "a", "b", "c") }, nil},
		"aborted between others": {func(one, other *teller) {
			one.transaction(commit, "1")
			one.transaction(abort, "a")
			one.transaction(commit, "2", "3")
			one.transaction(abort, "b")
			other.transaction(commit, "4")
		}, []string{"1", "2", "3", "4"}},
		"side by side": {func(one, other *teller) {
			one.begin()
			other.begin()
			one.write("a")
			other.write("1")
			one.write("b")
			other.write("2")
			one.end(abort)
			other.write("3")
			other.end(commit)
			one.transaction(commit, "4")
		}, []string{"1", "2", "3", "4"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addresses, _ := brokers(t)
			topic := newTopic(t, admin(t, addresses), 1)
			tt.write(newTeller(t, addresses, topic), newTeller(t, addresses, topic))
			got := settled(t, addresses, topic)
			slices.Sort(got)
			require.Equal(t, tt.want, got)
		})
	}
}

// A fetch can begin inside of a transaction, long after its first message.
func TestConsumerLeavesOutTheRestOfWhatAProducerTookBack(t *testing.T) {
	t.Parallel()
	addresses, _ := brokers(t)
	a := admin(t, addresses)
	topic := newTopic(t, a, 1)
	w := newTeller(t, addresses, topic)
	w.transaction(kgo.TryAbort, "a", "b", "c")
	w.transaction(kgo.TryCommit, "1")
	for from := range int64(4) {
		var got []string
		require.NoError(t, a.Read(t.Context(), topic, 0, from, func(m stream.Message) bool {
			got = append(got, string(m.Value))
			return false
		}))
		require.Equal(t, []string{"1"}, got, "from %d", from)
	}
}

// What belongs to a transaction that is open waits for its end; what came before it does not.
func TestConsumerWaitsForTheEndOfATransaction(t *testing.T) {
	t.Parallel()
	addresses, _ := brokers(t)
	a := admin(t, addresses)
	topic := newTopic(t, a, 1)
	fill(t, addresses, topic, 0, 2)
	cfg := consumerConfig(addresses, topic)
	cfg.MaxWait = 100 * time.Millisecond
	var behind atomic.Int64
	cfg.OnBehind = func(_ string, _ int, n int64) { behind.Store(n) }
	got := &collector{}
	stop := consume(t, consumer(t, cfg), got, topic)
	got.await(t, 2)
	w := newTeller(t, addresses, topic)
	w.begin()
	w.write("a", "b")
	fill(t, addresses, topic, 2, 3)
	require.Eventually(t, func() bool { return behind.Load() == 3 }, 60*time.Second, 5*time.Millisecond,
		"what waits behind an open transaction is backlog")
	require.ElementsMatch(t, []string{"0", "1"}, got.values())
	w.end(kgo.TryAbort)
	got.await(t, 3)
	require.NoError(t, stop())
	require.ElementsMatch(t, []string{"0", "1", "2"}, got.values())
}

// Nobody can forge what kafka-go's other ways to fetch could only guess by its look.
func TestConsumerHandlesAMessageThatLooksLikeAMarker(t *testing.T) {
	t.Parallel()
	addresses, _ := brokers(t)
	topic := newTopic(t, admin(t, addresses), 1)
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
	m := stream.Message{Topic: topic, Key: []byte{0, 0, 0, 1}, Value: []byte{0, 0, 0, 0, 0, 9}}
	require.NoError(t, p.Publish(t.Context(), m))
	var got stream.Message
	require.NoError(t, admin(t, addresses).Read(t.Context(), topic, 0, 0, func(m stream.Message) bool {
		got = m
		return false
	}))
	require.Equal(t, m.Value, got.Value)
}

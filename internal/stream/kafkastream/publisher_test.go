package kafkastream_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

func message(topic, key, value string) stream.Message {
	return stream.Message{Topic: topic, Key: []byte(key), Value: []byte(value)}
}

// values reads all of a topic.
func values(t *testing.T, a *kafkastream.Admin, topic string) []string {
	t.Helper()
	spans, err := a.Spans(t.Context(), topic)
	require.NoError(t, err)
	var all []string
	for _, s := range spans {
		if s.First == s.End {
			continue
		}
		require.NoError(t, a.Read(t.Context(), topic, s.Partition, s.First, func(m stream.Message) bool {
			all = append(all, string(m.Value))
			return m.Offset+1 < s.End
		}))
	}
	return all
}

func TestPublisherSendsAgainOnlyWhatFailed(t *testing.T) {
	t.Parallel()
	for _, failure := range []*kerr.Error{
		kerr.UnknownServerError,    // kafka-go gives up on it at once
		kerr.NotLeaderForPartition, // kafka-go tries again by itself
	} {
		t.Run(failure.Message, func(t *testing.T) {
			t.Parallel()
			c, addresses := fake(t, kfake.SeedTopics(4, "t"))
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Partitions: []int32{0, 1}, Err: failure, Count: 3})
			p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
			var sent []stream.Message
			var want []string
			for i := range 40 {
				v := fmt.Sprint("v", i)
				sent, want = append(sent, message("t", v, v)), append(want, v)
			}
			require.NoError(t, p.Publish(t.Context(), sent...))
			require.ElementsMatch(t, want, values(t, admin(t, addresses), "t"))
		})
	}
}

func TestPublisherGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1})
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := p.Publish(ctx, message("t", "k", "v"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "publish to t")
}

func TestPublisherReturnsUselessAttemptsAtOnce(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
	require.ErrorContains(t, p.Publish(t.Context(), message("t", "k", "v")), "Topic Authorization Failed")
}

// A broker's limit counts a batch. Many small messages in one batch must not be taken for too large ones.
func TestPublisherSendsAloneWhatWasTooLargeInCompany(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t)
	a := admin(t, addresses)
	require.NoError(t, a.CreateTopics(t.Context(), []kafkastream.TopicSpec{
		{Name: "small", Partitions: 1, Config: map[string]string{"max.message.bytes": "20000"}},
	}))
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
	var sent []stream.Message
	for i := range 10 {
		sent = append(sent, message("small", fmt.Sprint(i), fmt.Sprintf("%d%s", i, make([]byte, 9000))))
	}
	require.NoError(t, p.Publish(t.Context(), sent...))
	require.Len(t, values(t, a, "small"), 10)
	err := p.Publish(t.Context(), message("small", "k", string(make([]byte, 30_000))))
	require.ErrorIs(t, err, stream.ErrTooLarge)
	require.ErrorContains(t, err, "small")
}

func TestPublisherRefusesWhatIsAboveItsOwnLimit(t *testing.T) {
	t.Parallel()
	p := publisher(t, kafkastream.PublisherConfig{
		Config: kafkastream.Config{Brokers: []string{"127.0.0.1:1"}}, MaxMessageBytes: 100,
	})
	err := p.Publish(t.Context(), message("t", "k", "v"), message("t", "k", string(make([]byte, 100))))
	require.ErrorIs(t, err, stream.ErrTooLarge)
	require.ErrorContains(t, err, "message 2 of 2")
}

func TestPublisherWaitsWhileItsQueueIsFull(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	release, entered := make(chan struct{}), make(chan struct{}, 10)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		entered <- struct{}{}
		<-release
		return nil, nil, false
	})
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}, QueueMessages: 1})
	first := make(chan error, 1)
	go func() { first <- p.Publish(context.Background(), message("t", "a", "1")) }()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Publish(ctx, message("t", "b", "2")), context.DeadlineExceeded)
	close(release)
	require.NoError(t, <-first)
	require.NoError(t, p.Publish(t.Context(), message("t", "c", "3")))
	require.Equal(t, []string{"1", "3"}, values(t, admin(t, addresses), "t"), "what waited in vain was never sent")
}

func TestPublisherSurvivesABrokerRestart(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(t.TempDir()), kfake.SeedTopics(1, "t")}
	c, err := kfake.NewCluster(opts...)
	require.NoError(t, err)
	addresses := c.ListenAddrs()
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
	require.NoError(t, p.Publish(t.Context(), message("t", "k", "before")))
	c.Close()
	during := make(chan error, 1)
	go func() { during <- p.Publish(context.Background(), message("t", "k", "during")) }()
	require.Eventually(t, func() bool { c, err = kfake.NewCluster(opts...); return err == nil }, 30*time.Second, 50*time.Millisecond)
	t.Cleanup(c.Close)
	require.NoError(t, <-during)
	require.NoError(t, p.Publish(t.Context(), message("t", "k", "after")))
	require.Subset(t, values(t, admin(t, addresses), "t"), []string{"before", "during", "after"})
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}

func TestClosedPublisherRefuses(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "t"))
	var open atomic.Int64
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses, Dial: countOpen(&open)}})
	require.NoError(t, p.Publish(t.Context(), message("t", "k", "v")))
	require.Positive(t, open.Load())
	require.NoError(t, p.Close(t.Context()))
	require.ErrorContains(t, p.Publish(t.Context(), message("t", "k", "v")), "closed")
	require.Eventually(t, func() bool { return open.Load() == 0 }, 30*time.Second, 5*time.Millisecond, "connections are released")
}

// countOpen dials connections that count themselves while they are open.
func countOpen(open *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return &counted{Conn: conn, open: open}, nil
	}
}

type counted struct {
	net.Conn
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *counted) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

func TestPublisherWaitsForAllReplicas(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	produced := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1, When: func(r kmsg.Request) bool {
		return r.(*kmsg.ProduceRequest).Acks == -1
	}})
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
	require.NoError(t, p.Publish(t.Context(), message("t", "k", "v")))
	require.Equal(t, 1, produced.Hits())
}

func TestPingTellsWhetherABrokerAnswers(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t)
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses, Timeout: time.Second}})
	require.NoError(t, p.Ping(t.Context()))
	c.Close()
	require.Eventually(t, func() bool { return p.Ping(t.Context()) != nil }, 30*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, p.Ping(t.Context()), "ping the brokers")
}

package kafkastream_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/stream/streamtest"
)

// brokers returns the brokers named by KAFKA_BROKERS, or an embedded one, which can deny topics.
func brokers(t testing.TB) (addresses []string, deny func(testing.TB, string)) {
	if named := os.Getenv("KAFKA_BROKERS"); named != "" {
		return strings.Split(named, ","), nil
	}
	c, addresses := fake(t)
	return addresses, func(_ testing.TB, topic string) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: -1})
	}
}

func fake(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, []string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	addresses := c.ListenAddrs()
	return c, addresses
}

func admin(t testing.TB, addresses []string) *kafkastream.Admin {
	t.Helper()
	a, err := kafkastream.NewAdmin(kafkastream.Config{Brokers: addresses})
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}

func newTopic(t testing.TB, a *kafkastream.Admin, partitions int) string {
	t.Helper()
	name := "test-" + strings.ToLower(rand.Text())
	require.NoError(t, a.CreateTopics(t.Context(), []kafkastream.TopicSpec{
		{Name: name, Partitions: partitions, Config: map[string]string{"max.message.bytes": "1000000"}},
	}))
	return name
}

func publisher(t testing.TB, cfg kafkastream.PublisherConfig) *kafkastream.Publisher {
	t.Helper()
	p, err := kafkastream.NewPublisher(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

// consumerConfig has the shortest timings that a broker takes by default.
func consumerConfig(addresses []string, group string) kafkastream.ConsumerConfig {
	return kafkastream.ConsumerConfig{
		Config:    kafkastream.Config{Brokers: addresses, ClientID: "suite"},
		Group:     group,
		Heartbeat: 200 * time.Millisecond, Session: 6 * time.Second, Rebalance: 5 * time.Second,
		JoinBackoff: 200 * time.Millisecond,
		Stream: stream.Config{
			DrainBudget: 3 * time.Second, CommitEvery: 20 * time.Millisecond,
			RetryMin: 10 * time.Millisecond, RetryMax: 200 * time.Millisecond,
		},
	}
}

func consumer(t testing.TB, cfg kafkastream.ConsumerConfig) *kafkastream.Consumer {
	t.Helper()
	c, err := kafkastream.NewConsumer(cfg)
	require.NoError(t, err)
	return c
}

func TestSuite(t *testing.T) {
	t.Parallel()
	addresses, deny := brokers(t)
	a := admin(t, addresses)
	streamtest.Run(t, streamtest.Harness{
		Deny:     deny,
		TooLarge: 2 << 20, // above the topics' limit, below the publisher's own limit
		NewTopic: func(t testing.TB, partitions int) string { return newTopic(t, a, partitions) },
		NewPublisher: func(t testing.TB) stream.Publisher {
			return publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
		},
		NewConsumer: func(t testing.TB, want streamtest.Consumer) streamtest.Runner {
			cfg := consumerConfig(addresses, want.Group)
			cfg.Config.Dial = (&cable{cut: want.Cut}).dial
			cfg.Prepare, cfg.Witnesses = want.Prepare, want.Witnesses
			drain := cfg.Stream.DrainBudget
			cfg.Stream = want.Stream
			if cfg.Stream.DrainBudget == 0 {
				cfg.Stream.DrainBudget = drain
			}
			return onTopics{consumer(t, cfg), want.Topics}
		},
		Committed: func(t testing.TB, group, topic string) map[int]int64 {
			offsets, err := a.Committed(t.Context(), group, topic)
			if err != nil {
				return nil // the coordinator is moving; the caller asks again
			}
			return offsets
		},
	})
}

// onTopics is a consumer with its topics.
type onTopics struct {
	*kafkastream.Consumer
	topics []string
}

func (o onTopics) Run(ctx context.Context, h stream.Handler) error {
	return o.Consumer.Run(ctx, o.topics, h)
}

var errCut = errors.New("the cable is cut")

// cable dials until it is cut; then every connection breaks and no new one is made.
type cable struct {
	cut  <-chan struct{}
	once sync.Once
	mu   sync.Mutex
	open []net.Conn
}

func (c *cable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-c.cut:
		return nil, errCut
	default:
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil || c.cut == nil {
		return conn, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = append(c.open, conn)
	c.once.Do(func() {
		go func() {
			<-c.cut
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, conn := range c.open {
				_ = conn.Close()
			}
		}()
	})
	return conn, nil
}

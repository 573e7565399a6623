package integration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// parts are the broker and the Redis of one test, empty at its start.
type parts struct {
	brokers, redis string
	// real says that they are no twins.
	real bool
}

// newParts gives a test its parts: twins of its own, then it runs beside others, or the real ones, then it runs alone.
func newParts(t *testing.T) parts {
	t.Helper()
	if brokers, addr := os.Getenv("KAFKA_BROKERS"), os.Getenv("REDIS_ADDR"); brokers != "" && addr != "" {
		p := parts{brokers: brokers, redis: addr, real: true}
		p.deleteTopics(t)
		p.forget(t)
		return p
	}
	t.Parallel() // each has twins of its own
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return parts{brokers: strings.Join(cluster.ListenAddrs(), ","), redis: miniredis.RunT(t).Addr()}
}

// forget is FLUSHALL.
func (p parts) forget(t testing.TB) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: p.redis})
	defer func() { _ = client.Close() }()
	require.NoError(t, client.FlushAll(t.Context()).Err())
}

// remembered is everything that Redis holds.
func (p parts) remembered(t testing.TB) string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: p.redis})
	defer func() { _ = client.Close() }()
	var all strings.Builder
	for keys := client.Scan(t.Context(), 0, "*", 1000).Iterator(); keys.Next(t.Context()); {
		value, err := client.Get(t.Context(), keys.Val()).Result()
		require.NoError(t, err)
		all.WriteString(keys.Val() + " " + value + "\n")
	}
	return all.String()
}

// deleteTopics empties a broker that outlives the test.
func (p parts) deleteTopics(t *testing.T) {
	t.Helper()
	transport := &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(p.brokers), Transport: transport, Timeout: 10 * time.Second}
	require.Eventually(t, func() bool {
		meta, err := client.Metadata(t.Context(), &kafka.MetadataRequest{})
		if err != nil {
			return false
		}
		var ours []string
		for _, topic := range meta.Topics {
			if !topic.Internal {
				ours = append(ours, topic.Name)
			}
		}
		if len(ours) == 0 {
			return true
		}
		_, _ = client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: ours})
		return false
	}, 30*time.Second, 200*time.Millisecond, "the topics of an earlier test do not go away")
}

// secretFile writes what a mounted secret would hold.
func secretFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// within bounds a wait for something that other processes do.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

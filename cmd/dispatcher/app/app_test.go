package app

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// lines is a log that a test may wait on.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(text string) bool { return strings.Contains(l.String(), text) }

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// house is an embedded Kafka and Redis, and settings that point at them.
func house(t *testing.T) map[string]string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	base := good(t)
	base["KAFKA_BROKERS"], base["REDIS_ADDRS"] = cluster.ListenAddrs()[0], miniredis.RunT(t).Addr()
	for _, name := range []string{"KAFKA_SASL", "KAFKA_USER", "KAFKA_PASSWORD_FILE", "REDIS_PASSWORD_FILE"} {
		delete(base, name)
	}
	return base
}

func TestMissingTopicsStopTheStart(t *testing.T) {
	t.Parallel()
	var log lines
	err := Run(t.Context(), nil, with(house(t)), &log)
	require.ErrorContains(t, err, "topics are missing: withhold.request, withhold.request.delay.1h, withhold.request.delay.30s, "+
		"withhold.request.delay.5m, withhold.request.delay.5s, withhold.request.dlq, withhold.result")
}

func TestAStopBeforeAnythingAnswersIsNoFailure(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]string{"redis": "REDIS_ADDRS", "kafka": "KAFKA_BROKERS"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log lines
			ctx, cancel := context.WithCancel(t.Context())
			ended, getenv := make(chan error, 1), with(house(t), broken, "127.0.0.1:1")
			go func() { ended <- Run(ctx, nil, getenv, &log) }()
			require.Eventually(t, func() bool { return log.has("trying again") }, time.Minute, 10*time.Millisecond)
			cancel()
			require.NoError(t, <-ended)
		})
	}
}

func TestItServesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	var log lines
	ctx, cancel := context.WithCancel(t.Context())
	ended, getenv := make(chan error, 1), with(house(t), "TOPICS_CREATE", "true", "TOPICS_PARTITIONS", "1")
	go func() { ended <- Run(ctx, nil, getenv, &log) }()
	require.Eventually(t, func() bool { return log.has(`"msg":"prepared"`) }, time.Minute, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.NotContains(t, log.String(), hunter2)
	require.Contains(t, log.String(), `"KAFKA_BROKERS":"127.0.0.1:`, "the settings stand in the log")
}

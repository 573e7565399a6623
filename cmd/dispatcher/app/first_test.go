package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

// traces writes one message to a topic, as an earlier deployment did.
func traces(t *testing.T, base map[string]string, topic string) {
	t.Helper()
	config := kafkastream.Config{Brokers: []string{base["KAFKA_BROKERS"]}}
	admin, err := kafkastream.NewAdmin(config)
	require.NoError(t, err)
	defer admin.Close()
	require.NoError(t, admin.CreateTopics(t.Context(), []kafkastream.TopicSpec{{Name: topic, Partitions: 1}}))
	p, err := kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: config})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close(context.WithoutCancel(t.Context()))) }()
	require.NoError(t, p.Publish(t.Context(), stream.Message{Topic: topic, Key: []byte("B1"), Value: []byte("{}")}))
}

// TestAFirstStartIsBelievedOnlyWithoutTraces: a deployment for other topics, or under another group, starts first on a
// Redis that was emptied while all pods were stopped. The epochs that it makes bind the money deployment too.
func TestAFirstStartIsBelievedOnlyWithoutTraces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		traces, serves string
		fresh          bool
	}{
		"nothing was ever handled":                       {"", "alloc.receiver.query", true},
		"a money order was announced":                    {"withhold.result", "alloc.receiver.query", false},
		"the group was renamed":                          {"withhold.result", "withhold.request", false},
		"a card command was dead-lettered":               {"withhold.card.prebind.dlq", "alloc.receiver.query", false},
		"a money order was parked":                       {"withhold.request.delay.1h", "alloc.receiver.query", false},
		"commands wait, and none was handled":            {"withhold.request", "withhold.request", true},
		"a question was answered, which repeats nothing": {"alloc.receiver.result", "alloc.receiver.query", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := house(t)
			server := miniredis.RunT(t)
			if c.traces != "" {
				traces(t, base, c.traces)
			}
			var log lines
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			getenv := with(base, "TOPICS_CREATE", "true", "TOPICS_PARTITIONS", "1", "TOPICS", c.serves, "REDIS_ADDRS", server.Addr(),
				"DAXPAY_ACCOUNTS_FILE", "../../../deploy/compose/secrets/daxpay-accounts.json", "DAXPAY_URL", "https://daxpay.example.com")
			go func() { ended <- Run(ctx, nil, getenv, &log) }()
			require.Eventually(t, func() bool { return log.has(`"msg":"prepared"`) }, time.Minute, 10*time.Millisecond, log.String())
			cancel()
			require.NoError(t, <-ended)
			stands, err := server.Get("pd:{7}:e")
			require.NoError(t, err)
			require.Equal(t, c.fresh, strings.HasSuffix(stands, "|0"), stands)
			if !c.fresh {
				require.True(t, log.has(c.traces+"/0 was written to"), "the log names the witness")
			}
		})
	}
}

func TestWitnessesAreTheTracesOfEveryEffect(t *testing.T) {
	t.Parallel()
	c := defaults()
	c.Topics.Names = []string{"alloc.receiver.query"}
	c.Withhold.ParkTiers = []time.Duration{5 * time.Second, time.Hour}
	require.Equal(t, []string{
		"withhold.card.confirm",
		"withhold.card.confirm.delay.1h", "withhold.card.confirm.delay.5s", "withhold.card.confirm.dlq",
		"withhold.card.prebind",
		"withhold.card.prebind.delay.1h", "withhold.card.prebind.delay.5s", "withhold.card.prebind.dlq",
		"withhold.card.result",
		"withhold.request",
		"withhold.request.delay.1h", "withhold.request.delay.5s", "withhold.request.dlq", "withhold.result",
	}, c.witnesses())
}

func TestToleranceIsATenthOfTheSettleDelay(t *testing.T) {
	t.Parallel()
	c := defaults()
	require.Equal(t, 6*time.Second, c.tolerance())
	c.Topics.Names = []string{"withhold.card.confirm"}
	require.Equal(t, 6*time.Second, c.tolerance())
	c.Topics.Names = []string{"alloc.receiver.query", "identity.poll"}
	require.Zero(t, c.tolerance(), "a question moves nothing")
}

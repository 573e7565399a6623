package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestALostTopicShows: it is done without, and somebody is told.
func TestALostTopicShows(t *testing.T) {
	t.Parallel()
	var log lines
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv := with(house(t), "TOPICS_CREATE", "true", "TOPICS_PARTITIONS", "1", "KAFKA_BROKERS", cluster.ListenAddrs()[0])
	go func() { ended <- Run(ctx, nil, getenv, &log) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()
	require.Eventually(t, func() bool { return log.has(`"msg":"generation begins"`) }, time.Minute, 10*time.Millisecond)
	address := adminAddress(t, log.String())
	require.NotContains(t, get(t, address, "/readyz"), `"topics"`)
	fault := cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Metadata}, Topic: "withhold.request.delay.5m", Err: kerr.TopicAuthorizationFailed, Count: -1,
	})
	require.Eventually(t, func() bool { return log.has(`"msg":"a topic cannot be served`) }, time.Minute, 10*time.Millisecond)
	require.Contains(t, get(t, address, "/readyz"), "topic withhold.request.delay.5m cannot be served, the others are")
	require.Contains(t, get(t, address, "/metrics"), `paydispatch_topic_lost{topic="withhold.request.delay.5m"} 1`)
	require.Contains(t, get(t, address, "/healthz"), `"ok":true`, "a restart would mend nothing")
	fault.Remove()
	require.Eventually(t, func() bool { return log.has(`"msg":"a topic can be served again"`) }, time.Minute, 10*time.Millisecond)
	require.NotContains(t, get(t, address, "/readyz"), `"topics"`)
}

// TestAGroupThatCannotBeJoinedShows: nothing is executed then, whatever else works.
func TestAGroupThatCannotBeJoinedShows(t *testing.T) {
	t.Parallel()
	var log lines
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.GroupAuthorizationFailed, Count: -1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv := with(house(t), "TOPICS_CREATE", "true", "TOPICS_PARTITIONS", "1", "KAFKA_BROKERS", cluster.ListenAddrs()[0],
		"READY_GRACE", "1ms")
	go func() { ended <- Run(ctx, nil, getenv, &log) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()
	require.Eventually(t, func() bool { return log.has(`"msg":"the group cannot be joined`) }, time.Minute, 10*time.Millisecond)
	address := adminAddress(t, log.String())
	require.Eventually(t, func() bool {
		return strings.Contains(get(t, address, "/readyz"), "the group could not be joined for")
	}, time.Minute, 10*time.Millisecond)
	require.Contains(t, get(t, address, "/metrics"), "paydispatch_outside_group 1")
	fault.Remove()
	require.Eventually(t, func() bool { return log.has(`"msg":"generation begins"`) }, time.Minute, 10*time.Millisecond)
	require.NotContains(t, get(t, address, "/readyz"), `"group"`)
	require.Contains(t, get(t, address, "/metrics"), "paydispatch_outside_group 0")
}

package kafkastream_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestWitnessesOfALog: what a broker refuses for good counts as seen, what it cannot say yet is asked again, and a log
// that retention emptied still tells that it was written to.
func TestWitnessesOfALog(t *testing.T) {
	t.Parallel()
	fault := func(key kmsg.Key, err *kerr.Error, count int) func(*testing.T, *kfake.Cluster, []string) {
		return func(_ *testing.T, c *kfake.Cluster, _ []string) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: "witness", Err: err, Count: count})
		}
	}
	for name, c := range map[string]struct {
		given func(*testing.T, *kfake.Cluster, []string)
		seen  bool
		log   string
	}{
		"empty":                            {func(*testing.T, *kfake.Cluster, []string) {}, false, "this is a first start"},
		"no leader yet, then empty":        {fault(kmsg.ListOffsets, kerr.LeaderNotAvailable, 3), false, "trying again"},
		"no metadata yet, then empty":      {fault(kmsg.Metadata, kerr.LeaderNotAvailable, 2), false, "trying again"},
		"it may not be described":          {fault(kmsg.Metadata, kerr.TopicAuthorizationFailed, -1), true, "witness may not be looked at"},
		"its ends may not be read":         {fault(kmsg.ListOffsets, kerr.TopicAuthorizationFailed, -1), true, "may not be looked at"},
		"the broker refuses, whatever why": {fault(kmsg.Metadata, kerr.UnknownServerError, -1), true, "may not be looked at"},
		"emptied by retention": {func(t *testing.T, c *kfake.Cluster, addresses []string) {
			fill(t, addresses, "witness", 0, 3)
			require.NoError(t, c.DeleteRecords("witness", 0, 3))
		}, true, "witness/0 was written to: its log ends at 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, addresses := fake(t, kfake.SeedTopics(1, "t", "witness"))
			fill(t, addresses, "t", 0, 1)
			c.given(t, cluster, addresses)
			var log bytes.Buffer
			cfg := consumerConfig(addresses, "g")
			cfg.Stream.Logger = slog.New(slog.NewTextHandler(&log, nil))
			cfg.Witnesses = []string{"missing", "witness"}
			var told []bool
			cfg.Prepare = func(_ context.Context, seenBefore bool) error {
				told = append(told, seenBefore)
				return nil
			}
			all := &collector{}
			stop := consume(t, consumer(t, cfg), all, "t")
			all.await(t, 1)
			require.NoError(t, stop())
			require.Equal(t, []bool{c.seen}, told)
			require.Contains(t, log.String(), c.log)
		})
	}
}

//go:build real

package kafkastream_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// java runs testdata/Producer.java on Kafka's own client.
func java(t *testing.T, args ...string) {
	t.Helper()
	libs, err := exec.CommandContext(t.Context(), filepath.Join("..", "..", "..", "scripts", "kafka-jars")).Output()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "java", append([]string{
		"-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", strings.TrimSpace(string(libs)) + "/*", "testdata/Producer.java",
	}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// What the clients that most producers use write when they take a transaction back.
func TestConsumerLeavesOutWhatAJavaProducerTookBack(t *testing.T) {
	t.Parallel()
	addresses, _ := brokers(t)
	topic := newTopic(t, admin(t, addresses), 1)
	java(t, strings.Join(addresses, ","), topic, "abort", "a,b,c", "commit", "1,2", "abort", "d", "commit", "3")
	got := settled(t, addresses, topic)
	slices.Sort(got)
	require.Equal(t, []string{"1", "2", "3"}, got)
}

//go:build real

package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
)

// A command that kcat (librdkafka) produced is executed, and kcat reads its result.
func TestForeignClientProducesAndReads(t *testing.T) {
	h := newHouse(t, nil)
	h.dispatcher()
	h.kcat(command("R-kcat", "B-kcat", "1.00"), "-P", "-t", "withhold.request", "-k", "B-kcat")
	h.results(30*time.Second, settled("B-kcat"))
	out := h.kcat("", "-C", "-t", "withhold.result", "-e", "-q", "-f", `{"key":"%k","headers":"%h","data":%s}`+"\n")
	var read struct {
		Key, Headers string
		Data         map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &read))
	require.Equal(t, "B-kcat", read.Key)
	require.Equal(t, "R-kcat", read.Data["requestId"])
	require.Contains(t, read.Headers, "ce_type=withhold.succeeded.v1")
	require.Contains(t, read.Headers, "ce_specversion=1.0")
}

// A key lands on the same partition whether kafka-go or librdkafka produced it.
func TestForeignClientChoosesTheSamePartition(t *testing.T) {
	h := newHouse(t, nil)
	keys := map[string]int{}
	for i := range 50 {
		key := fmt.Sprintf("B2024010100%04d", i*7919)
		keys[key] = 0
		require.NoError(t, h.write.Publish(t.Context(), stream.Message{Topic: "withhold.request.dlq", Key: []byte(key), Value: []byte("ours")}))
		h.kcat("theirs", "-P", "-t", "withhold.request.dlq", "-k", key, "-X", "partitioner=murmur2_random")
	}
	seen := map[string]map[int]int{}
	for _, m := range h.read("withhold.request.dlq", 30*time.Second, func(m []stream.Message) bool { return len(m) >= 2*len(keys) }) {
		if seen[string(m.Key)] == nil {
			seen[string(m.Key)] = map[int]int{}
		}
		seen[string(m.Key)][m.Partition]++
	}
	used := map[int]bool{}
	for key, at := range seen {
		require.Len(t, at, 1, "key %s lies in partitions %v", key, at)
		for p := range at {
			used[p] = true
		}
	}
	require.Len(t, used, 4, "the keys spread over all partitions")
}

func (h *house) kcat(in string, args ...string) string {
	h.t.Helper()
	cmd := exec.CommandContext(within(h.t, 20*time.Second), "kcat", append([]string{"-b", h.brokers}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	require.NoError(h.t, err, string(out))
	return string(out)
}

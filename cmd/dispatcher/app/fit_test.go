package app

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
)

// TestASkewedClockShows: a dispatcher that serves a command with an effect watches its clock, and says where it matters
// that it is not right.
func TestASkewedClockShows(t *testing.T) {
	t.Parallel()
	var log lines
	server := miniredis.RunT(t)
	server.SetTime(time.Now().Add(-time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv := with(house(t), "TOPICS_CREATE", "true", "TOPICS_PARTITIONS", "1", "REDIS_ADDRS", server.Addr())
	go func() { ended <- Run(ctx, nil, getenv, &log) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()
	require.Eventually(t, func() bool { return log.has(`"reason":"clock_skew"`) }, time.Minute, 10*time.Millisecond)
	address := adminAddress(t, log.String())
	require.Contains(t, get(t, address, "/readyz"), "the clock of this machine is 1h0m0")
	shown := get(t, address, "/metrics")
	require.Contains(t, shown, `paydispatch_unfit{reason="clock_skew"} 1`)
	require.Contains(t, shown, "paydispatch_clock_skew_seconds 3600")
}

func adminAddress(t *testing.T, log string) string {
	t.Helper()
	for line := range strings.Lines(log) {
		var said struct{ Msg, Port, Addr string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "listening" && said.Port == "admin" {
			return said.Addr
		}
	}
	require.FailNow(t, "the admin port is not in the log")
	return ""
}

func get(t *testing.T, address, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(body)
}

// TestAStartThatCannotSeeALoss: it is refused unless someone accepts that, and what is weak is said and shown.
func TestAStartThatCannotSeeALoss(t *testing.T) {
	t.Parallel()
	var refused, log lines
	server := miniredis.RunT(t) // it hides the identity of its data
	getenv := with(house(t), "REDIS_ADDRS", server.Addr(), "REDIS_ACCEPT", "")
	require.ErrorContains(t, Run(t.Context(), nil, getenv, &refused), "REDIS_ACCEPT")
	require.True(t, refused.has(`"weakness":"identity"`))
	require.Empty(t, server.Keys(), "nothing was begun")

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv = with(house(t), "TOPICS_CREATE", "true", "TOPICS_PARTITIONS", "1", "REDIS_ADDRS", server.Addr())
	go func() { ended <- Run(ctx, nil, getenv, &log) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()
	require.Eventually(t, func() bool { return log.has(`"port":"admin"`) }, time.Minute, 10*time.Millisecond)
	address := adminAddress(t, log.String())
	require.Eventually(t, func() bool {
		return strings.Contains(get(t, address, "/metrics"), `paydispatch_store_weakness{weakness="identity"} 1`)
	}, time.Minute, 10*time.Millisecond)
}

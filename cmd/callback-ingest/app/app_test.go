package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
)

const hunter2 = "hunter2-hunter2!"

// settingsOf returns settings that work, changed by pairs.
func settingsOf(t *testing.T, pairs ...string) func(string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(path, []byte(hunter2), 0o600))
	set := map[string]string{
		"KAFKA_BROKERS": "127.0.0.1:1", "REDIS_ADDRS": "127.0.0.1:1", "ADMIN_ADDR": "127.0.0.1:0", "LISTEN_ADDR": "127.0.0.1:0",
		"CALLBACK_TOKEN_KEYS_FILE": path, "VENDORS": "withhold",
	}
	for i := 0; i < len(pairs); i += 2 {
		set[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return set[name] }
}

func TestSettings(t *testing.T) {
	t.Parallel()
	_, _, err := load(settingsOf(t))
	require.NoError(t, err)
	_, _, err = load(func(name string) string { return map[string]string{"VENDORS": "withhold"}[name] })
	require.EqualError(t, err, `3 settings cannot work:
  KAFKA_BROKERS: is not set; it lists addresses such as host1:1234,host2:1234
  REDIS_ADDRS: is not set; it lists addresses such as host1:1234,host2:1234
  CALLBACK_TOKEN_KEYS_FILE: is not set; it names a file with one secret a line, the newest first`)
	_, _, err = load(settingsOf(t, "CALLBACK_RATE", "0", "CALLBACK_TIMEOUT", "40s", "CALLBACK_MAX_BODY", "1", "LISTEN_TLS_CERT_FILE", "x",
		"LISTEN_ADDR", "8080"))
	for _, want := range []string{
		"5 settings cannot work", "CALLBACK_RATE: must be more than 0", "CALLBACK_TIMEOUT: 40s must be shorter than POD_GRACE",
		"CALLBACK_MAX_BODY: 1 must be at least 1024", "LISTEN_TLS_CERT_FILE, LISTEN_TLS_KEY_FILE: only one", "LISTEN_ADDR: ",
	} {
		require.ErrorContains(t, err, want)
	}
}

// log is a JSON log that a test may wait on.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// listening returns the address of a port, "" until it is open.
func (l *log) listening(port string) string {
	for line := range strings.Lines(l.String()) {
		var fields struct{ Msg, Port, Addr string }
		if json.Unmarshal([]byte(line), &fields) == nil && fields.Msg == "listening" && fields.Port == port {
			return fields.Addr
		}
	}
	return ""
}

func get(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

func TestItAnswersUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	var l log
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv := settingsOf(t, "REDIS_ADDRS", miniredis.RunT(t).Addr())
	go func() { ended <- Run(ctx, nil, getenv, &l) }()
	require.Eventually(t, func() bool { return l.listening("callbacks") != "" }, time.Minute, 10*time.Millisecond)
	base, operators := "http://"+l.listening("callbacks"), "http://"+l.listening("admin")
	require.Eventually(t, func() bool { status, _ := get(t, "GET", operators+"/readyz"); return status == 200 }, time.Minute, 10*time.Millisecond)

	tokens, err := commands.NewKeyring([]byte(hunter2))
	require.NoError(t, err)
	stranger, err := commands.NewKeyring([]byte("not-the-key-that-we-have"))
	require.NoError(t, err)
	ours, forged := callback.URL(base, "withhold", tokens, "order-1"), callback.URL(base, "withhold", stranger, "order-1")

	status, body := get(t, "POST", forged)
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, "not found", body)
	status, _ = get(t, "POST", ours)
	require.Equal(t, http.StatusBadRequest, status, "the token is right, the body is no callback")
	status, _ = get(t, "GET", ours)
	require.Equal(t, http.StatusMethodNotAllowed, status)

	_, metrics := get(t, "GET", operators+"/metrics")
	for _, want := range []string{
		`paydispatch_callbacks_total{vendor="withhold",verdict="forged"} 1`,
		`paydispatch_callbacks_total{vendor="withhold",verdict="malformed"} 1`,
		`paydispatch_callbacks_total{vendor="withhold",verdict="accepted"} 0`,
	} {
		require.Contains(t, metrics, want)
	}
	cancel()
	require.NoError(t, <-ended)
	for _, secret := range []string{hunter2, tokens.Token("order-1"), stranger.Token("order-1")} {
		require.NotContains(t, l.String(), secret)
	}
}

// What is away for longer than the grace takes the pod out of service, and brings it back; it never has it restarted.
func TestReadinessFollowsRedisAndTheBrokers(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	server := miniredis.RunT(t)
	var l log
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv := settingsOf(t, "REDIS_ADDRS", server.Addr(), "KAFKA_BROKERS", cluster.ListenAddrs()[0], "READY_GRACE", "300ms")
	go func() { ended <- Run(ctx, nil, getenv, &l) }()
	require.Eventually(t, func() bool { return l.listening("callbacks") != "" }, time.Minute, 10*time.Millisecond)
	operators := "http://" + l.listening("admin")
	becomes := func(want int, says string) {
		t.Helper()
		var body string
		require.Eventually(t, func() bool {
			var status int
			status, body = get(t, "GET", operators+"/readyz")
			return status == want && strings.Contains(body, says)
		}, time.Minute, 10*time.Millisecond, "last answer: %s", &body)
		status, _ := get(t, "GET", operators+"/healthz")
		require.Equal(t, http.StatusOK, status)
	}
	becomes(http.StatusOK, `"problems":[]`)
	server.Close()
	becomes(http.StatusServiceUnavailable, "redis has not answered for")
	require.NoError(t, server.Restart())
	becomes(http.StatusOK, `"problems":[]`)
	cluster.Close()
	becomes(http.StatusServiceUnavailable, "kafka has not answered for")
	_, metrics := get(t, "GET", operators+"/metrics")
	require.Contains(t, metrics, `paydispatch_reachable{dependency="redis"} 1`)
	require.Contains(t, metrics, `paydispatch_reachable{dependency="kafka"} 0`)
	require.Contains(t, metrics, `paydispatch_build_info{`)
	cancel()
	require.NoError(t, <-ended)
}

func TestATakenPortStopsTheStart(t *testing.T) {
	t.Parallel()
	var l log
	taken := miniredis.RunT(t).Addr()
	err := Run(t.Context(), nil, settingsOf(t, "REDIS_ADDRS", taken, "LISTEN_ADDR", taken), &l)
	require.ErrorContains(t, err, "callback port: listen tcp")
}

package service

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/stream"
)

// lines is a log that is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// traced runs a service that makes one span, and returns its log.
func traced(t *testing.T, endpoint string) string {
	t.Helper()
	var log lines
	p := settings.DefaultProcess()
	p.AdminAddr, p.Tracing = "127.0.0.1:0", settings.Tracing{Endpoint: endpoint, Ratio: 1}
	ctx, stop := context.WithCancel(t.Context())
	s := New(ctx, "dispatcher", p, time.Second, &log)
	tracer, err := s.Tracer("host-1", "group-1")
	require.NoError(t, err)
	_, span := tracer.Message(ctx, stream.Message{Topic: "withhold.request"})
	span.End("succeeded", false)
	stop()
	require.NoError(t, s.Wait(), "lost spans are no failure of the service")
	return log.String()
}

func TestSpansReachTheCollector(t *testing.T) {
	t.Parallel()
	type request struct {
		path, kind string
		body       []byte
	}
	got := make(chan request, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.URL.Path, r.Header.Get("Content-Type"), body}
	}))
	defer collector.Close()
	log := traced(t, collector.URL+"/")
	sent := <-got
	require.Equal(t, "/v1/traces", sent.path)
	require.Equal(t, "application/x-protobuf", sent.kind)
	for _, word := range []string{"process withhold.request", "dispatcher", "host-1", "group-1"} {
		require.Contains(t, string(sent.body), word)
	}
	require.NotContains(t, log, "lost")
}

// A collector that refuses or is away is told of in our own log, as JSON, and stops nothing.
func TestACollectorThatIsAwayCostsSpansOnly(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(refusing.Close)
	for name, endpoint := range map[string]string{"refuses": refusing.URL, "away": "http://127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := traced(t, endpoint)
			require.Contains(t, log, `"msg":"spans were lost"`)
			for line := range strings.Lines(log) {
				require.True(t, json.Valid([]byte(line)), line)
			}
		})
	}
}

func TestTracingIsOffUnlessItIsAskedFor(t *testing.T) {
	t.Parallel()
	s := New(t.Context(), "dispatcher", settings.DefaultProcess(), time.Second, io.Discard)
	tracer, err := s.Tracer("host-1", "")
	require.NoError(t, err)
	require.Nil(t, tracer, "a tracer that is there but empty would cost something")
}

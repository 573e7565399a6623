package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/admin"
)

func config() admin.Config {
	return admin.Config{
		Addr: "127.0.0.1:0", Registry: prometheus.NewRegistry(), Level: new(slog.LevelVar),
		Log: slog.New(slog.DiscardHandler),
	}
}

// start serves until the test ends and returns the address.
func start(t *testing.T, cfg admin.Config) string {
	t.Helper()
	s, err := admin.New(t.Context(), cfg)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		require.NoError(t, s.Stop(context.Background()))
		require.NoError(t, <-served)
	})
	return "http://" + s.Addr()
}

func do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(got)
}

func passes(context.Context) error { return nil }

func fails(text string) func(context.Context) error {
	return func(context.Context) error { return errors.New(text) }
}

func TestMetricsShowsOnlyTheRegistryHandedIn(t *testing.T) {
	t.Parallel()
	cfg := config()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "pd_things_total", Help: "Things."})
	cfg.Registry.MustRegister(counter)
	counter.Add(3)
	status, body := do(t, "GET", start(t, cfg)+"/metrics", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "pd_things_total 3")
	require.NotContains(t, body, "go_goroutines")
}

func TestTheNewRegistryShowsRuntimeProcessAndBuild(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Registry = admin.NewRegistry()
	_, body := do(t, "GET", start(t, cfg)+"/metrics", "")
	for _, name := range []string{"go_goroutines", "process_open_fds", "go_build_info"} {
		require.Contains(t, body, name)
	}
}

func TestReadinessListsEveryProblem(t *testing.T) {
	t.Parallel()
	hangs := func(context.Context) error { <-t.Context().Done(); return nil }
	cases := map[string]struct {
		checks []admin.Check
		status int
		body   string
	}{
		"nothing to check": {nil, 200, `{"ok":true,"problems":[]}`},
		"all well":         {[]admin.Check{{"redis", passes}, {"kafka", passes}}, 200, `{"ok":true,"problems":[]}`},
		"two of four, in their order": {
			[]admin.Check{{"redis", fails("refused")}, {"vendor", passes}, {"kafka", fails("no topic")}, {"disk", passes}},
			503, `{"ok":false,"problems":[{"check":"redis","error":"refused"},{"check":"kafka","error":"no topic"}]}`,
		},
		"one hangs": {
			[]admin.Check{{"stuck", hangs}, {"redis", fails("refused")}},
			503, `{"ok":false,"problems":[{"check":"stuck","error":"no answer within 100ms"},{"check":"redis","error":"refused"}]}`,
		},
		"one panics": {
			[]admin.Check{{"rash", func(context.Context) error { panic("boom") }}},
			503, `{"ok":false,"problems":[{"check":"rash","error":"panic: boom"}]}`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			cfg.Ready, cfg.CheckTimeout = c.checks, 100*time.Millisecond
			url := start(t, cfg)
			status, body := do(t, "GET", url+"/readyz", "")
			require.Equal(t, c.status, status)
			require.JSONEq(t, c.body, body)

			// Readiness is not health: a pod whose Redis is away must not be started anew.
			status, _ = do(t, "GET", url+"/healthz", "")
			require.Equal(t, http.StatusOK, status)
		})
	}
}

func TestHealthHasItsOwnChecks(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Alive = []admin.Check{{"lanes", fails("no progress for 5m0s")}}
	status, body := do(t, "GET", start(t, cfg)+"/healthz", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "no progress for 5m0s")
}

func TestTheLogLevelIsShownAndSet(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	cfg := config()
	cfg.Log = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: cfg.Level}))
	url := start(t, cfg) + "/loglevel"

	_, body := do(t, "GET", url, "")
	require.Equal(t, "INFO\n", body)
	status, body := do(t, "PUT", url, "error\n")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ERROR\n", body)
	require.Equal(t, slog.LevelError, cfg.Level.Level())

	var line map[string]any
	require.NoError(t, json.Unmarshal(logged.Bytes(), &line))
	require.Equal(t, "INFO", line["from"])
	require.Equal(t, "ERROR", line["to"])
}

func TestALevelThatIsNoneChangesNothing(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		body   string
		status int
		want   string
	}{
		"unknown word": {"loud", http.StatusBadRequest, "must be debug, info, warn or error"},
		"empty":        {"", http.StatusBadRequest, "must be debug, info, warn or error"},
		"too long":     {strings.Repeat("x", 1000), http.StatusRequestEntityTooLarge, "longer than 32 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			status, body := do(t, "PUT", start(t, cfg)+"/loglevel", c.body)
			require.Equal(t, c.status, status)
			require.Contains(t, body, c.want)
			require.Equal(t, slog.LevelInfo, cfg.Level.Level())
		})
	}
}

func TestProfilesAndNothingElse(t *testing.T) {
	t.Parallel()
	url := start(t, config())
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 200,
		"/": 404, "/metricsx": 404,
	} {
		status, _ := do(t, "GET", url+path, "")
		require.Equal(t, want, status, path)
	}
	status, _ := do(t, "POST", url+"/readyz", "")
	require.Equal(t, http.StatusMethodNotAllowed, status)
}

func TestNewNamesEverythingThatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := admin.New(t.Context(), admin.Config{Ready: []admin.Check{
		{"redis", passes}, {"redis", passes}, {"kafka", nil}, {"", passes},
	}})
	for _, want := range []string{
		"no metrics registry", "no log level", "no logger", `two checks are named "redis"`,
		`check "kafka" has no probe`, "a check has no name",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	first, err := admin.New(t.Context(), config())
	require.NoError(t, err)
	cfg := config()
	cfg.Addr = first.Addr()
	_, err = admin.New(t.Context(), cfg)
	require.ErrorContains(t, err, first.Addr())

	// Stopped before it ever served, it gives its port back.
	require.NoError(t, first.Stop(t.Context()))
	second, err := admin.New(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, second.Stop(t.Context()))
}

package service

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/cmd/internal/settings"
)

// The level of a running service's log is set at its admin port.
func TestTheLogLevelChangesWhileItRuns(t *testing.T) {
	t.Parallel()
	var log lines
	p := settings.DefaultProcess()
	p.AdminAddr = "127.0.0.1:0"
	ctx, stop := context.WithCancel(t.Context())
	s := New(ctx, "dispatcher", p, time.Second, &log)
	require.NoError(t, s.Admin())
	var listening struct{ Addr string }
	require.NoError(t, json.Unmarshal([]byte(log.String()), &listening))
	set := func(level string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+listening.Addr+"/loglevel", strings.NewReader(level))
		require.NoError(t, err)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode)
	}
	s.Log.Debug("one")
	set("debug")
	s.Log.Debug("two")
	set("error")
	s.Log.Info("three")
	require.NotContains(t, log.String(), `"msg":"one"`)
	require.Contains(t, log.String(), `"msg":"two"`)
	require.NotContains(t, log.String(), `"msg":"three"`)
	stop()
	require.NoError(t, s.Wait())
}

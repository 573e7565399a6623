package wire

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/handover"
	"paydispatch/internal/vendors"
)

// At a handover who waits for a connection gives way at once, with the proof that nothing was sent; who has written goes
// on to the end.
func TestAHandoverEndsTheWaitForAConnectionAndNoExchange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		client := newClient(t, Config{MaxConns: 1, Timeout: time.Minute, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return ours, nil
		}})
		over, begin := context.WithCancel(t.Context())
		ctx := handover.With(t.Context(), over)
		call := func() <-chan error {
			ended, request := make(chan error, 1), post(t, "http://v.test")
			go func() {
				_, err := client.Do(ctx, request, Send)
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		began := time.Now()
		written, waiting := call(), call()
		begin()
		requireError(t, <-waiting, commands.ClassRetryable, vendors.CodeHandedOver)
		require.Zero(t, time.Since(began))
		synctest.Wait()
		require.Empty(t, written, "what is on the wire is never cut")
		_, err := client.Do(ctx, post(t, "http://v.test"), Send)
		requireError(t, err, commands.ClassRetryable, vendors.CodeHandedOver)
		requireError(t, <-written, commands.ClassUnknown, CodeTimeout)
		require.Equal(t, time.Minute, time.Since(began), "its own deadline ends it")
	})
}

// A request that gave way may be about to get its connection, or to write: neither must have an effect.
func TestWhatGaveWayIsNeverWritten(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	for name, connected := range map[string]bool{"connected before": true, "connected after": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over, begin := context.WithCancel(t.Context())
			s, conn := new(sighting), &tracked{Conn: ours}
			ctx, settled := s.yield(handover.With(t.Context(), over))
			defer settled()
			trace := httptrace.ContextClientTrace(s.trace(ctx))
			if connected {
				trace.GotConn(httptrace.GotConnInfo{Conn: conn})
			}
			begin()
			<-ctx.Done()
			if !connected {
				trace.GotConn(httptrace.GotConnInfo{Conn: conn})
			}
			_, err := conn.Write([]byte("late"))
			require.ErrorIs(t, err, errSealed)
		})
	}
}

// Once a byte was written a handover changes nothing, and the answer counts.
func TestAHandoverInMidCallIsNotNoticed(t *testing.T) {
	t.Parallel()
	over, begin := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begin()
		<-over.Done()
		_, _ = io.WriteString(w, "charged")
	}))
	t.Cleanup(s.Close)
	res, err := newClient(t, Config{}).Do(handover.With(t.Context(), over), post(t, s.URL), Send)
	require.NoError(t, err)
	require.Equal(t, "charged", string(res.Body))
}

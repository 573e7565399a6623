package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
)

func newClient(t testing.TB, c Config) *Client {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	client, err := New(c)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func post(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader("amount=1&card=6222000000000000000"))
	require.NoError(t, err)
	return req
}

func requireError(t testing.TB, err error, class commands.Class, code string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, class.String(), vendors.ClassOf(err).String(), "%v", err)
	require.Equal(t, code, vendors.CodeOf(err), "%v", err)
}

func TestDoReturnsTheWholeReply(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Len", r.Header.Get("Accept-Encoding"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	res, err := newClient(t, Config{MaxReply: 33}).Do(t.Context(), post(t, s.URL), Send)
	require.NoError(t, err)
	require.Equal(t, http.StatusTeapot, res.Status)
	require.Empty(t, res.Header.Get("X-Len"), "compressed replies were asked for")
	require.Equal(t, "amount=1&card=6222000000000000000", string(res.Body))
	_, err = newClient(t, Config{MaxReply: 32}).Do(t.Context(), post(t, s.URL), Send)
	requireError(t, err, commands.ClassUnknown, CodeReplyTooLarge)
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := newClient(t, Config{})
	for range 5 {
		_, err := c.Do(t.Context(), post(t, s.URL), Send)
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, conns.Load())
}

// TestSendsAreNeverRepeated: net/http repeats a request with an Idempotency-Key by itself when a kept connection dies.
func TestSendsAreNeverRepeated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind Kind
		hits int64
	}{"send": {Send, 2}, "read": {Read, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if hits.Add(1) == 2 {
					panic(http.ErrAbortHandler)
				}
			}))
			t.Cleanup(s.Close)
			client := newClient(t, Config{})
			_, err := client.Do(t.Context(), post(t, s.URL), c.kind)
			require.NoError(t, err)
			req := post(t, s.URL)
			req.Header.Set("Idempotency-Key", "k")
			_, err = client.Do(t.Context(), req, c.kind)
			if c.kind == Send {
				requireError(t, err, commands.ClassUnknown, CodeEOF)
			} else {
				require.NoError(t, err, "the test no longer shows that net/http repeats")
			}
			require.Equal(t, c.hits, hits.Load())
		})
	}
}

func TestSendsThatMightBeRepeatedAreRefused(t *testing.T) {
	t.Parallel()
	client := newClient(t, Config{})
	for _, method := range []string{"", "GET", "HEAD", "OPTIONS", "TRACE"} {
		req := post(t, "http://127.0.0.1:1")
		req.Method = method
		_, err := client.Do(t.Context(), req, Send)
		requireError(t, err, commands.ClassPermanent, CodeUnusable)
	}
	for _, body := range []io.Reader{nil, http.NoBody, strings.NewReader(""), io.NopCloser(strings.NewReader("x"))} {
		req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:1", body)
		require.NoError(t, err)
		_, err = client.Do(t.Context(), req, Send)
		requireError(t, err, commands.ClassPermanent, CodeUnusable)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/there?card=1", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(s.Close)
	for _, kind := range []Kind{Send, Read} {
		_, err := newClient(t, Config{}).Do(t.Context(), post(t, s.URL), kind)
		requireError(t, err, commands.ClassUnknown, CodeRedirected)
	}
	require.EqualValues(t, 2, hits.Load())
}

// TestProof takes each way to fail around the first byte.
func TestProof(t *testing.T) {
	t.Parallel()
	pipeTo := func(serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go serve(theirs)
			return ours, nil
		}
	}
	for name, c := range map[string]struct {
		dial  func(context.Context, string, string) (net.Conn, error)
		url   string
		class commands.Class
		code  string
	}{
		"dial refused": {func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}, "http://v.test", commands.ClassRetryable, CodeDialFailed},
		"no such host": {func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "v.test"}
		}, "http://v.test", commands.ClassRetryable, CodeDialFailed},
		"handshake cut": {pipeTo(func(c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 20)
			_ = c.Close()
		}), "https://v.test", commands.ClassRetryable, CodeTLSFailed},
		"handshake answered by junk": {pipeTo(func(c net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, c) }()
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}), "https://v.test", commands.ClassRetryable, CodeTLSFailed},
		"handshake hangs": {pipeTo(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }),
			"https://v.test", commands.ClassRetryable, CodeTLSFailed},
		"the write hangs": {pipeTo(func(net.Conn) {}), "http://v.test", commands.ClassUnknown, CodeTimeout},
		"one byte read": {pipeTo(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}), "http://v.test", commands.ClassUnknown, ""},
		"all read, then closed": {pipeTo(func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_ = c.Close()
		}), "http://v.test", commands.ClassUnknown, ""},
		"no answer": {pipeTo(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }),
			"http://v.test", commands.ClassUnknown, CodeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var opened []net.Conn
				dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := c.dial(ctx, network, addr)
					if err == nil {
						opened = append(opened, conn)
					}
					return conn, err
				}
				client := newClient(t, Config{Timeout: 10 * time.Second, DialContext: dial})
				_, err := client.Do(t.Context(), post(t, c.url+"/secret?token=abc"), Send)
				require.Error(t, err)
				require.Equal(t, c.class, vendors.ClassOf(err), "%v", err)
				if c.code != "" {
					require.Equal(t, c.code, vendors.CodeOf(err), "%v", err)
				}
				require.NotContains(t, err.Error(), "token")
				for _, conn := range opened {
					_ = conn.Close()
				}
				client.Close()
			})
		})
	}
}

// TestWaitingForAConnectionIsNotSending: all connections are busy until the timeout.
func TestWaitingForAConnectionIsNotSending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		client := newClient(t, Config{MaxConns: 1, Timeout: time.Minute, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return ours, nil
		}})
		first := make(chan error, 1)
		request := post(t, "http://v.test")
		go func() {
			_, err := client.Do(context.Background(), request, Send)
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Do(ctx, post(t, "http://v.test"), Send)
		requireError(t, err, commands.ClassRetryable, CodeDialFailed)
		requireError(t, <-first, commands.ClassUnknown, CodeTimeout)
	})
}

func TestCancelledBeforeIsNotSent(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newClient(t, Config{}).Do(ctx, post(t, "http://127.0.0.1:1"), Send)
	requireError(t, err, commands.ClassRetryable, CodeNotSent)
	require.ErrorIs(t, err, context.Canceled)
}

// TestSealedConnections: once a failure is called "not sent", the write that net/http may still have in hand must fail.
func TestSealedConnections(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	c := &tracked{Conn: ours}
	s := &sighting{got: []mark{{conn: c, before: c.arm(time.Time{})}}}
	require.True(t, s.nothingSent())
	_, err := c.Write([]byte("late"))
	require.ErrorIs(t, err, errSealed)

	other := &tracked{Conn: ours}
	require.NoError(t, ours.Close())
	_, err = other.Write([]byte("x"))
	require.Error(t, err)
	require.False(t, (&sighting{got: []mark{{conn: other}}}).nothingSent(), "a failed write may have sent a part")
	require.False(t, (&sighting{got: []mark{{}}}).nothingSent(), "an unknown connection proves nothing")
	reused := new(sighting)
	trace := httptrace.ContextClientTrace(reused.trace(t.Context()))
	trace.GotConn(httptrace.GotConnInfo{Conn: &tracked{Conn: ours, written: 7}})
	require.True(t, reused.nothingSent(), "earlier requests do not count")
}

func TestErrorsRepeatNothingOfTheExchange(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/9 6222000000000000000\r\nCard 6222000000000000000\r\n\r\n")
			_ = conn.Close()
		}
	}()
	_, err = newClient(t, Config{}).Do(t.Context(), post(t, "http://"+l.Addr().String()+"/x?key=0123456789abcdef"), Send)
	requireError(t, err, commands.ClassUnknown, CodeBadReply)
	for e := err; e != nil; e = errors.Unwrap(e) {
		require.NotContains(t, e.Error(), "6222")
		require.NotContains(t, e.Error(), "0123456789abcdef")
	}
}

// TestHugeRepliesAreNotRead: the cap bounds what is taken in, not only what is accepted.
func TestHugeRepliesAreNotRead(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	written := make(chan int, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, chunk := 0, make([]byte, 64<<10)
		for n < size {
			m, err := w.Write(chunk)
			if n += m; err != nil {
				break
			}
		}
		written <- n
	}))
	t.Cleanup(s.Close)
	_, err := newClient(t, Config{MaxReply: 1 << 10}).Do(t.Context(), post(t, s.URL), Send)
	requireError(t, err, commands.ClassUnknown, CodeReplyTooLarge)
	// What the sockets buffer is far less.
	require.Less(t, <-written, size/2)
}

func TestStatusErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		after  string
		code   string
		wait   time.Duration
	}{
		{429, "7", CodeTooMany, 7 * time.Second},
		{429, "99999", CodeTooMany, 24 * time.Hour},
		{429, "999999", CodeTooMany, 0},
		{429, "-1", CodeTooMany, 0},
		{429, "Wed, 21 Oct 2015 07:28:00 GMT", CodeTooMany, 0},
		{503, "60", CodeStatus5xx, time.Minute},
		{500, "", CodeStatus5xx, 0},
		{404, "", CodeStatus4xx, 0},
		{204, "", CodeStatusOther, 0},
	} {
		header := http.Header{}
		header.Set("Retry-After", c.after)
		err := StatusError(Response{Status: c.status, Header: header, Body: []byte("secret")})
		requireError(t, err, commands.ClassUnknown, c.code)
		typed, ok := errors.AsType[*vendors.Error](err)
		require.True(t, ok)
		require.Equal(t, c.wait, typed.RetryAfter)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestConfigProblemsComeTogether(t *testing.T) {
	t.Parallel()
	_, err := New(Config{MaxReply: -1, MaxConns: -1, IdleTimeout: -1})
	for _, part := range []string{"HTTP timeout", "largest reply", "HTTP connections", "idle timeout"} {
		require.ErrorContains(t, err, part)
	}
}

// suspended is the context of a call on a machine that was suspended: its deadline has passed by the wall clock, while its
// timer, which counts monotonic time, has not fired.
type suspended struct {
	context.Context
	last *atomic.Pointer[time.Time]
}

// Deadline implements context.Context.
func (s suspended) Deadline() (time.Time, bool) { return *s.last.Load(), true }

// TestNothingIsWrittenAfterTheDeadline: a request that has not begun by its deadline, by the wall clock, never begins.
func TestNothingIsWrittenAfterTheDeadline(t *testing.T) {
	t.Parallel()
	over, ahead := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		kind   Kind
		before bool // suspended before the call, else while it gets its connection
	}{
		"a send, before the call":  {Send, true},
		"a read, before the call":  {Read, true},
		"a send, before the write": {Send, false},
		"a read, before the write": {Read, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
			t.Cleanup(s.Close)
			ctx := suspended{t.Context(), new(atomic.Pointer[time.Time])}
			ctx.last.Store(&ahead)
			if c.before {
				ctx.last.Store(&over)
			}
			client := newClient(t, Config{Timeout: 2 * time.Hour, DialContext: func(dialing context.Context, network, address string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(context.WithoutCancel(dialing), network, address)
				ctx.last.Store(&over)
				return conn, err
			}})
			_, err := client.Do(ctx, post(t, s.URL), c.kind)
			requireError(t, err, commands.ClassRetryable, CodeDeadlinePassed)
			require.Zero(t, got.Load())
		})
	}
}

// TestADeadlineStopsOnlyTheBeginning: what has begun is written to its end, since its first bytes prove nothing any more.
func TestADeadlineStopsOnlyTheBeginning(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	c := &tracked{Conn: ours}
	c.arm(time.Now().Add(time.Hour))
	_, err := c.Write([]byte("first"))
	require.NoError(t, err)
	c.last = time.Now().Add(-time.Hour)
	_, err = c.Write([]byte("second"))
	require.NoError(t, err)
	before := c.arm(time.Now().Add(-time.Hour))
	_, err = c.Write([]byte("the next request"))
	require.ErrorIs(t, err, errLate)
	require.True(t, (&sighting{got: []mark{{conn: c, before: before}}}).nothingSent())
}

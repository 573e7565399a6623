package redisstore

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// hook stands between the client and its connections. A nil field lets through.
type hook struct {
	pipeline func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error
	process  func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error
}

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	if h.process == nil {
		return next
	}
	return func(ctx context.Context, cmd redis.Cmder) error { return h.process(ctx, cmd, next) }
}

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	if h.pipeline == nil {
		return next
	}
	return func(ctx context.Context, cmds []redis.Cmder) error { return h.pipeline(ctx, cmds, next) }
}

// deafProxy forwards a connection's bytes; once set deaf it cuts one connection on the server's next word, which tells
// that the command was carried out, and passes none of it on.
type deafProxy struct {
	net.Listener
	deaf atomic.Bool
}

func startProxy(t *testing.T, server string) *deafProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &deafProxy{Listener: listener}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { p.serve(client, server) })
		}
	})
	return p
}

func (p *deafProxy) serve(client net.Conn, addr string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	var group sync.WaitGroup
	group.Go(func() {
		defer func() { _ = server.Close() }()
		forward(server, client, func() bool { return true })
	})
	forward(client, server, func() bool { return !p.deaf.CompareAndSwap(true, false) })
	_ = client.Close()
	group.Wait()
}

func forward(to, from net.Conn, pass func() bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !pass() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func TestLostReplyOfALandedSwap(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	proxy := startProxy(t, server.Addr())
	s := prepared(t, testConfig(proxy.Addr().String()))
	first, err := s.Swap(t.Context(), s.Expect("k"), []byte("first"))
	require.NoError(t, err)

	proxy.deaf.Store(true)
	_, err = s.Swap(t.Context(), first, []byte("second"))
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	var conflict *idempotency.Conflict
	require.NotErrorAs(t, err, &conflict, "the client must not send it again and meet itself")
	require.False(t, proxy.deaf.Load())

	r, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, uint64(2), r.Version)
	require.Equal(t, "second", string(r.Value))
	_, err = s.Swap(t.Context(), first, []byte("again"))
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, r, conflict.Standing)
}

// TestRepeatedSwapRecognisesItself: a proxy, or the client while it follows a cluster, may send a command twice.
func TestRepeatedSwapRecognisesItself(t *testing.T) {
	t.Parallel()
	s := prepared(t, testConfig(miniredis.RunT(t).Addr()))
	warm(t, s)
	s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		_ = next(ctx, cmds)
		return next(ctx, cmds)
	}})
	r, err := s.Swap(t.Context(), s.Expect("k"), []byte("one"))
	require.NoError(t, err)
	require.Equal(t, uint64(1), r.Version)
	stands, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, r, stands)
}

// warm lets the server see the scripts, so that tests count or repeat no NOSCRIPT.
func warm(t testing.TB, s *Store) {
	t.Helper()
	_, err := s.Swap(t.Context(), s.Expect("warm"), nil)
	require.NoError(t, err)
}

func TestScriptsAreSentAgainToAServerThatLostThem(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	s := prepared(t, testConfig(server.Addr()))
	r, err := s.Swap(t.Context(), s.Expect("k"), []byte("one"))
	require.NoError(t, err)
	require.NoError(t, s.nodes.client.ScriptFlush(t.Context()).Err())
	r, err = s.Swap(t.Context(), r, []byte("two"))
	require.NoError(t, err)
	require.Equal(t, uint64(2), r.Version)
}

func TestServerGoneAndBack(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	s := prepared(t, testConfig(server.Addr()))
	was, err := s.Swap(t.Context(), s.Expect("k"), []byte("one"))
	require.NoError(t, err)

	server.Close()
	_, err = s.Load(t.Context(), "k")
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	_, err = s.Swap(t.Context(), was, []byte("two"))
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.ErrorIs(t, s.Prepare(t.Context(), true), idempotency.ErrUnavailable)
	require.ErrorIs(t, s.Ping(t.Context()), idempotency.ErrUnavailable)
	require.ErrorIs(t, s.Check(t.Context()), idempotency.ErrUnavailable)

	require.NoError(t, server.Restart()) // with its data
	require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, 10*time.Second, time.Millisecond)
	_, err = s.Swap(t.Context(), was, []byte("two"))
	require.NoError(t, err)
}

func TestAHangingServerIsUnavailable(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	require.NoError(t, err)
	config := testConfig(listener.Addr().String())
	config.Timeout = 20 * time.Millisecond
	s := open(t, config)
	_, err = s.Load(t.Context(), "k")
	require.ErrorIs(t, err, idempotency.ErrUnavailable)

	config.Timeout = time.Hour
	patient := open(t, config)
	t.Cleanup(func() { _ = listener.Close() }) // resets the connection before Close waits for the call below
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = patient.Load(ctx, "k")
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

// TestErrorsShowNoValue: a server quotes the arguments of a command that it does not know.
func TestErrorsShowNoValue(t *testing.T) {
	t.Parallel()
	const secret = "6222020111122220000"
	for name, cause := range map[string]error{
		"quoted by the server": serverError("ERR unknown command 'EVALSHA', with args beginning with: '" + secret + "'"),
		"as a code":            serverError(secret),
		"as a long code":       serverError(strings.ToUpper(strings.Repeat("secret", 9))),
		"of a known code":      serverError("OOM command not allowed: " + secret),
		"quoted by the client": fmt.Errorf("redis: can't parse %q", secret),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepared(t, testConfig(miniredis.RunT(t).Addr()))
			failing := hook{pipeline: func(_ context.Context, cmds []redis.Cmder, _ redis.ProcessPipelineHook) error {
				for _, cmd := range cmds {
					cmd.SetErr(cause)
				}
				return cause
			}}
			s.nodes.client.AddHook(failing)
			_, err := s.Swap(t.Context(), s.Expect("k"), []byte(secret))
			require.ErrorIs(t, err, idempotency.ErrUnavailable)
			require.NotContains(t, strings.ToLower(err.Error()), "secret")
			require.NotContains(t, err.Error(), secret)
		})
	}
}

// serverError is an error reply, as the client marks it.
type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	require.Contains(t, reason(serverError("OOM command not allowed when used memory > 'maxmemory'.")), "raise maxmemory")
	require.Contains(t, reason(serverError("WRONGPASS invalid username-password pair")), "password is wrong")
	require.Equal(t, "the server refused: ERR", reason(serverError("ERR whatever")))
	server := miniredis.RunT(t)
	server.RequireAuth("secret word")
	_, err := open(t, testConfig(server.Addr())).Load(t.Context(), "k")
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.Contains(t, err.Error(), "NOAUTH")
}

func TestStrangersInTheBucket(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	s := prepared(t, testConfig(server.Addr()))
	key := s.recordKey(s.bucket("k"), "k")
	require.NoError(t, server.Set(key, "not ours"))
	_, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	_, err = s.Swap(t.Context(), s.Expect("k"), nil)
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	left, err := server.Get(key)
	require.NoError(t, err)
	require.Equal(t, "not ours", left)

	require.NoError(t, server.Set(s.epochKey(s.bucket("other")), "not ours"))
	_, err = s.Load(t.Context(), "other")
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.NotContains(t, err.Error(), "not ours")
}

func TestAnotherNumberOfBucketsIsRefused(t *testing.T) {
	t.Parallel()
	config := testConfig(miniredis.RunT(t).Addr())
	prepared(t, config)
	for _, buckets := range []int{1, 15, 17, 160} {
		config.Buckets = buckets
		err := open(t, config).Prepare(t.Context(), true)
		require.ErrorIs(t, err, idempotency.ErrUnavailable, buckets)
		require.Contains(t, err.Error(), "number of buckets", buckets)
	}
}

func TestWaitsForReplicas(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	config := testConfig(server.Addr())
	config.Replicas, config.WaitTimeout = 2, 30*time.Millisecond
	s := prepared(t, config)
	var acks atomic.Int64
	var waited atomic.Int32
	s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		err := next(ctx, cmds)
		last, _ := cmds[len(cmds)-1].(*redis.Cmd)
		if fmt.Sprint(last.Args()) == "[wait 2 30]" { // the same pipeline is the same connection
			waited.Add(1)
			last.SetErr(nil)
			last.SetVal(acks.Load())
		}
		return err
	}})

	acks.Store(2)
	r, err := s.Swap(t.Context(), s.Expect("k"), []byte("one"))
	require.NoError(t, err)
	_, err = s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, int32(2), waited.Load(), "once for the script's digest, once for its source, never for a read")

	acks.Store(1)
	_, err = s.Swap(t.Context(), r, []byte("two"))
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.Contains(t, err.Error(), "too few replicas")
	stands, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, uint64(2), stands.Version, "it landed, but its caller may not build on it")
	var conflict *idempotency.Conflict
	_, err = s.Swap(t.Context(), r, []byte("three"))
	require.ErrorAs(t, err, &conflict, "what another one wrote needs no replicas to be told")
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s, err := New(testConfig(miniredis.RunT(t).Addr()))
	require.NoError(t, err)
	require.NoError(t, s.Prepare(t.Context(), false))
	require.NoError(t, s.Close())
	_, err = s.Load(t.Context(), "k")
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.Contains(t, err.Error(), "closed")
}

func TestClientLogShowsNoArguments(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	clientLog{slog.New(slog.NewJSONHandler(&log, options))}.Printf(t.Context(), "failed: %v", "secret")
	require.Contains(t, log.String(), "failed: %v")
	require.NotContains(t, log.String(), "secret")
}

package redisstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	wire "github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency/storetest"
)

// realServers are the addresses, separated by commas, of a real Redis to test against too: one server, or a cluster.
const realServers = "REDIS_ADDR"

// handClock is moved by the suite only.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *handClock { return &handClock{now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)} }

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func testConfig(addrs ...string) Config {
	return Config{Addrs: addrs, Buckets: 16, Lifetime: 24 * time.Hour, AskWindow: time.Hour, Timeout: 20 * time.Second}
}

func open(t testing.TB, config Config) *Store {
	t.Helper()
	s, err := New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func prepared(t testing.TB, config Config) *Store {
	t.Helper()
	s := open(t, config)
	require.NoError(t, s.Prepare(t.Context(), false))
	return s
}

// TestSuite: once on a server that tells its identity, once on one that hides it.
func TestSuite(t *testing.T) {
	t.Parallel()
	t.Run("told", func(t *testing.T) { t.Parallel(); suite(t, true) })
	t.Run("hidden", func(t *testing.T) { t.Parallel(); suite(t, false) })
}

func suite(t *testing.T, tells bool) {
	storetest.Run(t, func(t testing.TB) storetest.Harness {
		server := miniredis.RunT(t)
		clock, ahead := newClock(), time.Duration(0)
		config := testConfig(server.Addr())
		config.Tolerance = 5 * time.Second
		h := harness(config, clock)
		server.SetTime(clock.Now())
		h.Forget = func(testing.TB) { server.FlushAll() }
		h.Advance = func(d time.Duration) {
			clock.Advance(d)
			server.SetTime(clock.Now().Add(ahead))
		}
		h.Expire = func(d time.Duration) {
			h.Advance(d)
			server.FastForward(d)
		}
		h.Jump = func(d time.Duration) {
			ahead += d
			server.SetTime(clock.Now().Add(ahead))
			server.FastForward(max(d, 0))
		}
		if tells {
			data := identify(server)
			h.Snapshot = func(t testing.TB) func() {
				then := snapshot(t, server)
				return func() {
					then()
					data.Add(1)
				}
			}
		}
		return h
	})
}

func TestSuiteOnRealRedis(t *testing.T) {
	t.Parallel()
	config, set := realConfig()
	if !set {
		return
	}
	require.NoError(t, open(t, config).Check(t.Context()))
	require.NoError(t, open(t, config).Ping(t.Context()))
	storetest.Run(t, func(t testing.TB) storetest.Harness {
		config, _ := realConfig()
		h := harness(config, &handClock{now: time.Now().Round(time.Millisecond)}) // the server's clock goes by itself
		h.Forget = func(t testing.TB) { forget(t, config) }
		t.Cleanup(func() { forget(t, config) })
		return h
	})
}

// TestWatchOnRealRedis: by real clocks, with what a real server tells of itself.
func TestWatchOnRealRedis(t *testing.T) {
	t.Parallel()
	config, set := realConfig()
	if !set {
		return
	}
	t.Cleanup(func() { forget(t, config) })
	config.Tolerance = 5 * time.Second
	s := prepared(t, config)
	require.NoError(t, s.Fit())
	require.NoError(t, s.Look(t.Context()))
	require.NoError(t, s.Fit())
	require.Zero(t, s.Expect("k").Forgot)
	lives, err := s.nodes.client.PTTL(t.Context(), s.epochKey(3)).Result()
	require.NoError(t, err)
	require.Greater(t, lives, config.Lifetime*15/16)
}

// identify makes a miniredis tell the identity of its data, which is the number returned.
func identify(server *miniredis.Miniredis) *atomic.Int64 {
	data := new(atomic.Int64)
	server.Server().SetPreHook(func(c *wire.Peer, command string, _ ...string) bool {
		if command == "INFO" {
			c.WriteBulk(fmt.Sprintf("# Replication\r\nrole:master\r\nmaster_replid:id%d\r\nmaster_replid2:id%d\r\n", data.Load(), data.Load()-1))
		}
		return command == "INFO"
	})
	return data
}

// snapshot keeps all keys of a miniredis; what it returns brings them back.
func snapshot(t testing.TB, server *miniredis.Miniredis) func() {
	t.Helper()
	values, lives := map[string]string{}, map[string]time.Duration{}
	for _, key := range server.Keys() {
		value, err := server.Get(key)
		require.NoError(t, err)
		values[key], lives[key] = value, server.TTL(key)
	}
	return func() {
		server.FlushAll()
		for key, value := range values {
			require.NoError(t, server.Set(key, value))
			server.SetTTL(key, lives[key])
		}
	}
}

func harness(config Config, time *handClock) storetest.Harness {
	config.Now = time.Now
	return storetest.Harness{
		Open:      func(t testing.TB) storetest.Client { return open(t, config) },
		Advance:   time.Advance,
		Now:       time.Now,
		AskWindow: config.AskWindow,
		Lifetime:  config.Lifetime,
		Tolerance: config.Tolerance,
	}
}

// realConfig has a prefix of its own.
func realConfig() (Config, bool) {
	addrs, set := os.LookupEnv(realServers)
	config := testConfig(strings.Split(addrs, ",")...)
	config.Prefix = "test-" + rand.Text()
	return config, set
}

// forget deletes all keys of a prefix. It uses a context of its own, for it also cleans up.
func forget(t testing.TB, config Config) {
	t.Helper()
	client := redis.NewUniversalClient(config.options())
	defer func() { require.NoError(t, client.Close()) }()
	wipe := func(ctx context.Context, node *redis.Client) error {
		keys := node.Scan(ctx, 0, config.Prefix+":*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := node.Del(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		return keys.Err()
	}
	ctx := context.WithoutCancel(t.Context())
	if cluster, clustered := client.(*redis.ClusterClient); clustered {
		require.NoError(t, cluster.ForEachMaster(ctx, wipe))
		return
	}
	single, _ := client.(*redis.Client)
	require.NoError(t, wipe(ctx, single))
}

package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
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

// TestLayout holds what records written by older versions depend on.
func TestLayout(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	identify(server)
	config := Config{Addrs: []string{server.Addr()}, Lifetime: time.Hour, Timeout: 20 * time.Second}
	s := prepared(t, config)
	require.Len(t, server.Keys(), 2*256)
	r, err := s.Swap(t.Context(), s.Expect("o:20260301-1"), []byte("state"))
	require.NoError(t, err)

	const epochKey, dataKey, recordKey = "pd:{250}:e", "pd:{250}:d", "pd:{250}:k:o:20260301-1"
	stands, err := server.Get(epochKey)
	require.NoError(t, err)
	data, err := server.Get(dataKey)
	require.NoError(t, err)
	require.Equal(t, "id0|0", data)
	require.Equal(t, time.Hour, server.TTL(dataKey))
	require.Equal(t, r.Epoch, stands+" "+data)
	require.Regexp(t, `^256\.[a-z0-9]+\.[a-z0-9]+\|0$`, stands)
	require.Equal(t, time.Hour, server.TTL(epochKey), "an epoch lives like a record")
	record, err := server.Get(recordKey)
	require.NoError(t, err)
	require.Regexp(t, `^1\|[a-z0-9]+\.[a-z0-9]+\.0\|state$`, record)
	require.Equal(t, time.Hour, server.TTL(recordKey))

	server.FastForward(time.Minute)
	_, err = s.Swap(t.Context(), r, []byte("state 2"))
	require.NoError(t, err)
	require.Equal(t, time.Hour, server.TTL(recordKey))
	require.Equal(t, 59*time.Minute, server.TTL(epochKey), "not worth a write yet")
	server.FastForward(3 * time.Minute)
	_, err = s.Swap(t.Context(), s.Expect("o:20260301-1"), nil)
	require.Error(t, err, "a conflict renews nothing")
	require.Equal(t, 56*time.Minute, server.TTL(epochKey))
	r, err = s.Load(t.Context(), r.Key)
	require.NoError(t, err)
	_, err = s.Swap(t.Context(), r, nil)
	require.NoError(t, err)
	require.Equal(t, time.Hour, server.TTL(epochKey))

	// Epochs written by versions before this one have no end.
	require.NoError(t, server.Set(epochKey, stands))
	require.Zero(t, server.TTL(epochKey))
	r, err = s.Load(t.Context(), r.Key)
	require.NoError(t, err)
	_, err = s.Swap(t.Context(), r, nil)
	require.NoError(t, err)
	require.Equal(t, time.Hour, server.TTL(epochKey))
}

// TestCallsShareRoundTrips: whoever comes while a pipeline is under way shares the next one, which sets out at once, up to
// a bound, where many wait.
func TestCallsShareRoundTrips(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ claims, first, rest int32 }{
		"few":  {worthFlight - 1, 1, 1},
		"many": {2000, maxFlights, 2000/maxBatch + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepared(t, testConfig(miniredis.RunT(t).Addr()))
			warm(t, s)
			var pipelines, carried atomic.Int32
			release := make(chan struct{})
			s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				carried.Add(int32(len(cmds)))
				pipelines.Add(1)
				<-release
				return next(ctx, cmds)
			}})
			var group sync.WaitGroup
			failed := make(chan error, c.claims+1)
			claim := func(key string) {
				group.Go(func() {
					_, err := s.Swap(context.Background(), s.Expect(key), []byte("v"))
					failed <- err
				})
			}
			claim("first")
			alone := eventually(func() bool { return pipelines.Load() == 1 })
			for i := range c.claims {
				claim(fmt.Sprint("key ", i))
			}
			batcher := s.nodes.byAddr[""]
			settled := eventually(func() bool {
				batcher.mu.Lock()
				defer batcher.mu.Unlock()
				return pipelines.Load() == c.first && carried.Load()+int32(len(batcher.queue)) == c.claims+1
			})
			close(release)
			group.Wait()
			close(failed)
			for err := range failed {
				require.NoError(t, err)
			}
			require.True(t, alone && settled)
			require.LessOrEqual(t, pipelines.Load(), c.first+c.rest)
		})
	}
}

// eventually waits for a condition; unlike require's it does not end the test.
func eventually(holds func() bool) bool {
	for began := time.Now(); time.Since(began) < 10*time.Second; runtime.Gosched() {
		if holds() {
			return true
		}
	}
	return false
}

func TestOneRoundTripACall(t *testing.T) {
	t.Parallel()
	s := prepared(t, testConfig(miniredis.RunT(t).Addr()))
	warm(t, s)
	var pipelines atomic.Int32
	s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		pipelines.Add(1)
		return next(ctx, cmds)
	}})
	was := s.Expect("k")
	require.Zero(t, pipelines.Load())
	_, err := s.Swap(t.Context(), was, []byte("one"))
	require.NoError(t, err)
	require.Equal(t, int32(1), pipelines.Load(), "a claim")
	_, err = s.Swap(t.Context(), was, []byte("one"))
	require.Error(t, err)
	require.Equal(t, int32(2), pipelines.Load(), "a conflict")
	_, err = s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, int32(3), pipelines.Load(), "a read")
	require.NoError(t, s.Prepare(t.Context(), true))
	require.LessOrEqual(t, pipelines.Load(), int32(3+16))
}

func TestCheckRefusesEviction(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		info string
		good bool
	}{
		"no limit":               {"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", true},
		"a limit, no eviction":   {"maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n", true},
		"a limit with eviction":  {"used_memory:5\r\nmaxmemory_human:1K\r\nmaxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n", false},
		"eviction of the mortal": {"maxmemory:1000\nmaxmemory_policy:volatile-ttl\n", false},
		"not told":               {"# Clients\r\nconnected_clients:1\r\n", true},
		"limit alone told":       {"maxmemory:1000\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, testConfig(miniredis.RunT(t).Addr()))
			require.NoError(t, s.Check(t.Context()), "a server that does not tell")
			s.nodes.client.AddHook(hook{process: func(_ context.Context, cmd redis.Cmder, _ redis.ProcessHook) error {
				cmd.(*redis.StringCmd).SetVal(c.info)
				return nil
			}})
			err := s.Check(t.Context())
			if c.good {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errEviction)
			require.NotErrorIs(t, err, idempotency.ErrUnavailable, "trying again would not help")
		})
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	good := testConfig("127.0.0.1:1")
	for name, change := range map[string]func(*Config){
		"no address":                 func(c *Config) { c.Addrs = nil },
		"a database in a cluster":    func(c *Config) { c.Addrs, c.DB = append(c.Addrs, "127.0.0.1:2"), 1 },
		"a database at an endpoint":  func(c *Config) { c.Cluster, c.DB = true, 1 },
		"braces in the prefix":       func(c *Config) { c.Prefix = "{pd}" },
		"too many buckets":           func(c *Config) { c.Buckets = 1 << 20 },
		"negative buckets":           func(c *Config) { c.Buckets = -1 },
		"no lifetime":                func(c *Config) { c.Lifetime = 0 },
		"a negative ask window":      func(c *Config) { c.AskWindow = -1 },
		"negative replicas":          func(c *Config) { c.Replicas = -1 },
		"replicas without a timeout": func(c *Config) { c.Replicas = 1 },
		"a negative timeout":         func(c *Config) { c.Timeout = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := good
			change(&config)
			_, err := New(config)
			require.ErrorContains(t, err, "redis: ")
		})
	}
	_, err := New(Config{})
	require.ErrorContains(t, err, "address")
	require.ErrorContains(t, err, "lifetime", "all problems are told together")
	open(t, good)
}

func TestConfigMasksItself(t *testing.T) {
	t.Parallel()
	config := testConfig("127.0.0.1:1")
	config.Password = "secret word"
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "redis", config)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", config, config, config, config), log.String()} {
		require.NotContains(t, text, "secret")
		require.Contains(t, text, "127.0.0.1:1")
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"1|t|v", "1|t|", "0|t|v", "01|t|v", "1||v", "1|t", "|", "", "-1|t|v", "18446744073709551615|t|a|b", "18446744073709551616|t|v"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := decode(text)
		if err != nil {
			require.ErrorIs(t, err, errMalformed)
			require.Zero(t, r)
			return
		}
		require.Equal(t, text, r.head()+string(r.value))
		require.NotNil(t, r.value)
		require.True(t, strings.HasPrefix(text, begin(r.version, r.token)))
	})
}

// BenchmarkSwap claims new keys from many goroutines, on REDIS_ADDR if it is set.
func BenchmarkSwap(b *testing.B) {
	config, real := realConfig()
	if real {
		b.Cleanup(func() { forget(b, config) })
	} else {
		config.Addrs = []string{miniredis.RunT(b).Addr()}
	}
	for _, parallelism := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("parallelism %d", parallelism), func(b *testing.B) {
			s := prepared(b, config)
			var pipelines, count atomic.Int64
			s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				pipelines.Add(1)
				return next(ctx, cmds)
			}})
			value := bytes.Repeat([]byte("v"), 600)
			run := s.newToken()
			b.SetParallelism(parallelism)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					key := fmt.Sprint("o:", run, count.Add(1))
					if _, err := s.Swap(context.Background(), s.Expect(key), value); err != nil {
						b.Error(err)
						return
					}
				}
			})
			if !config.clustered() { // a cluster's pipelines pass its nodes' clients
				b.ReportMetric(float64(pipelines.Load())/float64(b.N), "trips/op")
			}
		})
	}
}

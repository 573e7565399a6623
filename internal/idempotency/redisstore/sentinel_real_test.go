//go:build real

package redisstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sentinels starts three that watch a primary, and waits until they know each other and its replica.
func sentinels(t *testing.T, primary *realServer) (all []*realServer, addrs []string) {
	t.Helper()
	for range 3 {
		port := freePort(t)
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "bind 127.0.0.1\nport %d\nsentinel monitor orders 127.0.0.1 %d 2\n"+
			"sentinel down-after-milliseconds orders 1000\nsentinel failover-timeout orders 5000\n", port, primary.port), 0o600))
		s := startServerAt(t, port, file, "--sentinel")
		all, addrs = append(all, s), append(addrs, s.addr())
	}
	for _, s := range all {
		s.eventually("knows all", func(context.Context) bool {
			info := s.client.Info(context.WithoutCancel(t.Context()), "sentinel").Val()
			return field(info, "master0") == fmt.Sprintf("name=orders,status=ok,address=%s,slaves=1,sentinels=3", primary.addr())
		})
	}
	return all, addrs
}

// TestSentinels: whatever makes Sentinels promote the replica, the store finds it by itself, and the first intent there is
// refused. Under load no write is lost without that being told.
func TestSentinels(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, primary, sentinel *realServer){
		"kill":   func(_ *testing.T, primary, _ *realServer) { primary.kill() },
		"manual": func(_ *testing.T, _, sentinel *realServer) { sentinel.do("sentinel", "failover", "orders") },
		"freeze": func(t *testing.T, primary, _ *realServer) { t.Cleanup(primary.frozen()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, replica := startServer(t), startServer(t)
			replica.do("replicaof", "127.0.0.1", primary.port)
			replica.eventually("follows", func(context.Context) bool { return replica.info("master_link_status") == "up" })
			all, addrs := sentinels(t, primary)

			wrong := testConfig(addrs[0])
			require.ErrorIs(t, open(t, wrong).Check(t.Context()), errSentinel)

			config := testConfig(addrs...)
			config.Master, config.Timeout = "orders", 2*time.Second
			s := prepared(t, config)
			require.NoError(t, s.Check(t.Context()))
			kept := swapped(t, s, s.Expect("kept"), "one")
			fail(t, primary, all[0])
			replica.eventually("is promoted", func(context.Context) bool { return replica.info("role") == "master" })
			becomes(t, "the store follows", func(ctx context.Context) bool {
				return s.isAt(ctx, replica)
			})
			require.False(t, met(t, s, kept).Back.IsZero())
			swapped(t, s, again(t, s, "kept"), "two")
			require.Equal(t, "two", string(again(t, s, "kept").Value))
		})
	}
}

// isAt reports whether the store reaches a server.
func (s *Store) isAt(ctx context.Context, server *realServer) bool {
	info, err := s.nodes.client.Info(ctx, "server").Result()
	return err == nil && field(info, "tcp_port") == fmt.Sprint(server.port)
}

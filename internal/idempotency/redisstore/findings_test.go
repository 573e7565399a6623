package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

func TestFindings(t *testing.T) {
	t.Parallel()
	const good = "redis_version:7.2.4\r\nmaxmemory:0\r\naof_enabled:1\r\nconnected_slaves:1\r\n"
	for name, c := range map[string]struct {
		info     string
		hidden   bool
		fsync    string
		replicas int
		ahead    time.Duration
		weak     []string
	}{
		"nothing":                 {info: good, replicas: 1},
		"a server that tells all": {info: good, replicas: 1, fsync: "everysec"},
		"a server that is mute":   {info: "", replicas: 1},
		"hidden":                  {info: good, replicas: 1, hidden: true, weak: []string{idempotency.WeakIdentity}},
		"the clock":               {info: good, replicas: 1, ahead: time.Minute, weak: []string{idempotency.WeakClock}},
		"evicting":                {info: "maxmemory:10\r\nmaxmemory_policy:allkeys-lru\r\n", replicas: 1, weak: []string{idempotency.WeakEviction}},
		"snapshots only":          {info: "aof_enabled:0\r\n", replicas: 1, weak: []string{idempotency.WeakPersistence}},
		"a lazy file":             {info: good, replicas: 1, fsync: "no", weak: []string{idempotency.WeakPersistence}},
		"no replica":              {info: "connected_slaves:0\r\n", weak: []string{idempotency.WeakReplicas}},
		"too few replicas":        {info: good, replicas: 2, weak: []string{idempotency.WeakReplicas}},
		"replicas not waited for": {info: good, weak: []string{idempotency.WeakReplicas}},
		"old":                     {info: "redis_version:5.0.9\r\n", replicas: 1, weak: []string{idempotency.WeakVersion}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := miniredis.RunT(t)
			if !c.hidden {
				identify(server)
			}
			server.SetTime(time.Now().Add(c.ahead))
			config := testConfig(server.Addr())
			config.Replicas, config.WaitTimeout, config.Tolerance = c.replicas, time.Second, 10*time.Second
			s := open(t, config)
			s.nodes.client.AddHook(hook{process: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
				switch reply := cmd.(type) {
				case *redis.MapStringStringCmd:
					reply.SetVal(map[string]string{"appendfsync": c.fsync})
				case *redis.StringCmd:
					reply.SetVal(c.info)
				default:
					return next(ctx, cmd)
				}
				return nil
			}})
			found, err := s.Findings(t.Context())
			require.NoError(t, err)
			var weak []string
			for _, f := range found {
				weak = append(weak, f.Weakness)
				require.Contains(t, idempotency.Weaknesses(), f.Weakness)
			}
			require.Equal(t, c.weak, weak)
		})
	}
}

//go:build real

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// clusterOf starts three primaries with a replica each.
func clusterOf(t *testing.T) (all []*realServer) {
	t.Helper()
	args := []string{"--cluster", "create"}
	for range 6 {
		s := startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--appendonly", "no")
		all, args = append(all, s), append(args, s.addr())
	}
	redisCLI(t, append(args, "--cluster-replicas", "1", "--cluster-yes")...)
	for _, s := range all {
		s.eventually("is in the cluster", func(ctx context.Context) bool {
			return strings.Contains(s.client.ClusterInfo(ctx).Val(), "cluster_state:ok") &&
				(s.info("role") == "master" || s.info("master_link_status") == "up")
		})
	}
	return all
}

func redisCLI(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "redis-cli", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// TestCluster: nodes die, hang, hand over and give slots away while intents are written. No intent is written over an older
// record than was acknowledged unless that is told, and writing goes on after each.
func TestCluster(t *testing.T) {
	t.Parallel()
	all := clusterOf(t)
	role := func(s *realServer) string { return s.info("role") }
	primaryOf := func(replica *realServer) *realServer {
		for _, s := range all {
			if fmt.Sprint(s.port) == replica.info("master_port") {
				return s
			}
		}
		return nil
	}
	config := testConfig(all[0].addr(), all[1].addr(), all[2].addr())
	config.Timeout = time.Second
	s := prepared(t, config)
	require.NoError(t, s.Check(t.Context()))

	ctx, stop := context.WithCancel(t.Context())
	var written [32]atomic.Int64
	failed := make(chan error, len(written))
	for i := range written {
		go func() { failed <- hammer(ctx, s, fmt.Sprint("key ", i), &written[i]) }()
	}
	goesOn := func(what string) {
		t.Helper()
		var before [len(written)]int64
		for i := range written {
			before[i] = written[i].Load()
		}
		becomes(t, "writing goes on after "+what, func(context.Context) bool {
			for i := range written {
				if written[i].Load() < before[i]+3 {
					return false
				}
			}
			return true
		})
	}
	goesOn("the start")

	replica := all[3]
	replica.do("cluster", "failover")
	replica.eventually("is promoted", func(context.Context) bool { return role(replica) == "master" })
	goesOn("a manual failover")

	from, to := replica.do("cluster", "myid"), all[4]
	to = primaryOf(to)
	redisCLI(t, "--cluster", "reshard", to.addr(), "--cluster-from", fmt.Sprint(from), "--cluster-to", fmt.Sprint(to.do("cluster", "myid")),
		"--cluster-slots", "3000", "--cluster-yes")
	goesOn("a resharding")

	replica = all[4]
	thaw := primaryOf(replica).frozen()
	replica.eventually("is promoted", func(context.Context) bool { return role(replica) == "master" })
	goesOn("a freeze")
	thaw()

	replica = all[5]
	primaryOf(replica).kill()
	replica.eventually("is promoted", func(context.Context) bool { return role(replica) == "master" })
	goesOn("a kill")
	stop()
	for range written {
		require.NoError(t, <-failed)
	}
}

// hammer writes one intent after another, and fails when an older record than was acknowledged is taken for the latest.
func hammer(ctx context.Context, s *Store, key string, written *atomic.Int64) error {
	was, acked := s.Expect(key), uint64(0)
	for ctx.Err() == nil {
		was.Intent = true
		next, err := s.Swap(ctx, was, []byte("intent"))
		conflict, ok := errors.AsType[*idempotency.Conflict](err)
		switch {
		case err == nil:
			if next.Version <= acked && was.Back.IsZero() {
				return fmt.Errorf("%s: version %d was written over %d, and nothing told", key, next.Version, acked)
			}
			written.Add(1)
			was, acked = next, next.Version
		case ok:
			was = conflict.Standing
		default: // away for a while
			if found, err := s.Load(ctx, key); err == nil {
				was = found
			}
		}
	}
	return nil
}

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"paydispatch/internal/idempotency"
)

// Ping asks a server for a sign of life. Its only error is [idempotency.ErrUnavailable].
func (s *Store) Ping(ctx context.Context) error {
	if err := s.nodes.client.Ping(ctx).Err(); err != nil {
		return unavailable("ping", err)
	}
	return nil
}

// errEviction is permanent: the servers' settings must change.
var errEviction = errors.New("the server may evict records: set maxmemory-policy to noeviction, or maxmemory to 0")

// errSentinel is permanent, too.
var errSentinel = errors.New("this is a Sentinel, not a Redis: the name of its primary must be set")

// Check refuses servers that may drop records to make room: a dropped record is a loss that no epoch tells. Servers
// that do not tell their policy are accepted. Its errors are that, or [idempotency.ErrUnavailable].
func (s *Store) Check(ctx context.Context) error {
	cluster, clustered := s.nodes.client.(*redis.ClusterClient)
	if !clustered {
		return checkServer(ctx, s.nodes.client)
	}
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		if err := checkServer(ctx, node); err != nil {
			return fmt.Errorf("node %s: %w", node.Options().Addr, err)
		}
		return nil
	})
	if err == nil || errors.Is(err, errEviction) || errors.Is(err, idempotency.ErrUnavailable) {
		return err
	}
	return unavailable("learning the cluster's layout", err)
}

func checkServer(ctx context.Context, server redis.Cmdable) error {
	// All default sections: servers that know no memory section refuse to be asked for it alone.
	info, err := server.Info(ctx).Result()
	if err != nil {
		return unavailable("reading the server's settings", err)
	}
	if field(info, "redis_mode") == "sentinel" {
		return errSentinel
	}
	if policy := evicts(info); policy != "" {
		return fmt.Errorf("maxmemory-policy is %q: %w", policy, errEviction)
	}
	return nil
}

// evicts returns the policy by which a server may evict, by its INFO; "" if it may not.
func evicts(info string) string {
	limit, policy := field(info, "maxmemory"), field(info, "maxmemory_policy")
	if limit == "" || limit == "0" || policy == "noeviction" {
		return ""
	}
	return policy
}

// field returns a field of an INFO reply, "" if it is not told.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/clock"
)

// oldest is the first version that is tested; scripts before 5 cannot write what they read of the server.
const oldest = 6

// identitySource returns the identity of the data, as the scripts see it.
//
// KEYS[1] -> any key on the server
const identitySource = seesSource + `return identity()`

// Findings looks at each server for what makes a loss likelier, or keeps it from being seen. What a server does not tell is
// no finding, but for the identity of its data. Its only error is [idempotency.ErrUnavailable].
func (s *Store) Findings(ctx context.Context) ([]idempotency.Finding, error) {
	shares, err := s.shares(ctx)
	if err != nil {
		return nil, unavailable("learning the cluster's layout", err)
	}
	var all []idempotency.Finding
	for _, on := range shares {
		found, err := s.inspect(ctx, on)
		if err != nil {
			return nil, unavailable("inspecting a server", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func (s *Store) inspect(ctx context.Context, on share) ([]idempotency.Finding, error) {
	server := ""
	if node, ok := on.client.(*redis.Client); ok && s.config.clustered() {
		server = node.Options().Addr
	}
	var all []idempotency.Finding
	find := func(weak bool, weakness, text string, args ...any) {
		if weak {
			all = append(all, idempotency.Finding{Weakness: weakness, Server: server, Text: fmt.Sprintf(text, args...)})
		}
	}
	sees := newScript(identitySource)
	reply, err := s.do(ctx, call{script: &sees, keys: []string{s.epochKey(on.buckets[0])}})
	if err != nil {
		return nil, err
	}
	find(reply.value == unseen, idempotency.WeakIdentity, "INFO replication is hidden from scripts: a server that lost its latest "+
		"writes is noticed only by a process that wrote them; give the user INFO, or accept the risk")
	at := s.health.read()
	now, err := on.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	skew := clock.Measurement{Before: at, After: s.health.read(), Server: now}.Skew()
	find(s.config.Tolerance > 0 && skew.Abs() > s.config.Tolerance, idempotency.WeakClock,
		"own clock and the server's are %v apart, %v is allowed: keep both right by NTP", skew, s.config.Tolerance)
	info, err := on.client.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	s.judgeInfo(ctx, on, info, find)
	return all, nil
}

// judgeInfo finds what INFO, and CONFIG where it is allowed, say of a server.
func (s *Store) judgeInfo(ctx context.Context, on share, info string, find func(bool, string, string, ...any)) {
	version := field(info, "redis_version")
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil {
		find(n < oldest, idempotency.WeakVersion, "Redis %s is not tested any more: use %d or later", version, oldest)
	}
	find(evicts(info) != "", idempotency.WeakEviction, "maxmemory-policy is %q: %v", evicts(info), errEviction)
	aof := field(info, "aof_enabled")
	find(aof == "0", idempotency.WeakPersistence, "there is no append-only file: a restart loses what was written since the last "+
		"snapshot, and its orders are asked about; set appendonly yes")
	if aof == "1" {
		fsync := on.client.ConfigGet(ctx, "appendfsync").Val()["appendfsync"] // managed servers do not tell
		find(fsync == "no", idempotency.WeakPersistence, "appendfsync is no: a power cut loses half a minute of writes; set everysec or always")
	}
	replicas, err := strconv.Atoi(field(info, "connected_slaves"))
	find(err == nil && replicas < max(1, s.config.Replicas), idempotency.WeakReplicas, "the server has %d replicas, writes wait for %d: "+
		"when it is lost, so is everything; add replicas", replicas, s.config.Replicas)
	find(err == nil && replicas > 0 && s.config.Replicas == 0, idempotency.WeakReplicas, "writes are not waited for: a failover loses the "+
		"latest, and their orders are asked about; set REDIS_WAIT_REPLICAS")
}

package main

import (
	"context"
	"time"
)

// row is one fault, or all together.
type row struct {
	// name is for -only; fault says what happens, in the table.
	name, fault string
	// brokers is 1 or 3; dispatchers at most clients-1.
	brokers, dispatchers int
	redis                func(ctx context.Context, p *ports, dir string) (*store, error)
	// settings go to all services.
	settings []string
	vendor   behaviour
	// wrong are the places whose clock is wrong from the start: they are never ready.
	wrong []int
	// before strikes before anything is started, during while commands are written (ctx ends with them), after when
	// each has its end.
	before func(s *stage) error
	during func(ctx context.Context, s *stage) error
	after  func(ctx context.Context, s *stage) error
	// cutCounts: nobody is killed, so no call may be cut.
	cutCounts bool
	// longer is how many times as many commands, and as much time, the row has.
	longer int
}

// patient are settings under which a busy machine alone makes no call end early: longer timings, which stand to each
// other like the defaults.
func patient() []string {
	return []string{
		"WITHHOLD_TIMEOUT=3s", "WITHHOLD_LEASE=4s", "WITHHOLD_SETTLE=6s", "DRAIN_BUDGET=4s", "REBALANCE_TIMEOUT=6s",
		"SESSION_TIMEOUT=7s",
	}
}

// usual is the vendor of rows that are not about it.
func usual() behaviour {
	return behaviour{
		Latency: 20 * time.Millisecond, Spread: 30 * time.Millisecond, Declined: 0.05, Called: 0.5,
		Pending: 0.1, PendingFor: 1500 * time.Millisecond,
	}
}

// mute is one that never calls back, so that only questions find out.
func mute(change func(*behaviour)) behaviour {
	return with(func(b *behaviour) {
		b.Called = 0
		change(b)
	})
}

// unhurried has many calls under way at any moment.
func unhurried(b *behaviour) { b.Latency, b.Spread = 150*time.Millisecond, 300*time.Millisecond }

// with is the usual vendor with a change.
func with(change func(*behaviour)) behaviour {
	b := usual()
	change(&b)
	return b
}

func oneRedis(ctx context.Context, p *ports, dir string) (*store, error) {
	return newStore(ctx, p, dir, appendOnly()...)
}

func snapshotRedis(ctx context.Context, p *ports, dir string) (*store, error) {
	return newStore(ctx, p, dir, snapshots()...)
}

func replicatedRedis(ctx context.Context, p *ports, dir string) (*store, error) {
	return newReplicated(ctx, p, dir, appendOnly()...)
}

func sentinelRedis(ctx context.Context, p *ports, dir string) (*store, error) {
	return newSentinels(ctx, p, dir, appendOnly()...)
}

func clusterRedis(ctx context.Context, p *ports, dir string) (*store, error) {
	return newRedisCluster(ctx, p, dir, appendOnly()...)
}

// rows is the table. A row says only in what it differs from: one broker, one Redis, two dispatchers, the usual vendor.
func rows() []row {
	all := []row{
		{name: "calm", fault: "nothing", cutCounts: true, settings: patient()},
		{name: "kill", fault: "kill -9 of a dispatcher every 2 s", during: killing, vendor: mute(unhurried)},
		{
			name: "stop", fault: "SIGSTOP of a dispatcher beyond the lease, and beyond its session", during: standing,
			vendor: mute(unhurried),
		},
		{name: "flushall", fault: "FLUSHALL of Redis, four times", during: wiping},
		{name: "flushall-kill", fault: "the same, and kill -9 of all dispatchers", during: wipingAndKilling},
		{name: "redis-aof", fault: "kill -9 of Redis with an append-only file", during: killingRedis},
		{name: "redis-rdb", fault: "kill -9 of Redis with snapshots only", redis: snapshotRedis, during: snapshotLost(false)},
		{
			name: "redis-rdb-kill", fault: "the same, and kill -9 of all dispatchers", redis: snapshotRedis,
			during: snapshotLost(true),
		},
		{name: "redis-truncated", fault: "kill -9 of Redis, the last 100 KB of its append-only file gone", during: powerCut},
		{
			name: "redis-truncated-wait", fault: "the same with a replica and WAIT", redis: replicatedRedis, during: powerCut,
			settings: []string{"REDIS_WAIT_REPLICAS=1"},
		},
		{
			name: "failover", fault: "failover to a replica that is behind", redis: replicatedRedis,
			during: staleFailover(false),
		},
		{
			name: "failover-kill", fault: "the same, and kill -9 of all dispatchers", redis: replicatedRedis,
			during: staleFailover(true),
		},
		{
			name: "failover-wait", fault: "the same, with WAIT", redis: replicatedRedis, during: staleFailover(true),
			settings: []string{"REDIS_WAIT_REPLICAS=1"},
		},
		{
			name: "wait", fault: "the replica away, with WAIT", redis: replicatedRedis, during: replicaAway,
			settings: []string{"REDIS_WAIT_REPLICAS=1"},
		},
		{
			name: "cluster", fault: "Redis Cluster: kill -9 of masters, manual failovers", redis: clusterRedis,
			during: clusterFailover,
		},
		{
			name: "sentinel", fault: "Sentinel: kill -9 of the master, freeze, manual failover", redis: sentinelRedis,
			during: sentinelFailover,
		},
		{name: "brokers", fault: "kill -9 of a broker of three", brokers: 3, during: killingBrokers},
		{name: "leaders", fault: "leaders move between three brokers", brokers: 3, during: movingLeaders},
		{
			name: "peers", fault: "network between the brokers cut, in-sync replicas too few", brokers: 3,
			during: partingBrokers,
		},
		{name: "net-cut", fault: "network cut between each pair", redis: replicatedRedis, during: eachPair((*link).cut)},
		{
			name: "net-frozen", fault: "network silent between each pair", redis: replicatedRedis,
			during: eachPair((*link).freeze),
		},
		{
			name: "net-slow", fault: "network delayed between each pair", redis: replicatedRedis,
			during: eachPair(func(l *link) { l.slow(300 * time.Millisecond) }),
		},
		{
			name: "vendor-lost", fault: "vendor: 5 % of the replies lost after the charge",
			vendor: mute(func(b *behaviour) { b.LostReplies = 0.05 }),
		},
		{
			name: "vendor-slow", fault: "vendor: 5 % slower than any timeout, half charged at the end",
			vendor: mute(func(b *behaviour) { b.Slow, b.SlowFor = 0.05, 1700*time.Millisecond }),
		},
		{
			name: "vendor-5xx", fault: "vendor: 5 % answered with a 503 after the charge",
			vendor: mute(func(b *behaviour) { b.Errors = 0.05 }),
		},
		{
			name: "vendor-resets", fault: "vendor: 5 % reset in the reply, 5 % lost before the charge",
			vendor: mute(func(b *behaviour) { b.Resets, b.LostRequests = 0.05, 0.05 }),
		},
		{
			name: "vendor-refuses", fault: "vendor: 5 % refused though charged",
			vendor: mute(func(b *behaviour) { b.Refusals = 0.05 }),
		},
		{
			name: "query-lag", fault: "vendor: charges are hidden from questions for 3.5 s, 10 % of the replies lost",
			vendor: mute(func(b *behaviour) { b.QueryLag, b.LostReplies, b.Pending = 3500*time.Millisecond, 0.1, 0 }),
		},
		{
			name: "callbacks", fault: "callbacks doubled, early, late, contrary",
			vendor: with(func(b *behaviour) {
				b.Called, b.Pending, b.Early, b.Late, b.LateFor = 1, 0.5, 0.3, 0.3, 5*time.Second
				b.Doubled, b.Contrary, b.LostReplies = 0.3, 0.2, 0.05
			}),
		},
		{
			name: "clocks", fault: "clocks 5 min ahead and behind, and set while running", dispatchers: 3, wrong: []int{1, 2},
			before: wrongClocks, during: settingClocks,
			vendor: mute(func(b *behaviour) { b.QueryLag, b.LostReplies, b.Pending = 3500*time.Millisecond, 0.1, 0 }),
		},
		{name: "rolling", fault: "rolling restarts", cutCounts: true, settings: patient(), during: rolling(2 * time.Second)},
		{
			name: "rolling-slow", fault: "rolling restarts under a slow vendor with a backlog", cutCounts: true,
			during:   rolling(4 * time.Second),
			settings: append(patient(), "WITHHOLD_MAX_CONNS=32"),
			vendor:   with(func(b *behaviour) { b.Latency, b.Spread = 400*time.Millisecond, 200*time.Millisecond }),
		},
		{
			name: "rollback", fault: "roll forward and back to a version that knows less", cutCounts: true,
			settings: patient(), during: rollingBack,
		},
		{name: "group-gone", fault: "consumer group deleted, Redis empty", after: groupGone},
		{name: "other-first", fault: "the same, and another deployment starts first", after: otherFirst},
		{name: "aborted", fault: "transactions rolled back", during: aborting},
		{name: "replay", fault: "the whole history once more", after: replay(false)},
		{name: "replay-forgot", fault: "the whole history once more, Redis empty", after: replay(true)},
		{
			name: "all", fault: "all of it together", brokers: 3, redis: replicatedRedis, during: everything, longer: 3,
			vendor: with(func(b *behaviour) {
				b.LostReplies, b.LostRequests, b.Errors, b.Resets = 0.01, 0.01, 0.01, 0.01
				b.Slow, b.SlowFor = 0.01, 1700*time.Millisecond
				b.QueryLag, b.Early, b.Late, b.LateFor, b.Doubled, b.Contrary = 2*time.Second, 0.2, 0.2, 4*time.Second, 0.2, 0.1
			}),
			after: groupGone,
		},
	}
	for i := range all {
		all[i].complete()
	}
	return all
}

func (r *row) complete() {
	r.brokers, r.dispatchers, r.longer = max(r.brokers, 1), max(r.dispatchers, 2), max(r.longer, 1)
	if r.redis == nil {
		r.redis = oneRedis
	}
	if (r.vendor == behaviour{}) {
		r.vendor = usual()
	}
}

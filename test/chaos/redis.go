package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// server is one redis-server.
type server struct {
	program
	port    int
	process *process
	client  *redis.Client
}

// The ways in which a Redis keeps what it is given.
func appendOnly() []string {
	return []string{"--appendonly", "yes", "--appendfsync", "everysec", "--save", ""}
}

// snapshots are taken by the rows, when they want one.
func snapshots() []string { return []string{"--appendonly", "no", "--save", ""} }

// startServer starts a redis-server with these options.
func startServer(ctx context.Context, p *ports, dir, name string, options ...string) (*server, error) {
	port, err := p.free()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	s := &server{port: port, program: program{name: name, dir: dir, path: "redis-server", workingDir: home}}
	s.args = append([]string{
		"--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", home, "--daemonize", "no",
		"--repl-diskless-sync-delay", "0", "--repl-timeout", "60", "--repl-ping-replica-period", "1",
	}, options...)
	s.client = redis.NewClient(&redis.Options{Addr: s.address(), MaxRetries: -1})
	err = s.restart(ctx)
	return s, err
}

// quiet keeps the client's log out of the table: what it has to say is in its errors.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// restart starts it when it does not run, and waits until it answers with its data loaded.
func (s *server) restart(ctx context.Context) error {
	if s.process == nil || !s.process.alive() {
		var err error
		if s.process, err = s.program.start(); err != nil {
			return err
		}
	}
	return eventually(ctx, time.Minute, s.name, func(ctx context.Context) error {
		if !s.process.alive() {
			return fmt.Errorf("it has ended: see its log in %s", s.dir)
		}
		return s.client.Ping(ctx).Err()
	})
}

func (s *server) do(ctx context.Context, words ...any) error {
	if err := s.client.Do(ctx, words...).Err(); err != nil {
		return fmt.Errorf("%s: %v: %w", s.name, words, err)
	}
	return nil
}

// cutFile takes the last bytes off the append-only file, as a power cut does, a fifth of the file at most; the server
// must not run.
func (s *server) cutFile(most int64) error {
	files, err := filepath.Glob(filepath.Join(s.workingDir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s: found no append-only file in %s: %w", s.name, s.workingDir, err)
	}
	last := files[len(files)-1]
	info, err := os.Stat(last)
	if err != nil {
		return err
	}
	return os.Truncate(last, info.Size()-min(most, info.Size()/5))
}

func (s *server) close() {
	if s == nil {
		return
	}
	_ = s.client.Close()
	if s.process != nil {
		s.process.signal(sigcont)
		s.process.kill()
	}
}

// store is the Redis of a row, in one of the forms below.
type store struct {
	// primary and its replica; the replica follows over a link of its own.
	primary, replica *server
	follow           *link
	// ways are the links from each client; nil where clients are told the servers' own addresses.
	ways []*link
	// more are sentinels, or the other nodes of a cluster.
	more []*server
	// settings are what a client needs to reach it.
	settings func(client int) []string

	ports   *ports
	dir     string
	options []string
	copies  int // replicas so far, to name the next one
}

// newStore starts one server, reached over links.
func newStore(ctx context.Context, p *ports, dir string, options ...string) (s *store, err error) {
	s = &store{ports: p, dir: dir, options: options}
	if s.primary, err = startServer(ctx, p, dir, "redis", options...); err != nil {
		return s, err
	}
	for range clients {
		way, err := newLink(s.primary.address())
		if err != nil {
			return s, err
		}
		s.ways = append(s.ways, way)
	}
	s.settings = func(client int) []string { return []string{"REDIS_ADDRS=" + s.ways[client].address()} }
	return s, nil
}

// newReplicated adds a replica.
func newReplicated(ctx context.Context, p *ports, dir string, options ...string) (*store, error) {
	s, err := newStore(ctx, p, dir, options...)
	if err != nil {
		return s, err
	}
	err = s.addReplica(ctx)
	return s, err
}

// addReplica gives the primary a replica; one that it had before is forgotten.
func (s *store) addReplica(ctx context.Context) (err error) {
	if s.follow != nil {
		s.follow.close()
	}
	s.copies++
	if s.follow, err = newLink(s.primary.address()); err != nil {
		return err
	}
	name := fmt.Sprintf("redis-replica-%d", s.copies)
	if s.replica, err = startServer(ctx, s.ports, s.dir, name, s.options...); err != nil {
		return err
	}
	if err := s.replica.do(ctx, "REPLICAOF", "127.0.0.1", s.follow.port()); err != nil {
		return err
	}
	// Should it start anew, it follows again.
	s.replica.args = append(s.replica.args, "--replicaof", fmt.Sprintf("127.0.0.1 %d", s.follow.port()))
	return s.synced(ctx)
}

// synced waits until the replica follows.
func (s *store) synced(ctx context.Context) error {
	return eventually(ctx, time.Minute, "the replica", func(ctx context.Context) error {
		info, err := s.replica.client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = fmt.Errorf("the replica does not follow yet")
		}
		return err
	})
}

// promote makes the replica the one that clients reach, as a managed service does. The old primary does not come back.
func (s *store) promote(ctx context.Context) error {
	if err := s.replica.do(ctx, "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	for _, way := range s.ways {
		way.aim(s.replica.address())
	}
	s.primary.close()
	s.primary, s.replica = s.replica, nil
	s.primary.args = s.primary.args[:len(s.primary.args)-2] // it follows nobody any more
	return nil
}

// newSentinels starts a pair of servers and three sentinels over them.
func newSentinels(ctx context.Context, p *ports, dir string, options ...string) (s *store, err error) {
	s = &store{}
	if s.primary, err = startServer(ctx, p, dir, "redis", options...); err != nil {
		return s, err
	}
	follow := append([]string{"--replicaof", fmt.Sprintf("127.0.0.1 %d", s.primary.port)}, options...)
	if s.replica, err = startServer(ctx, p, dir, "redis-replica", follow...); err != nil {
		return s, err
	}
	if err := s.synced(ctx); err != nil {
		return s, err
	}
	var all []string
	for i := range 3 {
		name := fmt.Sprintf("sentinel-%d", i+1)
		file := filepath.Join(dir, name+".conf")
		config := fmt.Sprintf("sentinel monitor payments 127.0.0.1 %d 2\nsentinel down-after-milliseconds payments 1000\n"+
			"sentinel failover-timeout payments 5000\n", s.primary.port)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return s, err
		}
		watch, err := startSentinel(ctx, p, dir, name, file)
		if err != nil {
			return s, err
		}
		s.more = append(s.more, watch)
		all = append(all, watch.address())
	}
	s.settings = func(int) []string {
		return []string{"REDIS_ADDRS=" + strings.Join(all, ","), "REDIS_SENTINEL_MASTER=payments"}
	}
	return s, nil
}

func startSentinel(ctx context.Context, p *ports, dir, name, file string) (*server, error) {
	port, err := p.free()
	if err != nil {
		return nil, err
	}
	s := &server{port: port, program: program{name: name, dir: dir, path: "redis-server", workingDir: dir}}
	s.args = []string{file, "--sentinel", "--port", fmt.Sprint(port), "--bind", "127.0.0.1"}
	s.client = redis.NewClient(&redis.Options{Addr: s.address(), MaxRetries: -1})
	err = s.restart(ctx)
	return s, err
}

// newRedisCluster starts three servers with a replica each.
func newRedisCluster(ctx context.Context, p *ports, dir string, options ...string) (s *store, err error) {
	s = &store{}
	var all []string
	for i := range 6 {
		name := fmt.Sprintf("redis-%d", i+1)
		node, err := startServer(ctx, p, dir, name, append([]string{
			"--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-config-file", "nodes.conf",
		}, options...)...)
		if err != nil {
			return s, err
		}
		s.more = append(s.more, node)
		all = append(all, node.address())
	}
	words := append([]string{"--cluster", "create"}, all...)
	words = append(words, "--cluster-replicas", "1", "--cluster-yes")
	joining := program{name: "redis-cluster", dir: dir, path: "redis-cli", args: words}
	join, err := joining.start()
	if err != nil {
		return s, err
	}
	<-join.done
	s.settings = func(int) []string {
		return []string{"REDIS_ADDRS=" + strings.Join(all, ","), "REDIS_CLUSTER=true"}
	}
	return s, eventually(ctx, time.Minute, "the cluster", func(ctx context.Context) error {
		for _, node := range s.more {
			info, err := node.client.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:6") {
				return fmt.Errorf("%s is not part of it yet: see redis-cluster.log in %s", node.name, dir)
			}
		}
		return nil
	})
}

// leading lists the nodes of a cluster that are masters, or with false the replicas, of those that answer.
func (s *store) leading(ctx context.Context, masters bool) []*server {
	var all []*server
	for _, node := range s.more {
		info, err := node.client.Info(ctx, "replication").Result()
		if err == nil && strings.Contains(info, "role:master") == masters {
			all = append(all, node)
		}
	}
	return all
}

// restore starts what does not run and opens every link.
func (s *store) restore(ctx context.Context) error {
	for _, l := range append([]*link{s.follow}, s.ways...) {
		if l != nil {
			l.heal()
		}
	}
	for _, one := range append([]*server{s.primary, s.replica}, s.more...) {
		if one == nil {
			continue
		}
		if one.process != nil {
			one.process.signal(sigcont)
		}
		if err := one.restart(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) close() {
	if s == nil {
		return
	}
	for _, one := range append([]*server{s.primary, s.replica}, s.more...) {
		one.close()
	}
	for _, l := range append([]*link{s.follow}, s.ways...) {
		if l != nil {
			l.close()
		}
	}
}

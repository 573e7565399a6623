package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"paydispatch/bench/gateway"
	"paydispatch/bench/load"
	"paydispatch/bench/process"
)

// world is what all systems are measured on: one broker, one Redis, one vendor double.
type world struct {
	options
	dir      string
	self     string
	progress io.Writer

	admin   *load.Broker
	vendor  gateway.Client
	redis   resp
	counts  string // address where the embedded broker tells its requests; "" for a real one
	redisIs string
	// parties are the processes that are not the system, by the name under which their share is told.
	parties map[string]party
	servers []*process.Process
	groups  atomic.Int64
}

// party tells what a process costs.
type party func() process.Usage

func newWorld(ctx context.Context, o options, progress io.Writer) (*world, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "paydispatch-bench-")
	if err != nil {
		return nil, err
	}
	w := &world{options: o, dir: dir, self: self, progress: progress, parties: map[string]party{
		"bench": watch(os.Getpid()),
	}}
	if err := errors.Join(w.startBroker(), w.startRedis(ctx), w.startVendor(), w.writeSecrets()); err != nil {
		w.close()
		return nil, err
	}
	if w.admin, err = load.Dial(w.brokers); err != nil {
		w.close()
		return nil, err
	}
	if err := w.refuseFull(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// watch returns a party that is not a child, such as a broker that runs already. Once it is gone it costs nothing.
func watch(pid int) party {
	return func() process.Usage {
		u, _ := process.Of(pid)
		return u
	}
}

// server starts a role that serves and returns its address.
func (w *world) server(name, path string, args ...string) (string, error) {
	log, err := w.log(name)
	if err != nil {
		return "", err
	}
	p, address, err := process.StartServer(process.Config{Name: name, Path: path, Args: args, Log: log})
	if err != nil {
		return "", err
	}
	w.servers = append(w.servers, p)
	w.parties[name] = p.Usage
	return address, nil
}

func (w *world) log(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(w.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func (w *world) startBroker() error {
	if len(w.brokers) > 0 {
		if w.brokerPID > 0 {
			w.parties["broker"] = watch(w.brokerPID)
		}
		return nil
	}
	address, err := w.server("broker", w.self, "broker")
	if err != nil {
		return err
	}
	brokers, counts, _ := strings.Cut(address, " ")
	w.brokers, w.counts = strings.Split(brokers, ","), counts
	return nil
}

func (w *world) startRedis(ctx context.Context) error {
	if w.options.redis != "" {
		w.redis, w.redisIs = resp{w.options.redis}, "the given Redis"
		if w.redisPID > 0 {
			w.parties["redis"] = watch(w.redisPID)
		}
		return nil
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		address, err := w.server("redis", w.self, "redis")
		w.redis, w.redisIs = resp{address}, "miniredis (redis-server is not installed; it is the bottleneck)"
		return err
	}
	return w.startRedisServer(ctx, path)
}

// startRedisServer starts redis-server without persistence on a port that was free a moment ago.
func (w *world) startRedisServer(ctx context.Context, path string) error {
	log, err := w.log("redis")
	if err != nil {
		return err
	}
	for range 3 {
		address, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		_, port, _ := strings.Cut(address, ":")
		p, err := process.Start(process.Config{Name: "redis", Path: path, Log: log, Args: []string{
			"--bind", "127.0.0.1", "--port", port, "--dir", w.dir, "--save", "", "--appendonly", "no",
		}})
		if err != nil {
			return err
		}
		w.redis, w.redisIs = resp{address}, "redis-server without persistence"
		if w.redis.await(ctx, 5*time.Second) == nil {
			w.servers = append(w.servers, p)
			w.parties["redis"] = p.Usage
			return nil
		}
		p.Stop(time.Second)
	}
	return errors.New("redis-server did not answer: see its log in " + w.dir)
}

func (w *world) startVendor() error {
	address, err := w.server("vendor", w.self, "vendor")
	w.vendor = gateway.Client{URL: address}
	return err
}

// writeSecrets writes the files that a pod would have mounted.
func (w *world) writeSecrets() error {
	accounts, err := json.Marshal(map[string]any{"default": map[string]string{"ua": gateway.UA, "key": gateway.Key}})
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(w.dir, "accounts"), accounts, 0o600),
		os.WriteFile(filepath.Join(w.dir, "fingerprints"), []byte("bench-fingerprint-key-0123456789abcdef\n"), 0o600),
	)
}

// refuseFull refuses a Kafka or a Redis of somebody else's that holds anything: every run empties both.
func (w *world) refuseFull(ctx context.Context) error {
	if w.empty {
		return nil
	}
	if n, err := w.admin.Written(ctx, 1, load.Commands, load.Results); err == nil && n > 0 {
		return fmt.Errorf("the Kafka at %s has messages in the withhold topics, which the bench would delete: use another "+
			"one, or -empty (make bench EMPTY=1)", strings.Join(w.brokers, ","))
	}
	keys, err := w.redis.do(ctx, "DBSIZE")
	if err != nil {
		return err
	}
	if keys != ":0" {
		return fmt.Errorf("the Redis at %s holds keys, which the bench would delete: use another one, or -empty "+
			"(make bench EMPTY=1)", w.redis.address)
	}
	return nil
}

// parts names what the systems ran on.
func (w *world) parts() string {
	broker := "embedded broker (kfake)"
	if w.counts == "" {
		broker = "the given Kafka"
	}
	if w.real {
		broker, w.redisIs = "Apache Kafka, one node", "redis-server with appendonly everysec"
	}
	return broker + ", " + w.redisIs + ", the bench's vendor double, all on this machine"
}

// machineUsage is the name under which the whole machine's usage stands beside the parties'.
const machineUsage = "machine"

// usage is what every party has cost so far.
func (w *world) usage() map[string]process.Usage {
	all := map[string]process.Usage{machineUsage: {CPU: process.Machine()}}
	for name, p := range w.parties {
		all[name] = p()
	}
	return all
}

// requests counts what the broker and Redis have been asked so far, as far as they tell.
func (w *world) requests(ctx context.Context) map[string]float64 {
	all := map[string]float64{}
	for name, n := range w.redis.stats(ctx) {
		all["redis "+name] = n
	}
	if w.counts == "" {
		return all
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.counts, nil)
	if err != nil {
		return all
	}
	res, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return all
	}
	defer func() { _ = res.Body.Close() }()
	counts := map[string]float64{}
	if json.NewDecoder(res.Body).Decode(&counts) == nil {
		for name, n := range counts {
			all["kafka "+name] = n
		}
	}
	return all
}

// close stops what was started, the last one first.
func (w *world) close() {
	if w.admin != nil {
		w.admin.Close()
	}
	for _, p := range slices.Backward(w.servers) {
		p.Stop(5 * time.Second)
	}
	if w.keep {
		fmt.Fprintln(w.progress, "logs:", w.dir)
		return
	}
	_ = os.RemoveAll(w.dir) //nolint:gosec // made by newWorld
}

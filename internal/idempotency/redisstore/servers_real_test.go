//go:build real

package redisstore

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// realServer is a redis-server of the test's own, on a free port, with a folder that outlives its process.
type realServer struct {
	t       *testing.T
	dir     string
	port    int
	args    []string
	process *exec.Cmd
	client  *redis.Client
}

// startServer starts one with these settings. It ends with the test.
func startServer(t *testing.T, args ...string) *realServer {
	t.Helper()
	return startServerAt(t, freePort(t), args...)
}

// startServerAt starts one on this port; a first argument that is a file holds all of its settings.
func startServerAt(t *testing.T, port int, args ...string) *realServer {
	t.Helper()
	s := &realServer{t: t, dir: t.TempDir(), port: port, args: args}
	s.client = redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1, DialTimeout: time.Second, DialerRetries: 1})
	t.Cleanup(func() {
		_ = s.client.Close()
		s.kill()
	})
	s.start()
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	for { // below the range that the system hands out to clients, and with room for a cluster's bus
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := listener.Addr().(*net.TCPAddr).Port
		require.NoError(t, listener.Close())
		if port < 55000 {
			return port
		}
	}
}

func (s *realServer) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// start starts the process, again perhaps, and waits until it has loaded its data.
func (s *realServer) start() {
	s.t.Helper()
	args := append([]string{"--bind", "127.0.0.1", "--port", fmt.Sprint(s.port), "--dir", s.dir, "--daemonize", "no", "--save", ""}, s.args...)
	if len(s.args) > 0 && strings.HasSuffix(s.args[0], ".conf") {
		args = s.args
	}
	s.process = exec.Command("redis-server", args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer func() { _ = log.Close() }()
	s.process.Stdout, s.process.Stderr = log, log
	require.NoError(s.t, s.process.Start())
	s.eventually("answers", func(ctx context.Context) bool { return s.client.Ping(ctx).Err() == nil })
}

// kill is SIGKILL, and waits for the end.
func (s *realServer) kill() {
	if s.process.ProcessState == nil {
		_ = s.process.Process.Signal(syscall.SIGKILL)
		_ = s.process.Wait()
	}
}

// frozen stops the process, as a machine that hangs, until the function that it returns is called.
func (s *realServer) frozen() (thaw func()) {
	require.NoError(s.t, s.process.Process.Signal(syscall.SIGSTOP))
	return func() { require.NoError(s.t, s.process.Process.Signal(syscall.SIGCONT)) }
}

// do runs a command.
func (s *realServer) do(args ...any) any {
	s.t.Helper()
	value, err := s.client.Do(s.t.Context(), args...).Result()
	require.NoError(s.t, err, args)
	return value
}

func (s *realServer) info(name string) string {
	return field(s.client.Info(context.WithoutCancel(s.t.Context())).Val(), name)
}

// eventually polls until something holds.
func (s *realServer) eventually(what string, holds func(context.Context) bool) {
	s.t.Helper()
	becomes(s.t, fmt.Sprintf("%s %s", s.addr(), what), holds)
}

func becomes(t *testing.T, what string, holds func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// follow makes a server the replica of another one, and waits until it has everything; cut lets nothing more reach it.
func (s *realServer) follow(primary *realServer) (cut func()) {
	s.t.Helper()
	link := startDoor(s.t, primary.addr())
	s.do("replicaof", "127.0.0.1", link.Addr().(*net.TCPAddr).Port)
	s.eventually("follows", func(context.Context) bool { return s.info("master_link_status") == "up" })
	return func() { link.leadTo("127.0.0.1:1") } // a port without a listener
}

// door is an address that leads to one server or another.
type door struct {
	net.Listener
	mu    sync.Mutex
	to    string
	conns []net.Conn
}

func startDoor(t *testing.T, to string) *door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &door{Listener: listener, to: to}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(func() { d.leadTo(""); _ = listener.Close() })
	group.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { d.serve(from) })
		}
	})
	return d
}

func (d *door) addr() string { return d.Addr().String() }

// leadTo leads to another server from now on, and cuts what led to the one before.
func (d *door) leadTo(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
}

func (d *door) serve(from net.Conn) {
	defer func() { _ = from.Close() }()
	d.mu.Lock()
	to, err := net.Dial("tcp", d.to)
	if err == nil {
		d.conns = append(d.conns, from, to)
	}
	d.mu.Unlock()
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	var group sync.WaitGroup
	group.Go(func() { _, _ = io.Copy(to, from); _ = to.Close() })
	group.Go(func() { _, _ = io.Copy(from, to); _ = from.Close() })
	group.Wait()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The deployment's timings: as the defaults are to each other, but about a tenth as long, so that a row takes less than
// a minute. docs/chaos.md shows both.
const (
	parkTiers     = "1s,2s,4s"
	vendorTimeout = time.Second
	lease         = 2 * time.Second
	settle        = 4 * time.Second
	drainBudget   = 1500 * time.Millisecond
	session       = 4 * time.Second
	podGrace      = 8 * time.Second
)

// timings are the settings that both services share, and the dispatcher's own.
func timings() (shared, dispatcher []string) {
	shared = []string{
		"PARK_TIERS=" + parkTiers, "WITHHOLD_LEASE=" + lease.String(), "WITHHOLD_SETTLE=" + settle.String(),
		"WITHHOLD_DEADLINE=150s", "WITHHOLD_MAX_SENDS=10", "REDIS_TIMEOUT=500ms", "REDIS_WAIT_TIMEOUT=300ms",
		"REDIS_BUCKETS=64", "POD_GRACE=" + podGrace.String(), "READY_GRACE=3s",
	}
	return shared, []string{
		"WITHHOLD_TIMEOUT=" + vendorTimeout.String(), "DRAIN_BUDGET=" + drainBudget.String(), "HEARTBEAT_INTERVAL=300ms",
		"REBALANCE_TIMEOUT=3s", "SESSION_TIMEOUT=" + session.String(), "PATIENCE=500ms", "STUCK_AFTER=10s",
		"BREAKER_OPEN=1s", "BREAKER_WINDOW=2s", "TOPICS=" + commandTopic, "WITHHOLD_MISSING_WORDS=" + vendorMissing,
		"WITHHOLD_ACCOUNTS_FILE=accounts", "FINGERPRINT_KEYS_FILE=fingerprints", "LOG_LEVEL=info",
	}
}

// writeSecrets writes the files that the settings name.
func writeSecrets(dir string) error {
	account := fmt.Appendf(nil, `{"default":{"ua":%q,"key":%q}}`, vendorUA, vendorKey)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "accounts"), account, 0o600),
		os.WriteFile(filepath.Join(dir, "fingerprints"), []byte("chaos-fingerprint-key-1\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "tokens"), []byte("chaos-callback-token-1\n"), 0o600),
	)
}

// service is one place of a deployment: a dispatcher or callback-ingest that is started again and again.
type service struct {
	program
	admin string

	mu      sync.Mutex
	process *process
	// wanted: the platform starts it anew when it has ended.
	wanted bool
}

// start starts it when it does not run.
func (s *service) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = true
	return s.run()
}

func (s *service) run() (err error) {
	if s.process == nil || !s.process.alive() {
		s.process, err = s.program.start()
	}
	return err
}

// revive is the platform: it starts what has ended though it is wanted, and tells whether it had to.
func (s *service) revive() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wanted || s.process.alive() {
		return false, nil
	}
	return true, s.run()
}

// become changes the program that the next start runs.
func (s *service) become(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path = path
}

func (s *service) signal(what syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.signal(what)
	}
}

// kill is kill -9; the platform starts it anew a little later.
func (s *service) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.kill()
	}
}

// stop is SIGTERM, and kill -9 when the platform's patience is over; it stays down until it is started.
func (s *service) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = false
	if s.process == nil || !s.process.alive() {
		return nil
	}
	return s.process.stop(podGrace)
}

// ready waits until it says that it may be given work.
func (s *service) ready(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second}
	return eventually(ctx, time.Minute, s.name+" ready", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz says %s", res.Status)
		}
		return nil
	})
}

// newDispatcher returns the dispatcher of a client's place, not started.
func (s *stage) newDispatcher(client int) (*service, error) {
	port, err := s.ports.free()
	if err != nil {
		return nil, err
	}
	shared, own := timings()
	d := &service{admin: fmt.Sprintf("127.0.0.1:%d", port)}
	d.program = program{
		name: fmt.Sprintf("dispatcher-%d", client+1), dir: s.dir, path: s.binaries.dispatcher, workingDir: s.dir,
	}
	d.env = append(append(shared, own...),
		"KAFKA_BROKERS="+strings.Join(s.kafka.seen(client), ","), "KAFKA_GROUP="+s.group, "ADMIN_ADDR="+d.admin,
		"WITHHOLD_URL=http://"+s.toVendor[client].address()+"/gateway", "CALLBACK_BASE_URL=http://"+s.toIngest.address(),
		"CALLBACK_TOKEN_KEYS_FILE=tokens", "CHAOS_CLOCK_FILE="+s.clockFile(client),
	)
	d.env = append(append(d.env, s.redis.settings(client)...), s.row.settings...)
	return d, nil
}

// newIngest returns callback-ingest, not started. It is the last of the clients.
func (s *stage) newIngest() (*service, error) {
	port, err := s.ports.free()
	if err != nil {
		return nil, err
	}
	admin, err := s.ports.free()
	if err != nil {
		return nil, err
	}
	shared, _ := timings()
	i := &service{admin: fmt.Sprintf("127.0.0.1:%d", admin)}
	i.program = program{name: "callback-ingest", dir: s.dir, path: s.binaries.ingest, workingDir: s.dir}
	i.env = append(i.env, shared...)
	i.env = append(i.env, "KAFKA_BROKERS="+strings.Join(s.kafka.seen(clients-1), ","), "VENDORS=withhold",
		"ADMIN_ADDR="+i.admin, fmt.Sprintf("LISTEN_ADDR=127.0.0.1:%d", port), "CALLBACK_TOKEN_KEYS_FILE=tokens",
		"CALLBACK_TIMEOUT=2s", "CALLBACK_RATE=1000", "CALLBACK_BURST=1000")
	i.env = append(append(i.env, s.redis.settings(clients-1)...), s.row.settings...)
	s.toIngest.aim(fmt.Sprintf("127.0.0.1:%d", port))
	return i, nil
}

// clockFile holds by how many seconds the clock of a client's process is wrong; the dispatcher is built for chaos with
// a clock that reads it (package test/overlay).
func (s *stage) clockFile(client int) string {
	return filepath.Join(s.dir, fmt.Sprintf("clock-%d", client+1))
}

// setClock makes the clock of a client's process wrong by this much, within a tenth of a second.
func (s *stage) setClock(client int, by time.Duration) error {
	return os.WriteFile(s.clockFile(client), fmt.Appendf(nil, "%d", int(by.Seconds())), 0o600)
}

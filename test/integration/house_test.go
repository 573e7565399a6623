package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestapp "paydispatch/cmd/callback-ingest/app"
	dispatcherapp "paydispatch/cmd/dispatcher/app"
	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/sim/withhold"
	"paydispatch/schemas"
)

const (
	gatewayKey = "k9XvQ2mT7bLw4cZp" // AES-128
	tokenKey   = "token-key-of-the-integration-tests"
	contentKey = "content-key-of-the-integration-tests"
	card       = "6222021234567890123"
	identity   = "110101199003074578"
	phone      = "13912345678"
	person     = "欧阳测试"
)

// house is everything around the services of one test.
type house struct {
	t *testing.T
	parts
	double   *withhold.Gateway
	settings map[string]string
	admin    *kafkastream.Admin
	write    *kafkastream.Publisher
	log      *logbook
}

// logbook collects what the services log; safe for concurrent use.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newHouse builds the double by script and the settings; services are started by the test.
func newHouse(t *testing.T, script func(order string, attempt int) withhold.Plan) *house {
	t.Helper()
	h := &house{t: t, parts: newParts(t), log: &logbook{}}
	h.double = withhold.New(withhold.Config{
		Accounts: map[string]string{"ua-test": gatewayKey}, Latency: 5 * time.Millisecond, Script: script,
		CallbackRetry: []time.Duration{300 * time.Millisecond, time.Second, time.Second},
	})
	server := httptest.NewServer(h.double)
	t.Cleanup(func() { h.double.Close(); server.Close() })
	ingest := freeAddress(t)
	h.settings = map[string]string{
		"KAFKA_BROKERS": h.brokers, "KAFKA_GROUP": "integration", "REDIS_ADDRS": h.redis, "REDIS_BUCKETS": "16",
		"TOPICS_CREATE": "true", "TOPICS_PARTITIONS": "4", "ADMIN_ADDR": "127.0.0.1:0", "LOG_LEVEL": "DEBUG",
		"TOPICS": "withhold.request", "VENDORS": "withhold",
		"WITHHOLD_URL": server.URL, "WITHHOLD_ACCOUNTS_FILE": secretFile(t, "accounts", `{"default":{"ua":"ua-test","key":"`+gatewayKey+`"}}`),
		"WITHHOLD_MISSING_WORDS": "订单不存在", "WITHHOLD_TIMEOUT": "1s", "WITHHOLD_LEASE": "2500ms", "WITHHOLD_SETTLE": "3s",
		"WITHHOLD_DEADLINE": "5m", "PARK_TIERS": "1s,3s", "RECORD_LIFETIME": "1h", "ASK_WINDOW": "1h",
		"DRAIN_BUDGET": "5s", "REBALANCE_TIMEOUT": "7s", "SESSION_TIMEOUT": "9s", "IN_FLIGHT": "64",
		"CALLBACK_BASE_URL": "http://" + ingest, "LISTEN_ADDR": ingest,
		"CALLBACK_TOKEN_KEYS_FILE": secretFile(t, "tokens", tokenKey), "FINGERPRINT_KEYS_FILE": secretFile(t, "contents", contentKey),
	}
	cfg := kafkastream.Config{Brokers: []string{h.brokers}, ClientID: "integration"}
	var err error
	h.admin, err = kafkastream.NewAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(h.admin.Close)
	h.write, err = kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: cfg})
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.write.Close(context.Background()) })
	h.createTopics()
	return h
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// createTopics makes the topics before the services do: commands may be waiting when the first one starts.
func (h *house) createTopics() {
	h.t.Helper()
	var specs []kafkastream.TopicSpec
	for _, name := range []string{"withhold.request", "withhold.request.delay.1s", "withhold.request.delay.3s", "withhold.request.dlq", "withhold.result"} {
		specs = append(specs, kafkastream.TopicSpec{Name: name, Partitions: 4})
	}
	ctx := within(h.t, 30*time.Second)
	require.Eventually(h.t, func() bool { return h.admin.CreateTopics(ctx, specs) == nil }, 30*time.Second, 200*time.Millisecond)
}

type run func(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error

// service is one running service of this process.
type service struct {
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

// start runs a service with the house's settings and some of its own.
func (h *house) start(f run, own map[string]string) *service {
	settings := maps.Clone(h.settings)
	maps.Copy(settings, own)
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{t: h.t, stop: cancel, done: make(chan error, 1)}
	go func() { s.done <- f(ctx, nil, func(name string) string { return settings[name] }, h.log) }()
	h.t.Cleanup(s.close)
	return s
}

func (h *house) dispatcher() *service { return h.start(dispatcherapp.Run, nil) }
func (h *house) ingest() *service     { return h.start(ingestapp.Run, nil) }

// close is SIGTERM, and waits for the end.
func (s *service) close() {
	s.stop()
	if err, open := <-s.done; open {
		close(s.done)
		if err != nil {
			s.t.Errorf("service ended with %v", err)
		}
	}
}

// program is a service in a process of its own, that can be killed.
type program struct{ cmd *exec.Cmd }

// build makes the dispatcher's binary.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dispatcher")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "paydispatch/cmd/dispatcher").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

func (h *house) launch(path string) *program {
	h.t.Helper()
	p := &program{exec.CommandContext(context.Background(), path)}
	for name, v := range h.settings {
		p.cmd.Env = append(p.cmd.Env, name+"="+v)
	}
	p.cmd.Stderr = h.log
	require.NoError(h.t, p.cmd.Start())
	h.t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *program) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		_ = p.cmd.Wait()
	}
}

// command returns a valid command's value.
func command(request, order, amount string) string {
	return fmt.Sprintf(`{"requestId":%q,"biz_order_no":%q,"amount":%q,"name":%q,"id_card_number":%q,"mobile":%q,"pay_type":"101","bank_card_number":%q}`,
		request, order, amount, person, identity, phone, card)
}

// send publishes commands, keyed by order as senders do.
func (h *house) send(values ...string) {
	h.t.Helper()
	var messages []stream.Message
	for _, v := range values {
		var fields struct {
			Order string `json:"biz_order_no"`
		}
		_ = json.Unmarshal([]byte(v), &fields)
		messages = append(messages, stream.Message{Topic: "withhold.request", Key: []byte(fields.Order), Value: []byte(v)})
	}
	require.NoError(h.t, h.write.Publish(within(h.t, 30*time.Second), messages...))
}

// event is one result event as a ledger reads it.
type event struct {
	ID, Kind, Order, Request string
	Data                     map[string]string
	Raw                      string
}

// results reads the result topic from its beginning until enough says so, and checks each event against its schema.
func (h *house) results(d time.Duration, enough func(all []event) bool) []event {
	h.t.Helper()
	set, err := schemas.Load()
	require.NoError(h.t, err)
	var all []event
	for _, m := range h.read("withhold.result", d, func(messages []stream.Message) bool {
		all = all[:0]
		for _, m := range messages {
			all = append(all, toEvent(m))
		}
		return enough(all)
	}) {
		require.NoError(h.t, set.Validate("withhold.result", m.Value))
	}
	return all
}

func toEvent(m stream.Message) event {
	header := func(name string) string { v, _ := m.Header(name); return string(v) }
	e := event{ID: header("ce_id"), Raw: string(m.Value), Data: map[string]string{}}
	e.Kind = commands.Result{Type: header("ce_type")}.Kind()
	_ = json.Unmarshal(m.Value, &e.Data)
	e.Order, e.Request = e.Data["biz_order_no"], e.Data["requestId"]
	return e
}

// read collects a topic's messages until enough says so; not in time fails the test with what there is.
func (h *house) read(topic string, d time.Duration, enough func([]stream.Message) bool) []stream.Message {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var mu sync.Mutex
	var all []stream.Message
	done := false
	spans, err := h.admin.Spans(ctx, topic)
	require.NoError(h.t, err)
	var readers sync.WaitGroup
	for _, s := range spans {
		readers.Go(func() {
			_ = h.admin.Read(ctx, topic, s.Partition, s.First, func(m stream.Message) bool {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, m)
				if !done && enough(all) {
					done = true
					cancel()
				}
				return !done
			})
		})
	}
	readers.Wait()
	if !done && !enough(all) {
		h.dump()
		require.Fail(h.t, "not in time", "%s holds %d messages after %v: %s", topic, len(all), d, sketch(all))
	}
	return all
}

func sketch(messages []stream.Message) string {
	var b strings.Builder
	for _, m := range messages[max(0, len(messages)-30):] {
		e := toEvent(m)
		fmt.Fprintf(&b, "\n%s %s %s %s", e.Kind, e.Order, e.Request, e.Data["reason"])
	}
	return b.String()
}

// dump keeps the services' log of a failed test.
func (h *house) dump() {
	path := filepath.Join(os.TempDir(), strings.ReplaceAll(h.t.Name(), "/", "_")+".log")
	if os.WriteFile(path, []byte(h.log.String()), 0o600) == nil {
		h.t.Logf("the services' log is in %s", path)
	}
}

// ofOrder picks the events of an order, or of a request.
func ofOrder(all []event, order string) []event {
	var picked []event
	for _, e := range all {
		if e.Order == order {
			picked = append(picked, e)
		}
	}
	return picked
}

func verdict(e event) bool { return e.Kind == commands.KindSucceeded || e.Kind == commands.KindFailed }

// settled returns a condition: each of these orders has a verdict.
func settled(orders ...string) func([]event) bool {
	return func(all []event) bool {
		seen := map[string]bool{}
		for _, e := range all {
			if verdict(e) {
				seen[e.Order] = true
			}
		}
		for _, o := range orders {
			if !seen[o] {
				return false
			}
		}
		return true
	}
}

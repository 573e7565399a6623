package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestapp "paydispatch/cmd/callback-ingest/app"
	dispatcherapp "paydispatch/cmd/dispatcher/app"
	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/sim/esign"
	"paydispatch/internal/vendors/sim/withhold"
	"paydispatch/schemas"
)

// Secrets, and the person that commands speak of. None of it may be seen again.
const (
	gatewayKey   = "k9XvQ2mT7bLw4cZp" // AES-128
	gatewayKey2  = "Zs8dYw3hN6uRj1Fe"
	appSecret    = "app-secret-of-the-integration-tests"
	appSecret2   = "second-app-secret-of-the-integration-tests"
	allocSecret  = "alloc-secret-of-the-integration-tests"
	allocSecret2 = "second-alloc-secret-of-the-integration-tests"
	tokenKey     = "token-key-of-the-integration-tests"
	contentKey   = "content-key-of-the-integration-tests"
	card         = "6222021234567890123"
	identity     = "110101199003074578"
	phone        = "13912345678"
	person       = "欧阳测试"
)

// The second account of each vendor.
const (
	second = "second"
	ua2    = "ua-second"
	app2   = "7438000002"
)

// stage is what a test wants around the services. The zero value: all topics, and doubles that do what they are asked.
type stage struct {
	topics     []string
	partitions int
	// set changes settings.
	set map[string]string

	order     func(order string, attempt int) withhold.Plan
	card      func(method, request string, attempt int) withhold.Plan
	flow      func(flow string) esign.Plan
	receiver  func(n int, q daxpay.Query) daxpay.Plan
	receivers []daxpay.Receiver
}

// house is everything around the services of one test.
type house struct {
	t *testing.T
	parts
	topics []string
	double *withhold.Gateway
	esign  *esign.Gateway
	// alloc is DaxPay's default installation, alloc2 that of the second account, which signs with MD5.
	alloc, alloc2 *daxpay.Server
	settings      map[string]string
	admin         *kafkastream.Admin
	write         *kafkastream.Publisher
	log           *logbook
}

// in returns the house for a subtest, which shares all of it.
func (h *house) in(t *testing.T) *house {
	here := *h
	here.t = t
	return &here
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

// newHouse builds a house with one topic, withhold.request, and the gateway's double by script.
func newHouse(t *testing.T, script func(order string, attempt int) withhold.Plan) *house {
	t.Helper()
	return open(t, stage{order: script, partitions: 4, topics: []string{"withhold.request"}})
}

// open builds the doubles and the settings; services are started by the test.
func open(t *testing.T, s stage) *house {
	t.Helper()
	if s.topics == nil {
		s.topics = catalog.Topics()
	}
	h := &house{t: t, parts: newParts(t), log: &logbook{}, topics: s.topics}
	h.double = withhold.New(withhold.Config{
		Accounts: map[string]string{"ua-test": gatewayKey, ua2: gatewayKey2}, Latency: 5 * time.Millisecond, Script: s.order, CardScript: s.card,
		CallbackRetry: []time.Duration{300 * time.Millisecond, time.Second, time.Second},
	})
	h.esign = esign.New(esign.Config{
		Apps: map[string]string{"7438000001": appSecret, app2: appSecret2}, Latency: 5 * time.Millisecond, Script: s.flow,
		CallbackRetry: []time.Duration{300 * time.Millisecond, time.Second},
	})
	h.alloc = daxpay.New(daxpay.Config{Secret: allocSecret, Receivers: s.receivers, Script: s.receiver})
	h.alloc2 = daxpay.New(daxpay.Config{Secret: allocSecret2, SignType: "MD5", Receivers: s.receivers})
	h.settings = map[string]string{
		"KAFKA_BROKERS": h.brokers, "KAFKA_GROUP": "integration", "REDIS_ADDRS": h.redis, "REDIS_ACCEPT": "identity", "REDIS_BUCKETS": "16",
		"TOPICS_CREATE": "true", "TOPICS_PARTITIONS": "4", "ADMIN_ADDR": "127.0.0.1:0", "LISTEN_ADDR": "127.0.0.1:0", "LOG_LEVEL": "DEBUG",
		"TOPICS": strings.Join(s.topics, ","), "VENDORS": h.callers(),
		"WITHHOLD_URL": h.serve(h.double, h.double.Close), "WITHHOLD_ACCOUNTS_FILE": secretFile(t, "accounts",
			`{"default":{"ua":"ua-test","key":"`+gatewayKey+`"},"second":{"ua":"`+ua2+`","key":"`+gatewayKey2+`"}}`),
		"WITHHOLD_MISSING_WORDS": "订单不存在", "WITHHOLD_TIMEOUT": "1s", "WITHHOLD_LEASE": "2500ms", "WITHHOLD_SETTLE": "3s",
		"WITHHOLD_DEADLINE": "5m", "PARK_TIERS": "1s,3s", "PRODUCER_CLOCK_MARGIN": "10ms", "RECORD_LIFETIME": "1h", "ASK_WINDOW": "1h",
		"ESIGN_URL": h.serve(h.esign, h.esign.Close), "ESIGN_ACCOUNTS_FILE": secretFile(t, "apps",
			`{"default":{"appId":"7438000001","secret":"`+appSecret+`"},"second":{"appId":"`+app2+`","secret":"`+appSecret2+`"}}`),
		"ESIGN_TIMEOUT": "1s", "ESIGN_SHARE_FOR": "50ms", "IDENTITY_TIERS": "300ms,600ms,1s", "IDENTITY_DEADLINE": "5m",
		"DAXPAY_URL": h.serve(h.alloc, h.alloc.Close), "DAXPAY_ACCOUNTS_FILE": secretFile(t, "installations",
			`{"default":{"secret":"`+allocSecret+`"},"second":{"secret":"`+allocSecret2+`","signType":"MD5","url":"`+h.serve(h.alloc2, h.alloc2.Close)+`"}}`),
		"DAXPAY_TIMEOUT": "1s",
		"DRAIN_BUDGET":   "5s", "REBALANCE_TIMEOUT": "7s", "SESSION_TIMEOUT": "9s", "IN_FLIGHT": "64",
		"CALLBACK_BASE_URL":        "http://127.0.0.1:1", // nobody listens before ingest was started
		"CALLBACK_TOKEN_KEYS_FILE": secretFile(t, "tokens", tokenKey), "FINGERPRINT_KEYS_FILE": secretFile(t, "contents", contentKey),
	}
	maps.Copy(h.settings, s.set)
	cfg := kafkastream.Config{Brokers: []string{h.brokers}, ClientID: "integration"}
	var err error
	h.admin, err = kafkastream.NewAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(h.admin.Close)
	h.write, err = kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: cfg})
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.write.Close(context.Background()) })
	h.createTopics(max(s.partitions, 2))
	return h
}

// serve listens for a double until the test ends.
func (h *house) serve(double http.Handler, end func()) string {
	server := httptest.NewServer(double)
	h.t.Cleanup(func() { end(); server.Close() })
	return server.URL
}

// callers are the vendors that call back about the house's topics.
func (h *house) callers() string {
	vendors := []string{}
	if slices.Contains(h.topics, "withhold.request") {
		vendors = append(vendors, "withhold")
	}
	if slices.Contains(h.topics, "identity.poll") {
		vendors = append(vendors, "esign")
	}
	return strings.Join(vendors, ",")
}

// createTopics makes the topics before the services do: commands may be waiting when the first one starts.
func (h *house) createTopics(partitions int) {
	h.t.Helper()
	kinds := map[string]string{} // as deploy/kafka calls them, by the topics' names
	for _, topic := range h.topics {
		spec, _ := catalog.Find(topic)
		setting := "PARK_TIERS"
		if topic == "identity.poll" {
			setting = "IDENTITY_TIERS"
		}
		var tiers []time.Duration
		for text := range strings.SplitSeq(h.settings[setting], ",") {
			tier, err := time.ParseDuration(text)
			require.NoError(h.t, err)
			tiers = append(tiers, tier)
		}
		for _, name := range operation.DelayTopics(topic, tiers) {
			kinds[name] = "delay"
		}
		kinds[topic], kinds[spec.ResultTopic], kinds[spec.DeadLetterTopic()] = "command", "result", "dead-letter"
	}
	limits := messageLimits(h.t)
	var specs []kafkastream.TopicSpec
	for name, kind := range kinds {
		specs = append(specs, kafkastream.TopicSpec{
			Name: name, Partitions: partitions, Config: map[string]string{"max.message.bytes": limits[kind]},
		})
	}
	ctx := within(h.t, 30*time.Second)
	require.Eventually(h.t, func() bool { return h.admin.CreateTopics(ctx, specs) == nil }, 30*time.Second, 200*time.Millisecond)
}

type run func(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error

// port returns the address of the first port of that name that a service opened, "" for none yet.
func (l *logbook) port(name string) string {
	for line := range strings.Lines(l.String()) {
		var said struct{ Msg, Port, Addr string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "listening" && said.Port == name {
			return said.Addr
		}
	}
	return ""
}

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

// ingest starts callback-ingest, and tells the dispatchers that are started later where it listens.
func (h *house) ingest() *service {
	h.t.Helper()
	s := h.start(ingestapp.Run, nil)
	require.Eventually(h.t, func() bool {
		addr := h.log.port("callbacks")
		h.settings["CALLBACK_BASE_URL"] = "http://" + addr
		return addr != ""
	}, 30*time.Second, 10*time.Millisecond)
	return s
}

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

// build makes a service's binary.
func build(t *testing.T, service string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), service)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "paydispatch/cmd/"+service).CombinedOutput()
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

// command returns a valid withhold.request.
func command(request, order, amount string, more ...string) string {
	return object(append([]string{
		"requestId", request, "biz_order_no", order, "amount", amount, "name", person, "id_card_number", identity,
		"mobile", phone, "pay_type", "101", "bank_card_number", card,
	}, more...)...)
}

// object returns a JSON object of names and texts.
func object(pairs ...string) string {
	var fields []string
	for i := 0; i+1 < len(pairs); i += 2 {
		fields = append(fields, fmt.Sprintf("%q:%q", pairs[i], pairs[i+1]))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// send publishes withhold.request commands.
func (h *house) send(values ...string) {
	h.t.Helper()
	h.sendTo("withhold.request", values...)
}

// sendTo publishes commands, keyed as senders do: by the field that names the operation.
func (h *house) sendTo(topic string, values ...string) {
	h.t.Helper()
	spec, known := catalog.Find(topic)
	require.True(h.t, known, topic)
	var messages []stream.Message
	for _, v := range values {
		var fields map[string]any
		_ = json.Unmarshal([]byte(v), &fields)
		key, _ := fields[spec.KeyField].(string)
		messages = append(messages, stream.Message{Topic: topic, Key: []byte(key), Value: []byte(v)})
	}
	require.NoError(h.t, h.write.Publish(within(h.t, 30*time.Second), messages...))
}

// event is one result event as a ledger reads it. Key is the operation's, which is the event's subject.
type event struct {
	ID, Kind, Key, Request string
	// Data are the members that are texts; null reads "".
	Data map[string]string
	Raw  string
}

// results reads withhold.result from its beginning until enough says so.
func (h *house) results(d time.Duration, enough func(all []event) bool) []event {
	h.t.Helper()
	return h.resultsOf("withhold.result", d, enough)
}

// resultsOf reads a result topic from its beginning until enough says so, and checks each event against its schema.
func (h *house) resultsOf(topic string, d time.Duration, enough func(all []event) bool) []event {
	h.t.Helper()
	set, err := schemas.Load()
	require.NoError(h.t, err)
	var all []event
	for _, m := range h.read(topic, d, func(messages []stream.Message) bool {
		for _, m := range messages[len(all):] { // it was called with the others already
			all = append(all, toEvent(m))
		}
		return enough(all)
	}) {
		require.NoError(h.t, set.Validate(topic, m.Value), string(m.Value))
	}
	return all
}

func toEvent(m stream.Message) event {
	header := func(name string) string { v, _ := m.Header(name); return string(v) }
	e := event{ID: header("ce_id"), Key: header("ce_subject"), Raw: string(m.Value), Data: map[string]string{}}
	e.Kind = commands.Result{Type: header("ce_type")}.Kind()
	var fields map[string]any
	_ = json.Unmarshal(m.Value, &fields)
	for name, value := range fields {
		e.Data[name], _ = value.(string)
	}
	e.Request = e.Data["requestId"]
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

// requireEmpty holds topics to never having had a message.
func (h *house) requireEmpty(topics ...string) {
	h.t.Helper()
	for _, topic := range topics {
		spans, err := h.admin.Spans(within(h.t, 20*time.Second), topic)
		require.NoError(h.t, err)
		for _, s := range spans {
			require.Equal(h.t, s.First, s.End, topic)
		}
	}
}

// counter counts what was asked by name, and holds an address that is known late; safe for concurrent use.
type counter struct {
	mu    sync.Mutex
	n     map[string]int
	where string
}

func (c *counter) next(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
	return c.n[name]
}

func (c *counter) callAt(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.where = url
}

func (c *counter) url() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.where
}

func sketch(messages []stream.Message) string {
	var b strings.Builder
	for _, m := range messages[max(0, len(messages)-30):] {
		e := toEvent(m)
		fmt.Fprintf(&b, "\n%s %s %s %s", e.Kind, e.Key, e.Request, e.Data["reason"])
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

// of picks the events of an operation.
func of(all []event, key string) []event {
	var picked []event
	for _, e := range all {
		if e.Key == key {
			picked = append(picked, e)
		}
	}
	return picked
}

// verdict reports whether an event ends its operation.
func verdict(e event) bool {
	return slices.Contains([]string{commands.KindSucceeded, commands.KindFailed, commands.KindAnswered, commands.KindUnknown}, e.Kind)
}

// settled returns a condition: each of these operations has a verdict.
func settled(keys ...string) func([]event) bool {
	return func(all []event) bool {
		if len(all) < len(keys) {
			return false
		}
		seen := map[string]bool{}
		for _, e := range all {
			if verdict(e) {
				seen[e.Key] = true
			}
		}
		for _, k := range keys {
			if !seen[k] {
				return false
			}
		}
		return true
	}
}

package app

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/catalog"
)

// desk is a terminal beside an embedded Kafka and Redis.
type desk struct {
	t     *testing.T
	env   map[string]string
	redis *miniredis.Miniredis
}

func newDesk(t *testing.T) desk {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	server := miniredis.RunT(t)
	d := desk{t: t, redis: server, env: map[string]string{
		"KAFKA_BROKERS": cluster.ListenAddrs()[0], "REDIS_ADDRS": server.Addr(), "PARK_TIERS": "5s,1m",
	}}
	code, _, errs := d.run("", "topics", "create", "--partitions", "2")
	require.Equal(t, 0, code, errs)
	return d
}

func (d desk) run(stdin string, args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = Main(ctx, args, func(name string) string { return d.env[name] }, Streams{In: strings.NewReader(stdin), Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

func (d desk) publish(m stream.Message) {
	d.t.Helper()
	p, err := kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: []string{d.env["KAFKA_BROKERS"]}}})
	require.NoError(d.t, err)
	require.NoError(d.t, p.Publish(d.t.Context(), m))
	require.NoError(d.t, p.Close(d.t.Context()))
}

func TestSend(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	code, command, errs := d.run("", "example", "withhold.request", "--order", "o-1", "--amount", "12.50")
	require.Equal(t, 0, code, errs)

	path := filepath.Join(t.TempDir(), "command.json")
	require.NoError(t, os.WriteFile(path, []byte(command), 0o600))
	for name, how := range map[string]struct{ stdin, source string }{
		"argument": {"", command}, "stdin": {command, "-"}, "file": {"", "@" + path},
	} {
		code, out, errs := d.run(how.stdin, "send", "withhold.request", how.source)
		require.Equal(t, 0, code, name+": "+errs)
		require.Regexp(t, `^sent to withhold.request, partition [01], offset \d, key o-1\n$`, out, name)
	}

	code, out, errs := d.run("", "tail", "withhold.request", "--from-start", "-n", "3")
	require.Equal(t, 0, code, errs)
	require.Equal(t, 3, strings.Count(out, "o-1"))
	require.NotContains(t, out, "6200000000000000", "a command's value is not shown")
}

func TestSendWaitsForItsOwnResult(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- d.answer(ctx) }()
	_, command, _ := d.run("", "example", "withhold.request", "--order", "o-1")
	code, out, errs := d.run(command, "send", "withhold.request", "-", "--wait")
	require.Equal(t, 0, code, errs)
	require.NoError(t, <-answered)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3, out)
	require.Contains(t, lines[1], "withhold.pending.v1")
	require.Contains(t, lines[2], "withhold.succeeded.v1")
	require.NotContains(t, out, "another-order")
}

// answer does what the dispatcher would: it answers the first command, after results of others.
func (d desk) answer(ctx context.Context) error {
	config := kafkastream.Config{Brokers: []string{d.env["KAFKA_BROKERS"]}}
	client, err := kafkastream.NewAdmin(config)
	if err != nil {
		return err
	}
	defer client.Close()
	publisher, err := kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: config})
	if err != nil {
		return err
	}
	defer func() { _ = publisher.Close(context.WithoutCancel(ctx)) }()
	event := func(kind, order, trace string) stream.Message {
		r := commands.Result{ID: kind, Type: "withhold." + kind + ".v1", Subject: order, Data: json.RawMessage(`{}`)}
		return operation.Event(r, "withhold.result", trace)
	}
	return follow(ctx, client, "withhold.request", map[int]int64{0: 0, 1: 0}, func(m stream.Message) bool {
		trace := header(m, operation.HeaderTrace)
		for _, e := range []stream.Message{
			event("failed", "another-order", "another-trace"), event("pending", "o-1", trace), event("succeeded", "o-1", trace),
		} {
			if publisher.Publish(ctx, e) != nil {
				return false
			}
		}
		return false
	})
}

func TestBadInputIsExitCodeTwo(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	cases := map[string]struct {
		args []string
		want string
	}{
		"unknown topic":    {[]string{"send", "withhold.nothing", "{}"}, "is not a command topic; there are: withhold.request"},
		"not JSON":         {[]string{"send", "withhold.request", "amount=1"}, "withhold.request refuses this command: not JSON"},
		"missing fields":   {[]string{"send", "withhold.request", `{"requestId":"r"}`}, "missing biz_order_no"},
		"repeated field":   {[]string{"send", "withhold.request", twice(t)}, "stands there twice"},
		"no such file":     {[]string{"send", "withhold.request", "@/nowhere"}, "no such file"},
		"no arguments":     {[]string{"send"}, "accepts 2 arg(s), received 0"},
		"unknown flag":     {[]string{"tail", "withhold.result", "--latest"}, "unknown flag: --latest"},
		"bad brokers":      {[]string{"tail", "withhold.result", "--brokers", "u:hunter2@h"}, "KAFKA_BROKERS: address 1 must be host:port"},
		"bad amount":       {[]string{"example", "withhold.request", "--amount", "1e2"}, "field amount"},
		"replay what":      {[]string{"dlq", "replay", "withhold.request"}, "name the letters to replay, or --all"},
		"replay all of it": {[]string{"dlq", "replay", "withhold.request", "0/1", "--all"}, "name the letters to replay, or --all"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := d
			d.t = t
			code, _, errs := d.run("", c.args...)
			require.Equal(t, 2, code, errs)
			require.Contains(t, errs, c.want)
			require.NotContains(t, errs, "hunter2")
		})
	}
}

func TestWhatIsNotThereIsExitCodeOne(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	code, _, errs := d.run("", "tail", "withhold.results")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "topics are missing: withhold.results")
	code, _, errs = d.run("", "tail", "withhold.result", "--brokers", "127.0.0.1:1")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "kafka at 127.0.0.1:1: ")
}

func TestAnInvalidCommandIsSentWhenToldTo(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	code, out, errs := d.run("", "send", "withhold.request", "amount=1", "--no-validate", "--key", "k-1")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "key k-1")
}

func twice(t *testing.T) string {
	t.Helper()
	value, err := example("withhold.request", exampleFlags{order: "o-1", amount: "1.00"})
	require.NoError(t, err)
	return strings.Replace(string(value), `"pay_type"`, `"amount":"1.00","pay_type"`, 1)
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	value, err := example("withhold.request", exampleFlags{order: "o-1", amount: "1.00"})
	require.NoError(t, err)
	header := func(key, value string) stream.Header { return stream.Header{Key: key, Value: []byte(value)} }
	delayed := "withhold.request.delay.5s"
	d.publish(stream.Message{
		Topic: "withhold.request.dlq", Key: []byte("o-1"), Value: value, Headers: []stream.Header{
			header("traceparent", "trace-1"), header(operation.HeaderState, `{"what":"is known"}`), header(operation.HeaderMAC, "m"),
			header(dispatch.HeaderReason, "unreadable"), header(dispatch.HeaderError, "why"), header(dispatch.HeaderOrigin, delayed+"/0/7"),
		},
	})
	for _, from := range []string{"withhold.request/0/8", delayed + "/0/9"} { // what a stranger said stays behind
		d.publish(stream.Message{Topic: "withhold.request.dlq", Key: []byte(from), Value: value, Headers: []stream.Header{
			header("foreign-"+operation.HeaderState, "x"), header(dispatch.HeaderReason, "not_authentic"), header(dispatch.HeaderOrigin, from),
		}})
	}
	d.publish(stream.Message{Topic: "withhold.request.dlq", Key: []byte("o-3"), Value: value, Headers: []stream.Header{
		header(operation.HeaderState, "x"), header(dispatch.HeaderReason, "unreadable_once"), header(dispatch.HeaderOrigin, "withhold.request/0/7"),
	}})
	d.publish(stream.Message{
		Topic: "withhold.request.dlq", Key: []byte("o-2"), Value: value[:20],
		Headers: []stream.Header{header(dispatch.HeaderReason, "too_large"), header(dispatch.HeaderTruncated, "2000000 bytes")},
	})
	_, all, _ := d.run("", "dlq", "list", "withhold.request")
	require.Equal(t, 6, strings.Count(all, "\n"), all)
	_, some, _ := d.run("", "dlq", "list", "withhold.request", "--reason", "unreadable")
	require.Equal(t, 2, strings.Count(some, "\n"), some)
	letter := strings.Fields(strings.Split(some, "\n")[1])[0]

	_, shown, _ := d.run("", "dlq", "show", "withhold.request", letter)
	require.Contains(t, shown, `"biz_order_no": "o-1"`)
	require.Contains(t, shown, `"bank_card_number": [masked]`)
	require.NotContains(t, shown, "6200000000000000")
	_, shown, _ = d.run("", "dlq", "show", "withhold.request", letter, "--reveal")
	require.Contains(t, shown, "6200000000000000")
	code, _, errs := d.run("", "dlq", "show", "withhold.request", "1/99")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "no dead letter 1/99")

	code, out, errs := d.run("", "dlq", "replay", "withhold.request", "--all")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "3 sent again, 2 not")
	require.Contains(t, out, "does not come from a delay topic: not sent")
	again := d.first("withhold.request")
	require.Equal(t, "withhold.request/0/8", string(again.Key))
	require.Empty(t, again.Headers)
	again = d.first(delayed)
	require.Equal(t, "o-1", string(again.Key))
	require.Equal(t, value, again.Value)
	require.Equal(t, []stream.Header{
		header("traceparent", "trace-1"), header(operation.HeaderState, `{"what":"is known"}`), header(operation.HeaderMAC, "m"),
	}, again.Headers, "without its state an order that was sent might be sent again")
	code, _, errs = d.run("", "dlq", "replay", "withhold.request", "0/99")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "not found: 0/99")
}

// first returns the first message of a topic, whatever its partition.
func (d desk) first(topic string) stream.Message {
	d.t.Helper()
	client, err := kafkastream.NewAdmin(kafkastream.Config{Brokers: []string{d.env["KAFKA_BROKERS"]}})
	require.NoError(d.t, err)
	defer client.Close()
	var found stream.Message
	err = follow(d.t.Context(), client, topic, map[int]int64{0: 0, 1: 0}, func(m stream.Message) bool {
		found = m
		return false
	})
	require.NoError(d.t, err)
	return found
}

func TestOrder(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	redis := settings.DefaultRedis()
	redis.Addrs = []string{d.redis.Addr()}
	store, err := redis.Open()
	require.NoError(t, err)
	defer func() { _ = store.Close() }()
	require.NoError(t, store.Prepare(t.Context(), false))
	state := commands.Begin(commands.Command{
		Topic: "withhold.request", Key: "o-1", RequestID: "r-1", Carry: map[string]string{"amount": "1.00"}, Fingerprints: []string{"f"},
	}, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", time.Now())
	state.Phase, state.Sends = commands.Pending, 1
	value, err := state.Encode()
	require.NoError(t, err)
	_, err = store.Swap(t.Context(), store.Expect(operation.Key(catalog.Withhold(), "o-1")), value)
	require.NoError(t, err)
	_, err = store.Swap(t.Context(), store.Expect("r:r-2"), []byte(`{"key":"o-1","fp":"f"}`))
	require.NoError(t, err)

	for _, how := range [][]string{{"order", "o-1"}, {"request", "r-2"}} {
		code, out, errs := d.run("", how...)
		require.Equal(t, 0, code, errs)
		require.Regexp(t, `(?m)^phase +pending$`, out)
		require.Regexp(t, `(?m)^amount +1.00$`, out)
		require.Regexp(t, `(?m)^trace id +0af7651916cd43dd8448eb211c80319c$`, out)
		require.NotContains(t, out, "memory lost")
	}
	for _, how := range [][]string{{"order", "o-2"}, {"request", "r-1"}} {
		code, _, errs := d.run("", how...)
		require.Equal(t, 1, code)
		require.Contains(t, errs, "nothing is recorded of "+how[0]+" "+how[1]+"\n")
	}

	d.redis.FlushAll()
	for _, how := range [][]string{{"order", "o-1"}, {"request", "r-2"}} {
		code, _, errs := d.run("", how...)
		require.Equal(t, 1, code)
		require.Contains(t, errs, "it may have been, since the store was found to have lost its memory at ")
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	code, out, errs := d.run("", "topics", "list")
	require.Equal(t, 0, code, errs)
	for _, topic := range []string{"withhold.request", "withhold.request.delay.5s", "withhold.request.delay.1m", "withhold.request.dlq", "withhold.result"} {
		require.Regexp(t, `(?m)^`+topic+` +2 +0$`, out)
	}
	d.env["PARK_TIERS"] = "7s"
	_, out, _ = d.run("", "topics", "list")
	require.Regexp(t, `(?m)^withhold.request.delay.7s +missing`, out)
}

// TestDoctor: each weakness is a line, and what would stop a dispatcher's start is an error.
func TestDoctor(t *testing.T) {
	t.Parallel()
	d := newDesk(t) // whose Redis hides the identity of its data
	code, out, errs := d.run("", "doctor")
	require.Equal(t, 1, code)
	require.Contains(t, out, "identity")
	require.Contains(t, errs, "name identity in REDIS_ACCEPT")
	d.env["REDIS_ACCEPT"] = "identity"
	code, out, errs = d.run("", "doctor")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "identity")
	d.env["REDIS_ACCEPT"] = "everything"
	code, _, errs = d.run("", "doctor")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "REDIS_ACCEPT")
}

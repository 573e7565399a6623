package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/schemas"
)

// maxInput bounds what is read from a file or stdin.
const maxInput = 16 << 20

type sendFlags struct {
	unchecked, wait bool
	key             string
	timeout         time.Duration
}

func (t *tool) send() *cobra.Command {
	var f sendFlags
	c := &cobra.Command{
		Use:   "send <topic> <json | - | @file>",
		Short: "send one command",
		Long: "send checks a command against its schema, publishes it under the key that its order names, and prints\n" +
			"topic, partition and offset. With --wait it also waits for the command's final result and prints it.",
		Example: "  payctl send withhold.request @command.json\n" +
			"  payctl example withhold.request | payctl send withhold.request - --wait",
		Args: args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, given []string) error { return t.sendOne(c.Context(), given[0], given[1], f) },
	}
	c.Flags().BoolVar(&f.unchecked, "no-validate", false, "send it even if its schema refuses it")
	c.Flags().BoolVar(&f.wait, "wait", false, "wait for the result; exit code 0 whatever it says")
	c.Flags().StringVar(&f.key, "key", "", "the Kafka key (default: the topic's key field)")
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long to try, and with --wait to wait")
	return c
}

func (t *tool) sendOne(ctx context.Context, topic, source string, f sendFlags) error {
	s, err := spec(topic)
	if err != nil {
		return err
	}
	value, err := t.read(source)
	if err != nil {
		return err
	}
	if !f.unchecked {
		if err := check(s, value); err != nil {
			return usage{fmt.Errorf("%s refuses this command: %w", topic, err)}
		}
	}
	if f.key == "" {
		_, key := commands.Glimpse(s, value)
		f.key = string(key)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return t.publish(ctx, s, stream.Message{Topic: topic, Key: []byte(f.key), Value: value}, f.wait)
}

// read takes the command from the argument, from stdin (-), or from a file (@name).
func (t *tool) read(source string) ([]byte, error) {
	switch {
	case source == "-":
		return io.ReadAll(io.LimitReader(t.In, maxInput))
	case strings.HasPrefix(source, "@"):
		raw, err := os.ReadFile(source[1:])
		if err != nil {
			return nil, usage{err}
		}
		return raw, nil
	}
	return []byte(source), nil
}

// check says what the dispatcher would say about a command before it looks at accounts and limits.
func check(s commands.Spec, value []byte) error {
	set, err := schemas.Load()
	if err != nil {
		return err
	}
	if err := set.Validate(s.Topic, value); err != nil {
		return err
	}
	ring, err := commands.NewKeyring([]byte(rand.Text()))
	if err != nil {
		return err
	}
	_, err = commands.Decode(s, ring, value)
	return err
}

// publish sends the message and prints where it landed. The trace context that it gives the message travels on to the
// results, which is how they are known.
func (t *tool) publish(ctx context.Context, s commands.Spec, m stream.Message, wait bool) error {
	client, err := t.reader(ctx, s.Topic, s.ResultTopic)
	if err != nil {
		return err
	}
	defer client.Close()
	config, err := t.kafka()
	if err != nil {
		return err
	}
	publisher, err := kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: config})
	if err != nil {
		return err
	}
	defer func() { _ = publisher.Close(context.WithoutCancel(ctx)) }()
	trace := traceparent()
	m.Headers = append(m.Headers, stream.Header{Key: operation.HeaderTrace, Value: []byte(trace)})
	mine := func(found stream.Message) bool { // the dispatcher may have put a span of its own below ours
		return operation.TraceOf(found).ID() == operation.Trace{Parent: trace}.ID()
	}
	sent, err := ends(ctx, client, s.Topic)
	if err != nil {
		return err
	}
	results, err := ends(ctx, client, s.ResultTopic)
	if err != nil {
		return err
	}
	if err := publisher.Publish(ctx, m); err != nil {
		return err
	}
	err = follow(ctx, client, s.Topic, sent, func(found stream.Message) bool {
		if !mine(found) {
			return true
		}
		fmt.Fprintf(t.Out, "sent to %s, partition %d, offset %d, key %s\n", found.Topic, found.Partition, found.Offset, found.Key)
		return false
	})
	if err != nil || !wait {
		return err
	}
	err = follow(ctx, client, s.ResultTopic, results, func(found stream.Message) bool {
		if !mine(found) {
			return true
		}
		fmt.Fprintln(t.Out, line(found))
		kind, _ := found.Header("ce_type")
		return commands.Result{Type: string(kind)}.Kind() == commands.KindPending
	})
	if err != nil {
		return fmt.Errorf("no final result in time: %w (the command is not lost: payctl tail %s)", err, s.ResultTopic)
	}
	return nil
}

// traceparent is a W3C trace context of a new trace.
func traceparent() string {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw) // never fails
	return "00-" + hex.EncodeToString(raw[:16]) + "-" + hex.EncodeToString(raw[16:]) + "-01"
}

type exampleFlags struct{ order, amount string }

func (t *tool) example() *cobra.Command {
	var f exampleFlags
	c := &cobra.Command{
		Use:     "example <topic>",
		Short:   "print a valid command with a new order number; all in it is made up",
		Example: "  payctl example withhold.request --amount 12.50 > command.json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			s, err := spec(given[0])
			if err != nil {
				return err
			}
			value, err := example(s.Topic, f)
			if err == nil {
				err = check(s, value)
			}
			if err != nil {
				return usage{err}
			}
			_, err = fmt.Fprintln(t.Out, string(value))
			return err
		},
	}
	c.Flags().StringVar(&f.order, "order", "", "the order number (default: a new one)")
	c.Flags().StringVar(&f.amount, "amount", "100.00", "the amount")
	return c
}

// example returns a valid command of a topic; all in it is made up.
func example(topic string, f exampleFlags) ([]byte, error) {
	id := strings.ToLower(rand.Text()[:10])
	if f.order == "" {
		f.order = "order-" + id
	}
	fields := map[string]string{"requestId": "req-" + id}
	person := map[string]string{
		"name": "Nobody", "id_card_number": "000000190001010000", "mobile": "10000000000", "bank_card_number": "6200000000000000",
		"pay_type": "101",
	}
	switch topic {
	case catalog.Withhold().Topic:
		maps.Copy(fields, person)
		fields["biz_order_no"], fields["amount"] = f.order, f.amount
	case catalog.WithholdQuery().Topic:
		fields["biz_order_no"] = f.order
	case catalog.CardPrebind().Topic:
		maps.Copy(fields, person)
	case catalog.CardConfirm().Topic:
		fields["verification_code"], fields["unique_code"] = "123456", "U20240101000001"
		fields["bank_card_number"], fields["pay_type"] = person["bank_card_number"], person["pay_type"]
	case catalog.IdentityPoll().Topic:
		fields["flowId"] = "1253053924311566011"
	case catalog.AllocReceiverQuery().Topic:
		fields["channel"], fields["receiverNo"] = "ali_pay", "A0001"
	default:
		return nil, fmt.Errorf("topic %s has no example yet", topic)
	}
	return json.Marshal(fields)
}

// ends returns the first offset that does not exist yet, by partition.
func ends(ctx context.Context, a *kafkastream.Admin, topic string) (map[int]int64, error) {
	spans, err := a.Spans(ctx, topic)
	if err != nil {
		return nil, err
	}
	at := map[int]int64{}
	for _, s := range spans {
		at[s.Partition] = s.End
	}
	return at, nil
}

// follow reads all partitions of a topic side by side from the offsets on, until visit returns false or ctx ends. visit
// is called by one goroutine at a time.
func follow(ctx context.Context, a *kafkastream.Admin, topic string, from map[int]int64, visit func(stream.Message) bool) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		readers sync.WaitGroup
		mu      sync.Mutex
		failed  error
		done    bool
	)
	for partition, offset := range from {
		readers.Go(func() {
			err := a.Read(reading, topic, partition, offset, func(m stream.Message) bool {
				mu.Lock()
				defer mu.Unlock()
				done = done || !visit(m)
				if done {
					cancel()
				}
				return !done
			})
			if err != nil && reading.Err() == nil {
				mu.Lock()
				failed = err
				mu.Unlock()
				cancel()
			}
		})
	}
	readers.Wait()
	if done {
		return nil
	}
	if failed != nil {
		return failed
	}
	return ctx.Err()
}

// line shows one message: a result whole, anything else without its value, which may be personal.
func line(m stream.Message) string {
	when := m.Time.Local().Format("15:04:05.000")
	kind, ok := m.Header("ce_type")
	if !ok {
		return fmt.Sprintf("%s  %s/%d/%d  %s  (%d bytes)", when, m.Topic, m.Partition, m.Offset, m.Key, len(m.Value))
	}
	id, _ := m.Header("ce_id")
	return fmt.Sprintf("%s  %s  %s  %s  %s", when, kind, id, m.Key, bytes.TrimSpace(m.Value))
}

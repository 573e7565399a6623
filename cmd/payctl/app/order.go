package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/vendors/catalog"
)

func (t *tool) order() *cobra.Command {
	var topic string
	c := &cobra.Command{
		Use:   "order <biz_order_no>",
		Short: "show what is recorded of one order",
		Long: "order shows the record of one order: how far it has come, what was sent and when, and the verdict. It reads\n" +
			"Redis by the services' settings (REDIS_ADDRS, REDIS_PREFIX, REDIS_BUCKETS, ...), which must be the same.",
		Example: "  payctl order order-4f7kq2m1aa",
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(c *cobra.Command, given []string) error { return t.show(c.Context(), topic, given[0]) },
	}
	c.Flags().StringVar(&topic, "topic", catalog.Withhold().Topic, "the command topic of the order")
	return c
}

func (t *tool) show(ctx context.Context, topic, order string) error {
	s, err := spec(topic)
	if err != nil {
		return err
	}
	return t.records(ctx, func(load loader) error {
		record, err := load(operation.Key(s, commands.OperationKey(order)))
		if err != nil {
			return err
		}
		if record.Version == 0 {
			return fmt.Errorf("nothing is recorded of order %s%s", order, forgot(record))
		}
		return t.describe(record)
	})
}

func (t *tool) request() *cobra.Command {
	return &cobra.Command{
		Use:   "request <requestId>",
		Short: "show which order a request named first, and what is recorded of that",
		Long: "request shows the order that a requestId was first used for, and the order's records. A request that was\n" +
			"rejected as invalid has left none. It reads Redis as payctl order does.",
		Example: "  payctl request req-4f7kq2m1aa",
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(c *cobra.Command, given []string) error { return t.showRequest(c.Context(), given[0]) },
	}
}

// showRequest prints the records that stand under the key which the request claimed; a claim does not name its topic.
func (t *tool) showRequest(ctx context.Context, request string) error {
	return t.records(ctx, func(load loader) error {
		claim, err := load("r:" + request)
		if err != nil {
			return err
		}
		if claim.Version == 0 {
			return fmt.Errorf("nothing is recorded of request %s%s", request, forgot(claim))
		}
		var claimed struct{ Key string }
		if err := json.Unmarshal(claim.Value, &claimed); err != nil {
			return fmt.Errorf("the claim of request %s: %w", request, err)
		}
		fmt.Fprintf(t.Out, "requestId %s was first used for %s\n", request, claimed.Key)
		for _, s := range catalog.Specs() {
			record, err := load(operation.Key(s, commands.OperationKey(claimed.Key)))
			if err != nil {
				return err
			}
			if record.Version == 0 {
				continue
			}
			fmt.Fprintln(t.Out)
			if err := t.describe(record); err != nil {
				return err
			}
		}
		return nil
	})
}

// loader reads one record.
type loader func(key string) (idempotency.Record, error)

// records opens the store by the services' settings for as long as read takes.
func (t *tool) records(ctx context.Context, read func(loader) error) error {
	c := struct{ Redis settings.Redis }{settings.DefaultRedis()}
	c.Redis.Addrs = []string{"127.0.0.1:6379"}
	unreadable := settings.Load(&c, t.getenv)
	if err := settings.Check(unreadable, c.Redis.Check()); err != nil {
		return err
	}
	store, err := c.Redis.Open()
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return read(func(key string) (idempotency.Record, error) {
		record, err := store.Load(ctx, key)
		if err != nil {
			return record, fmt.Errorf("redis at %s: %w", strings.Join(c.Redis.Addrs, ","), err)
		}
		return record, nil
	})
}

// forgot says what the absence of a record does not prove.
func forgot(r idempotency.Record) string {
	if r.Lost().IsZero() {
		return ""
	}
	return "; it may have been, since the store was found to have lost its memory at " + r.Lost().Local().Format(time.RFC3339)
}

// describe writes one fact of an operation a line; a state holds nothing personal.
func (t *tool) describe(record idempotency.Record) error {
	s, err := commands.DecodeState(record.Value)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	describe(w, s)
	if !record.Back.IsZero() {
		fmt.Fprintf(w, "redis went back\t%s; the record may be older than what was done\n", record.Back.Local().Format(time.RFC3339))
	}
	if !record.Forgot.IsZero() {
		fmt.Fprintf(w, "memory lost\t%s\n", record.Forgot.Local().Format(time.RFC3339))
	}
	return w.Flush()
}

func describe(w io.Writer, s commands.State) {
	fact := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	moment := func(name string, at time.Time) {
		if !at.IsZero() {
			fact(name, at.Local().Format(time.RFC3339))
		}
	}
	fact("topic", s.Topic)
	fact("order", s.Key)
	fact("phase", s.Phase)
	if s.Verdict.Final() {
		fact("verdict", s.Verdict)
	}
	fact("requestId", s.RequestID)
	if id := (operation.Trace{Parent: s.Trace}).ID(); id != "" {
		fact("trace id", id)
	}
	moment("first seen", s.FirstSeen)
	fact("submissions", s.Sends)
	moment("not sent after", s.SentAt)
	if s.Phase == commands.Sending {
		fact("sending", s.Owner)
		moment("lease until", s.Lease)
	}
	moment("not before", s.NotBefore)
	fact("times parked", s.Parks)
	if s.Refusal != nil {
		fact("refused with", s.Refusal.Code+" "+s.Refusal.Message)
	}
	fields := maps.Clone(s.Carry)
	if fields == nil {
		fields = map[string]string{}
	}
	maps.Copy(fields, s.Seen)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fact(name, fields[name])
	}
	if s.Result != nil {
		fact("event", s.Result.Type)
		fact("event id", s.Result.ID)
		moment("decided", s.Result.Time)
	}
}

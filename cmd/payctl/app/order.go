package app

import (
	"context"
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
	record, err := store.Load(ctx, operation.Key(s, commands.OperationKey(order)))
	if err != nil {
		return fmt.Errorf("redis at %s: %w", strings.Join(c.Redis.Addrs, ","), err)
	}
	if record.Version == 0 {
		return fmt.Errorf("nothing is recorded of order %s", order)
	}
	state, err := commands.DecodeState(record.Value)
	if err != nil {
		return err
	}
	return describe(t.Out, state)
}

// describe writes one fact a line; a state holds nothing personal.
func describe(out io.Writer, s commands.State) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fact := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	moment := func(name string, at time.Time) {
		if !at.IsZero() {
			fact(name, at.Local().Format(time.RFC3339))
		}
	}
	fact("order", s.Key)
	fact("phase", s.Phase)
	if s.Verdict.Final() {
		fact("verdict", s.Verdict)
	}
	fact("requestId", s.RequestID)
	moment("first seen", s.FirstSeen)
	fact("submissions", s.Sends)
	moment("last submitted", s.SentAt)
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
	return w.Flush()
}

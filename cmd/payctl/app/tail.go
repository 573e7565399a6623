package app

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"paydispatch/internal/stream"
)

func (t *tool) tail() *cobra.Command {
	var fromStart bool
	var count int
	c := &cobra.Command{
		Use:   "tail <topic>...",
		Short: "print results as they come: time, type, id, key, data",
		Long: "tail prints the events of result topics, one a line: time, type, event id, key, data. Of commands and dead\n" +
			"letters it prints where they stand, not what is in them.",
		Example: "  payctl tail withhold.result\n  payctl tail withhold.result --from-start -n 10",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, topics []string) error {
			return t.follow(c.Context(), topics, fromStart, count)
		},
	}
	c.Flags().BoolVar(&fromStart, "from-start", false, "begin with the oldest message that is kept")
	c.Flags().IntVarP(&count, "count", "n", 0, "end after so many lines (default: at Ctrl-C)")
	return c
}

func (t *tool) follow(ctx context.Context, topics []string, fromStart bool, count int) error {
	client, err := t.reader(ctx, topics...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		readers sync.WaitGroup
		mu      sync.Mutex
		printed int
	)
	for _, topic := range topics {
		spans, err := client.Spans(ctx, topic)
		if err != nil {
			cancel(err)
			break
		}
		from := map[int]int64{}
		for _, s := range spans {
			from[s.Partition] = s.End
			if fromStart {
				from[s.Partition] = s.First
			}
		}
		readers.Go(func() {
			err := follow(ctx, client, topic, from, func(m stream.Message) bool {
				mu.Lock()
				defer mu.Unlock()
				if count > 0 && printed == count {
					return false
				}
				printed++
				fmt.Fprintln(t.Out, line(m))
				if count > 0 && printed == count {
					cancel(errEnough)
					return false
				}
				return true
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	readers.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errEnough) {
		return cause
	}
	return nil
}

// errEnough ends a tail that has printed what it was asked for.
var errEnough = errors.New("enough lines")

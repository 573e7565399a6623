package rival

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"
)

// Pool is the unsafe pool, the ceiling: many goroutines behind one Reader, no order, SETNX against repetitions, offsets
// committed in the background once a message is done, whatever became of those before it. A crash loses what was
// between SETNX and the result.
func Pool(ctx context.Context, c Config, log io.Writer) error {
	s, err := newShop(c, 100, 2*time.Millisecond)
	if err != nil {
		return err
	}
	seen := redis.NewClient(&redis.Options{Addr: c.Redis})
	defer func() { _ = seen.Close() }()
	r := reader(c, 4*c.Workers, 200*time.Millisecond)
	queue := make(chan kafka.Message)
	var workers sync.WaitGroup
	for range c.Workers {
		workers.Go(func() {
			for m := range queue {
				s.once(context.WithoutCancel(ctx), seen, r, m, log)
			}
		})
	}
	for ctx.Err() == nil {
		m, err := r.FetchMessage(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			break
		}
		if err != nil {
			fmt.Fprintln(log, "fetch:", err)
			continue
		}
		queue <- m
	}
	close(queue)
	workers.Wait()
	return errors.Join(r.Close(), s.writer.Close())
}

func (s *shop) once(ctx context.Context, seen *redis.Client, r *kafka.Reader, m kafka.Message, log io.Writer) {
	var cmd command
	if err := json.Unmarshal(m.Value, &cmd); err != nil {
		fmt.Fprintln(log, "command:", err)
		return
	}
	first, err := seen.SetNX(ctx, "seen:"+cmd.Order, 1, 24*time.Hour).Result()
	if err != nil {
		fmt.Fprintln(log, "redis:", err)
		return
	}
	if first {
		if err := s.execute(ctx, cmd); err != nil {
			fmt.Fprintln(log, "execute:", err)
			return
		}
	}
	if err := r.CommitMessages(ctx, m); err != nil {
		fmt.Fprintln(log, "commit:", err)
	}
}

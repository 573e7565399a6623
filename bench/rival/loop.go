package rival

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Loop is the plain loop: one goroutine and one Reader a partition, each message processed, then committed. It keeps
// the order of a partition and repeats what it did not commit.
func Loop(ctx context.Context, c Config, log io.Writer) error {
	// A batch of one is written at once: with kafka-go's defaults each message would wait for a second.
	s, err := newShop(c, 1, time.Millisecond)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for range c.Partitions {
		all.Go(func() { s.loop(ctx, c, log) })
	}
	all.Wait()
	return s.writer.Close()
}

func (s *shop) loop(ctx context.Context, c Config, log io.Writer) {
	r := reader(c, 100, 0)
	defer func() { _ = r.Close() }()
	for {
		m, err := r.FetchMessage(ctx)
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Fprintln(log, "fetch:", err)
			continue
		}
		var cmd command
		if err := json.Unmarshal(m.Value, &cmd); err != nil {
			fmt.Fprintln(log, "command:", err)
			continue
		}
		working := context.WithoutCancel(ctx)
		for err := s.execute(working, cmd); err != nil; err = s.execute(working, cmd) {
			fmt.Fprintln(log, "execute:", err)
		}
		if err := r.CommitMessages(working, m); err != nil {
			fmt.Fprintln(log, "commit:", err)
		}
	}
}

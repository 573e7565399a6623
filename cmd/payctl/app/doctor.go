package app

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"paydispatch/cmd/internal/settings"
)

// doctor says what is weak about what the services depend on: of Redis so far.
func (t *tool) doctor() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "say what is weak about Redis, and what to do",
		Long: "doctor looks at each server of Redis by the services' own settings (REDIS_...), as a dispatcher does at its start,\n" +
			"and fails if that start would be refused.",
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return t.examine(c.Context())
		},
	}
}

func (t *tool) examine(ctx context.Context) error {
	c := struct{ Redis settings.Redis }{settings.DefaultRedis()}
	c.Redis.Addrs = []string{"127.0.0.1:6379"}
	if err := settings.Check(settings.Load(&c, t.getenv), c.Redis.Check()); err != nil {
		return err
	}
	store, err := c.Redis.Open()
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := store.Findings(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Weakness, f.Server, f.Text)
	}
	if len(found) == 0 {
		fmt.Fprintln(w, "nothing weak was found of Redis")
	}
	return errors.Join(w.Flush(), store.Check(ctx), c.Redis.Refuses(found))
}

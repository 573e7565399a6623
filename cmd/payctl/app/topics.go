package app

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/catalog"
)

func (t *tool) topics() *cobra.Command {
	c := &cobra.Command{Use: "topics", Short: "list or create the topics of this system", Args: args(cobra.NoArgs)}
	c.AddCommand(t.listTopics(), t.createTopics())
	return c
}

// names lists the topics that the services read and write; those of the delays follow the settings PARK_TIERS and IDENTITY_TIERS.
func (t *tool) names() ([]string, error) {
	var policies struct {
		Withhold   settings.Withhold
		Operations settings.Operations
	}
	policies.Withhold, policies.Operations = settings.DefaultWithhold(), settings.DefaultOperations()
	if err := settings.Check(settings.Load(&policies, t.getenv)); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range catalog.Specs() {
		names = append(names, s.Topic)
		names = append(names, operation.DelayTopics(s.Topic, policies.Operations.Tiers(policies.Withhold, s.Topic))...)
		names = append(names, s.DeadLetterTopic())
		if !slices.Contains(names, s.ResultTopic) { // several topics may share one
			names = append(names, s.ResultTopic)
		}
	}
	return names, nil
}

func (t *tool) listTopics() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list the topics, their partitions and how many messages they keep",
		Long: "list shows the topics that the services need. Set PARK_TIERS and IDENTITY_TIERS as the services have them.",
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := t.names()
			if err != nil {
				return err
			}
			client, err := t.reader(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			return t.tabulate(c.Context(), client, names)
		},
	}
}

func (t *tool) tabulate(ctx context.Context, client *kafkastream.Admin, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "topic\tpartitions\tmessages")
	for _, name := range names {
		if err := client.CheckTopics(ctx, []string{name}); err != nil {
			fmt.Fprintf(w, "%s\tmissing\t\n", name)
			continue
		}
		spans, err := client.Spans(ctx, name)
		if err != nil {
			return err
		}
		var messages int64
		for _, s := range spans {
			messages += s.End - s.First
		}
		fmt.Fprintf(w, "%s\t%d\t%d\n", name, len(spans), messages)
	}
	return w.Flush()
}

func (t *tool) createTopics() *cobra.Command {
	var partitions, replication int
	c := &cobra.Command{
		Use: "create", Short: "create the topics that are missing",
		Long: "create makes the topics that the services need and that do not exist; those that do stay as they are.\n" +
			"Set PARK_TIERS and IDENTITY_TIERS as the services have them. Retention is the brokers' default: it must be longer than the longest\n" +
			"delay and the longest stop of the services.",
		Example: "  payctl topics create --partitions 24 --replication 3",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := t.names()
			if err != nil {
				return err
			}
			client, err := t.reader(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			var specs []kafkastream.TopicSpec
			for _, n := range names {
				specs = append(specs, kafkastream.TopicSpec{Name: n, Partitions: partitions, Replication: replication})
			}
			if err := client.CreateTopics(c.Context(), specs); err != nil {
				return err
			}
			return t.tabulate(c.Context(), client, names)
		},
	}
	c.Flags().IntVar(&partitions, "partitions", 8, "of each topic")
	c.Flags().IntVar(&replication, "replication", 1, "of each topic")
	return c
}

// Package app is payctl, the operator's tool: it sends commands, shows results, records and dead letters, and sends
// dead letters again.
//
// It refuses to show card, identity and phone numbers unless it is told to (dlq show --reveal), to send a command that
// its schema refuses unless it is told to, and to change or delete a record.
//
// It reaches Kafka and Redis by the same settings as the services (KAFKA_…, REDIS_…); without them it looks for the
// sandbox on this machine.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/commands"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/catalog"
)

// Streams are the ends that a terminal gives.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// usage is an error of whoever typed: exit code 2.
type usage struct{ error }

// Unwrap returns the cause.
func (u usage) Unwrap() error { return u.error }

// Main runs one command line and returns the exit code: 0 done, 1 it failed, 2 the arguments or settings cannot work.
func Main(ctx context.Context, args []string, getenv func(string) string, s Streams) int {
	root := newRoot(&tool{getenv: getenv, Streams: s})
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return 0
	}
	fmt.Fprintln(s.Err, "payctl:", err)
	if _, ok := errors.AsType[usage](err); ok {
		return 2
	}
	if _, ok := errors.AsType[*settings.Invalid](err); ok {
		return 2
	}
	return 1
}

// tool is what the commands share.
type tool struct {
	Streams
	getenv  func(string) string
	brokers []string
}

func newRoot(t *tool) *cobra.Command {
	root := &cobra.Command{
		Use:   "payctl",
		Short: "send commands, follow results, look after dead letters",
		Long: "payctl sends commands, follows results and looks after dead letters.\n\n" +
			"Kafka and Redis are reached by the services' own settings (KAFKA_BROKERS, REDIS_ADDRS, ...);\n" +
			"without them by the sandbox's ports on this machine.",
		Example: "  payctl example withhold.request | payctl send withhold.request - --wait\n" +
			"  payctl tail withhold.result",
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringSliceVar(&t.brokers, "brokers", nil, "Kafka's addresses (default KAFKA_BROKERS, or 127.0.0.1:9092)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	root.AddCommand(t.send(), t.example(), t.tail(), t.order(), t.request(), t.dlq(), t.topics(), t.doctor())
	return root
}

// args turns cobra's complaint about arguments into one about usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if err := check(c, given); err != nil {
			return usage{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
		}
		return nil
	}
}

// spec finds a command topic.
func spec(topic string) (commands.Spec, error) {
	s, ok := catalog.Find(topic)
	if !ok {
		return s, usage{fmt.Errorf("%.60q is not a command topic; there are: %s", topic, strings.Join(catalog.Topics(), ", "))}
	}
	return s, nil
}

// kafka reads how to reach Kafka.
func (t *tool) kafka() (kafkastream.Config, error) {
	var c struct{ Kafka settings.Kafka }
	c.Kafka.Brokers = []string{"127.0.0.1:9092"}
	unreadable := settings.Load(&c, t.getenv)
	if len(t.brokers) > 0 {
		c.Kafka.Brokers = t.brokers
	}
	if err := settings.Check(unreadable, c.Kafka.Check()); err != nil {
		return kafkastream.Config{}, err
	}
	return c.Kafka.Config("payctl")
}

// reader opens Kafka for reading and checks that the topics exist.
func (t *tool) reader(ctx context.Context, topics ...string) (*kafkastream.Admin, error) {
	config, err := t.kafka()
	if err != nil {
		return nil, err
	}
	client, err := kafkastream.NewAdmin(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := client.CheckTopics(ctx, topics); err != nil {
		client.Close()
		if errors.Is(err, kafkastream.ErrMissingTopics) {
			return nil, fmt.Errorf("%w (payctl topics create makes them)", err)
		}
		return nil, fmt.Errorf("kafka at %s: %w", strings.Join(config.Brokers, ","), err)
	}
	return client, nil
}

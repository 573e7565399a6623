package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

func (t *tool) dlq() *cobra.Command {
	c := &cobra.Command{
		Use: "dlq", Short: "list, show or replay dead letters", Args: args(cobra.NoArgs),
		Long: "dlq looks after the messages that could not be executed. <topic> is the command topic; a letter is named by\n" +
			"partition/offset in its dead-letter topic, as dlq list shows it.",
	}
	c.AddCommand(t.listLetters(), t.showLetter(), t.replayLetters())
	return c
}

func (t *tool) listLetters() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "list <topic>", Short: "list the dead letters of a command topic",
		Example: "  payctl dlq list withhold.request --reason invalid",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "letter\tburied\treason\tkey\torigin\terror")
			err := t.letters(c.Context(), given[0], func(m stream.Message) error {
				if reason == "" || header(m, dispatch.HeaderReason) == reason {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name(m), m.Time.Local().Format(time.DateTime), header(m, dispatch.HeaderReason),
						m.Key, header(m, dispatch.HeaderOrigin), header(m, dispatch.HeaderError))
				}
				return nil
			})
			return errors.Join(err, w.Flush())
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "only those with this reason")
	return c
}

func (t *tool) showLetter() *cobra.Command {
	var reveal bool
	c := &cobra.Command{
		Use: "show <topic> <partition/offset>", Short: "show one dead letter",
		Example: "  payctl dlq show withhold.request 1/42",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, given []string) error {
			s, err := spec(given[0])
			if err != nil {
				return err
			}
			found := false
			err = t.letters(c.Context(), given[0], func(m stream.Message) error {
				if name(m) == given[1] {
					found = true
					t.print(s, m, reveal)
				}
				return nil
			})
			if err == nil && !found {
				err = fmt.Errorf("no dead letter %s in %s", given[1], s.DeadLetterTopic())
			}
			return err
		},
	}
	c.Flags().BoolVar(&reveal, "reveal", false, "show the value whole, with card, identity and phone numbers")
	return c
}

func (t *tool) print(s commands.Spec, m stream.Message, reveal bool) {
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "letter\t%s\nkey\t%s\n", name(m), m.Key)
	for _, h := range m.Headers {
		value := string(h.Value)
		if h.Key == operation.HeaderState {
			value = fmt.Sprintf("(%d bytes)", len(h.Value))
		}
		fmt.Fprintf(w, "%s\t%s\n", h.Key, value)
	}
	_ = w.Flush() // the terminal went away
	if reveal {
		fmt.Fprintf(t.Out, "\n%s\n", m.Value)
		return
	}
	fmt.Fprintf(t.Out, "\n%s\n", masked(s, m.Value))
}

// masked shows which fields a command has, and of those only the values that results may repeat.
func masked(s commands.Spec, value []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return fmt.Sprintf("(%d bytes, not a JSON object; --reveal shows them)", len(value))
	}
	open := append([]string{"requestId", s.KeyField}, s.CarryFields...)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text := "[masked]"
		if slices.Contains(open, name) {
			text = string(fields[name])
		}
		lines = append(lines, fmt.Sprintf("  %.60q: %.200s", name, text))
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}"
}

type replayFlags struct {
	all    bool
	reason string
}

func (t *tool) replayLetters() *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use: "replay <topic> [partition/offset]...", Short: "send dead letters again",
		Long: "replay publishes dead letters to the topic that they came from again, as they were: the same key, value and headers.\n" +
			"It takes nothing out of the dead-letter topic. Replaying twice is safe: an order moves money once.",
		Example: "  payctl dlq replay withhold.request 1/42\n  payctl dlq replay withhold.request --all --reason panic",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			if f.all == (len(given) > 1) {
				return usage{errors.New("name the letters to replay, or --all")}
			}
			return t.replay(c.Context(), given[0], given[1:], f)
		},
	}
	c.Flags().BoolVar(&f.all, "all", false, "all that are kept")
	c.Flags().StringVar(&f.reason, "reason", "", "only those with this reason")
	return c
}

func (t *tool) replay(ctx context.Context, topic string, names []string, f replayFlags) error {
	config, err := t.kafka()
	if err != nil {
		return err
	}
	publisher, err := kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: config})
	if err != nil {
		return err
	}
	defer func() { _ = publisher.Close(context.WithoutCancel(ctx)) }()
	var sent, skipped int
	err = t.letters(ctx, topic, func(m stream.Message) error {
		if !f.all && !slices.Contains(names, name(m)) || f.reason != "" && header(m, dispatch.HeaderReason) != f.reason {
			return nil
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == name(m) })
		if _, cut := m.Header(dispatch.HeaderTruncated); cut {
			skipped++
			fmt.Fprintf(t.Out, "%s is only a part of a message that was too large: not sent\n", name(m))
			return nil
		}
		if _, parked := m.Header(operation.HeaderState); parked && !strings.HasPrefix(cameFrom(m), topic+".delay.") {
			skipped++
			fmt.Fprintf(t.Out, "%s carries what is known of an order and does not come from a delay topic: not sent; "+
				"its sender may order it again, under the same number\n", name(m))
			return nil
		}
		if err := publisher.Publish(ctx, revived(topic, m)); err != nil {
			return err
		}
		sent++
		fmt.Fprintf(t.Out, "%s sent again, key %s\n", name(m), m.Key)
		return nil
	})
	fmt.Fprintf(t.Out, "%d sent again, %d not\n", sent, skipped+len(names))
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("not found: %s", strings.Join(names, ", "))
	}
	return err
}

// revived is the message as it was before it died, for the topic that it came from. A letter from a delay topic goes back
// there: with its seal it is believed, and without one it is asked about before anything is sent, while on the command
// topic an order that was sent before would look new. What claimed to be ours and was not stays behind.
func revived(topic string, m stream.Message) stream.Message {
	about := []string{
		dispatch.HeaderReason, dispatch.HeaderError, dispatch.HeaderOrigin, dispatch.HeaderFirstSeen, dispatch.HeaderBuriedAt,
		dispatch.HeaderShed,
	}
	out := stream.Message{Topic: topic, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		if !slices.Contains(about, h.Key) {
			out.Headers = append(out.Headers, h)
		}
	}
	from := cameFrom(m)
	if !strings.HasPrefix(from, topic+".delay.") {
		out.Headers = operation.Strip(out.Headers)
		return out
	}
	out.Topic, out.Headers = from, operation.Owned(out.Headers)
	return out
}

// cameFrom is the topic that a letter was buried in.
func cameFrom(m stream.Message) string {
	from, _, _ := strings.Cut(header(m, dispatch.HeaderOrigin), "/")
	return from
}

// letters visits the dead letters of a command topic that are there now, partition by partition.
func (t *tool) letters(ctx context.Context, topic string, visit func(stream.Message) error) error {
	s, err := spec(topic)
	if err != nil {
		return err
	}
	client, err := t.reader(ctx, s.DeadLetterTopic())
	if err != nil {
		return err
	}
	defer client.Close()
	spans, err := client.Spans(ctx, s.DeadLetterTopic())
	if err != nil {
		return err
	}
	for _, span := range spans {
		if span.First == span.End {
			continue
		}
		var failed error
		err := client.Read(ctx, s.DeadLetterTopic(), span.Partition, span.First, func(m stream.Message) bool {
			failed = visit(m)
			return failed == nil && m.Offset+1 < span.End
		})
		if err := errors.Join(failed, err); err != nil {
			return err
		}
	}
	return nil
}

func name(m stream.Message) string {
	return strconv.Itoa(m.Partition) + "/" + strconv.FormatInt(m.Offset, 10)
}

func header(m stream.Message, key string) string {
	value, _ := m.Header(key)
	return string(value)
}

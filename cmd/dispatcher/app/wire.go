// Package app is the service dispatcher: it executes the commands of its topics at their vendors, each once, and
// publishes what became of them.
//
// Any number of processes may run: Kafka's consumer group shares the partitions, Redis holds the records. It refuses to
// start on settings that cannot work, on topics that do not exist, and on a Redis that may evict records.
//
// What it needs from its surroundings: SIGTERM and POD_GRACE to stop, one Redis for all processes of a group, and
// topics whose retention is longer than the longest stop and the longest delay.
package app

import (
	"context"
	"errors"
	"io"
	"slices"

	"paydispatch/cmd/internal/metric"
	"paydispatch/cmd/internal/service"
	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/admin"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/schemas"
)

// name names the service in logs and at the brokers.
const name = "dispatcher"

// Run executes commands until ctx ends, then finishes those in flight and returns nil. Settings come from getenv, the
// log goes to stderr. A *settings.Invalid names every setting that cannot work.
func Run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	config, secrets, problems := load(getenv)
	if done, err := service.Arguments(name, args, settings.List(config), func(set *metric.Set) { newMetrics(set) }, stderr); done {
		return err
	}
	if problems != nil {
		return problems
	}
	s := service.New(ctx, name, config.Process, config.Group.RebalanceTimeout, stderr)
	return s.Close(start(s, config, secrets))
}

func start(s *service.Service, c Config, secret secrets) error {
	s.Log.Info("starting", "settings", settings.List(c))
	m := newMetrics(s.Metrics)
	prepared := make(chan struct{})
	ready := admin.Check{Name: "prepared", Probe: service.Closed(prepared, "the group was not joined yet")}
	moving := admin.Check{Name: "lanes", Probe: m.heads.moving(c.Group.StuckAfter)}
	fit := admin.Check{Name: "fit", Probe: s.Fit}
	known := admin.Check{Name: "topics", Probe: m.lost.none}
	member := admin.Check{Name: "group", Probe: m.outside.inside(c.Process.ReadyGrace)}
	if err := s.Admin(ready, member, moving, known, fit); err != nil {
		return err
	}
	kafka, err := c.Kafka.Config(name)
	if err != nil {
		return err
	}
	store, err := s.Store(c.Redis, c.tolerance(), m.operations)
	if err != nil {
		return err
	}
	publisher, err := s.Publisher(kafka, m.operations)
	if err != nil {
		return err
	}
	owner := service.Owner()
	tracer, err := s.Tracer(owner, c.Group.Name)
	if err != nil {
		return err
	}
	validator, err := schemas.Load()
	if err != nil {
		return err
	}

	w := wiring{
		service: s, config: c, secret: secret, store: store, publisher: publisher, metrics: m, tracer: tracer, owner: owner,
	}
	routes, err := w.routes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		p := r.Driver.Policy
		m.touch(p.Spec.Topic, append(operation.DelayTopics(p.Spec.Topic, p.Tiers), p.Spec.Topic))
	}
	dispatcher := dispatch.New(dispatch.Config{
		Routes: routes, Store: store, Publisher: publisher, Validator: validator, Fingerprints: secret.fingerprints,
		MaxBytes: c.MaxCommandBytes, Logger: s.Log, Observe: m.dispatch(), Tracer: tracer,
	})

	if err := topics(s, c, kafka, dispatcher); err != nil {
		return err
	}
	consumer, err := kafkastream.NewConsumer(kafkastream.ConsumerConfig{
		Config: kafka, Group: c.Group.Name,
		Stream: stream.Config{
			Due: dispatcher.Due, InFlight: c.Group.InFlight, Window: c.Group.Window, DrainBudget: c.Group.DrainBudget, Grace: c.grace(),
			Budget: stream.NewBudget(c.Group.MaxInFlight, int64(c.Group.MaxBytes)), StuckAfter: c.Group.StuckAfter,
			Logger: s.Log, Observe: m.stream(),
		},
		Prepare: func(ctx context.Context, seenBefore bool) error {
			if err := store.Prepare(ctx, seenBefore); err != nil {
				return err
			}
			close(prepared)
			s.Log.Info("prepared", "seen_before", seenBefore)
			return nil
		},
		Witnesses: c.witnesses(), OnGap: m.gap, OnBehind: m.backlog, OnLost: m.lost.note, OnGroup: m.outside.note,
		Heartbeat: c.Group.Heartbeat, Session: c.Group.SessionTimeout, Rebalance: c.Group.RebalanceTimeout,
	})
	if err != nil {
		return err
	}
	s.Go("consumer", func(ctx context.Context) error { return consumer.Run(ctx, dispatcher.Topics(), dispatcher) })
	return nil
}

// topics makes sure that every topic exists that is read or written, before the group is joined; where that is set
// (development) it creates them.
func topics(s *service.Service, c Config, kafka kafkastream.Config, d *dispatch.Dispatcher) error {
	client, err := kafkastream.NewAdmin(kafka)
	if err != nil {
		return err
	}
	defer client.Close()
	names := d.Topics()
	for _, r := range d.Routes {
		spec := r.Driver.Policy.Spec
		names = append(names, spec.ResultTopic, spec.DeadLetterTopic())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	backoff := stream.Defaults().Backoff()
	for attempt, missed := 1, 0; ; attempt++ {
		if c.Topics.Create {
			err = client.CreateTopics(s.Context(), specs(names, c.Topics.Partitions))
		} else {
			err = client.CheckTopics(s.Context(), names)
		}
		if errors.Is(err, kafkastream.ErrMissingTopics) {
			missed++
		}
		if err == nil || missed == kafkastream.MissingLooks {
			return err
		}
		s.Log.Warn("the topics cannot be checked yet, trying again", "attempt", attempt, "err", err)
		if err := backoff.Wait(s.Context(), "topics", attempt); err != nil {
			return err
		}
	}
}

func specs(names []string, partitions int) []kafkastream.TopicSpec {
	all := make([]kafkastream.TopicSpec, len(names))
	for i, n := range names {
		all[i] = kafkastream.TopicSpec{Name: n, Partitions: partitions}
	}
	return all
}

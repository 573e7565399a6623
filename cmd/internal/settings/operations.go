package settings

import (
	"errors"
	"fmt"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/catalog"
)

// Operations are the policies of the topics beside withhold.request, which both services share.
type Operations struct {
	CardDeadline     time.Duration   `env:"WITHHOLD_CARD_DEADLINE"`
	QueryDeadline    time.Duration   `env:"WITHHOLD_QUERY_DEADLINE"`
	IdentityDeadline time.Duration   `env:"IDENTITY_DEADLINE"`
	IdentityTiers    []time.Duration `env:"IDENTITY_TIERS"`
	ReceiverDeadline time.Duration   `env:"ALLOC_RECEIVER_DEADLINE"`
}

// DefaultOperations are the defaults. An identity flow ends by itself after 30 days (spec/esign.md 3); an SMS is of no
// use to anyone after some minutes.
func DefaultOperations() Operations {
	return Operations{
		CardDeadline: 2 * time.Minute, QueryDeadline: 10 * time.Minute, ReceiverDeadline: 10 * time.Minute,
		IdentityDeadline: 30 * 24 * time.Hour,
		IdentityTiers:    []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute},
	}
}

// Tiers are the delays of a topic's delay topics; w gives those that most topics share.
func (o Operations) Tiers(w Withhold, topic string) []time.Duration {
	if topic == catalog.IdentityPoll().Topic {
		return o.IdentityTiers
	}
	return w.ParkTiers
}

// Check returns every problem; lifetime is that of a record, serves tells which topics' deadlines must fit in it.
func (o Operations) Check(lifetime time.Duration, serves func(topic string) bool) error {
	var problems []error
	for _, d := range []struct {
		name, topic string
		is          time.Duration
	}{
		{"WITHHOLD_CARD_DEADLINE", catalog.CardPrebind().Topic, o.CardDeadline},
		{"WITHHOLD_QUERY_DEADLINE", catalog.WithholdQuery().Topic, o.QueryDeadline},
		{"IDENTITY_DEADLINE", catalog.IdentityPoll().Topic, o.IdentityDeadline},
		{"ALLOC_RECEIVER_DEADLINE", catalog.AllocReceiverQuery().Topic, o.ReceiverDeadline},
	} {
		problems = append(problems, Positive(d.name, d.is))
		if serves(d.topic) && d.is >= lifetime {
			problems = append(problems, fmt.Errorf("%s: %v must be shorter than RECORD_LIFETIME, which is %v", d.name, d.is, lifetime))
		}
	}
	tiers := commands.Policy{Spec: commands.Spec{Effect: commands.EffectRead}, Deadline: time.Hour, Tiers: o.IdentityTiers}
	return errors.Join(append(problems, Rename(tiers.Validate(), "IDENTITY_TIERS"))...)
}

// Card returns the policy of a card command; w gives what it shares with orders.
func (o Operations) Card(w Withhold, spec commands.Spec, owner string) commands.Policy {
	p := w.Policy(spec, owner)
	p.Deadline = o.CardDeadline
	return p
}

// Query returns the policy of withhold.query.
func (o Operations) Query(w Withhold, spec commands.Spec, owner string) commands.Policy {
	return commands.Policy{Spec: spec, Owner: owner, Deadline: o.QueryDeadline, Tiers: w.ParkTiers}
}

// Identity returns the policy of identity.poll.
func (o Operations) Identity(spec commands.Spec, owner string) commands.Policy {
	return commands.Policy{Spec: spec, Owner: owner, Deadline: o.IdentityDeadline, Tiers: o.IdentityTiers}
}

// Receiver returns the policy of alloc.receiver.query.
func (o Operations) Receiver(w Withhold, spec commands.Spec, owner string) commands.Policy {
	return commands.Policy{Spec: spec, Owner: owner, Deadline: o.ReceiverDeadline, Tiers: w.ParkTiers}
}

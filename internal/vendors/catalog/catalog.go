// Package catalog is the explicit list of the command topics that this system serves: how each is named and read.
//
// It refuses to register anything by itself: a topic exists when its line stands here, and a program serves it when its
// wiring gives it a vendor. Callers must not change what they get.
package catalog

import (
	"slices"

	"paydispatch/internal/commands"
)

// Withhold debits one order from a bank card (single-withhold, seed 001 section 3).
func Withhold() commands.Spec {
	return commands.Spec{
		Topic: "withhold.request", ResultTopic: "withhold.result", Effect: commands.EffectMoney,
		Type: "withhold", Source: "/paydispatch/withhold",
		KeyField: "biz_order_no", CarryFields: []string{"amount", "pay_type", "account"},
		MatchFields: []string{"pay_order_no", "pay_type", "amount"}, AmountField: "amount",
	}
}

// WithholdQuery asks how an order stands (single-order-query, seed 001 section 3).
func WithholdQuery() commands.Spec {
	return commands.Spec{
		Topic: "withhold.query", ResultTopic: "withhold.result", Effect: commands.EffectRead,
		Type: "withhold.query", Source: "/paydispatch/withhold",
		KeyField: "requestId", CarryFields: []string{"biz_order_no", "account"},
	}
}

// CardPrebind has the bank send a code to the card's owner (pre-tied-card, seed 001 section 1).
func CardPrebind() commands.Spec {
	return commands.Spec{
		Topic: "withhold.card.prebind", ResultTopic: "withhold.card.result", Effect: commands.EffectOnce,
		Type: "withhold.card.prebind", Source: "/paydispatch/withhold",
		KeyField: "requestId", CarryFields: []string{"pay_type", "account"},
	}
}

// CardConfirm ties the card with that code (confirm-tied-card, seed 001 section 2).
func CardConfirm() commands.Spec {
	return commands.Spec{
		Topic: "withhold.card.confirm", ResultTopic: "withhold.card.result", Effect: commands.EffectOnce,
		Type: "withhold.card.confirm", Source: "/paydispatch/withhold",
		KeyField: "requestId", CarryFields: []string{"pay_type", "account"},
	}
}

// IdentityPoll follows the reverse payment of an organization's identity flow to its end (seed 000).
func IdentityPoll() commands.Spec {
	return commands.Spec{
		Topic: "identity.poll", ResultTopic: "identity.result", Effect: commands.EffectRead,
		Type: "identity", Source: "/paydispatch/identity",
		KeyField: "flowId", CarryFields: []string{"account"},
		ProgressFields: []string{"process", "authLetterAuditStatus"},
	}
}

// AllocReceiverQuery asks for the receivers of a profit share (seed 002).
func AllocReceiverQuery() commands.Spec {
	return commands.Spec{
		Topic: "alloc.receiver.query", ResultTopic: "alloc.receiver.result", Effect: commands.EffectRead,
		Type: "alloc.receiver", Source: "/paydispatch/alloc",
		KeyField: "requestId", CarryFields: []string{"channel", "receiverNo", "account"},
	}
}

// Specs lists every command topic.
func Specs() []commands.Spec {
	return []commands.Spec{
		Withhold(),
		WithholdQuery(),
		CardPrebind(),
		CardConfirm(),
		IdentityPoll(),
		AllocReceiverQuery(),
	}
}

// Topics lists the names of the command topics.
func Topics() []string {
	var names []string
	for _, s := range Specs() {
		names = append(names, s.Topic)
	}
	return names
}

// Find returns the command topic of this name, and whether there is one.
func Find(topic string) (commands.Spec, bool) {
	i := slices.IndexFunc(Specs(), func(s commands.Spec) bool { return s.Topic == topic })
	if i < 0 {
		return commands.Spec{}, false
	}
	return Specs()[i], true
}

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
		Topic: "withhold.request", ResultTopic: "withhold.result", Effect: commands.EffectMoney, Type: "withhold", Source: "/paydispatch/withhold",
		KeyField: "biz_order_no", CarryFields: []string{"amount", "pay_type", "account"},
		MatchFields: []string{"pay_order_no", "pay_type"},
	}
}

// Specs lists every command topic.
func Specs() []commands.Spec {
	return []commands.Spec{
		Withhold(),
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

package commands

// Effect says what executing a command does to the world, and so what may be done when its outcome is unknown.
type Effect uint8

const (
	// EffectMoney: at most once, and can be asked about.
	EffectMoney Effect = iota
	// EffectOnce: has an effect (an SMS) and cannot be asked about: after an unknown outcome it is never sent again.
	EffectOnce
	// EffectRead: a question; it may be repeated until it is answered for good or the deadline passes.
	EffectRead
)

// String returns the effect as it stands in documents and settings.
func (e Effect) String() string {
	switch e {
	case EffectOnce:
		return "once"
	case EffectRead:
		return "read"
	}
	return "money"
}

// Spec is how one command topic is named and read; the catalog holds one for each.
type Spec struct {
	// Topic carries the commands, ResultTopic their results.
	Topic, ResultTopic string
	Effect             Effect
	// Type is the first word of the event types, such as "withhold" in withhold.succeeded.v1.
	Type string
	// Source is the CloudEvents source.
	Source string
	// KeyField is the field that names the operation, such as "biz_order_no".
	KeyField string
	// CarryFields are the fields that every result repeats; none may be personal data.
	CarryFields []string
	// ProgressFields are the vendor's fields whose change is worth a pending event; with none, the first pending word is.
	ProgressFields []string
	// MatchFields are the vendor's fields in which its word must not contradict what was ordered or what it said before.
	MatchFields []string
	// AmountField is the command's field that holds the amount of money, "" where none moves. A verdict then says who
	// confirmed it, see the Amount constants.
	AmountField string
}

// DeadLetterTopic is where messages go that cannot be executed.
func (s Spec) DeadLetterTopic() string { return s.Topic + ".dlq" }

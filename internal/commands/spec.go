package commands

// Spec is how one command topic is named and read; the catalog holds one for each.
type Spec struct {
	// Topic carries the commands, ResultTopic their results.
	Topic, ResultTopic string
	// Type is the first word of the event types, such as "withhold" in withhold.succeeded.v1.
	Type string
	// Source is the CloudEvents source.
	Source string
	// KeyField is the field that names the operation, such as "biz_order_no".
	KeyField string
	// CarryFields are the fields that every result repeats; none may be personal data.
	CarryFields []string
	// MatchFields are the vendor's fields in which a callback must not contradict what is known.
	MatchFields []string
}

// DeadLetterTopic is where messages go that cannot be executed.
func (s Spec) DeadLetterTopic() string { return s.Topic + ".dlq" }

package main

const (
	driver   = "internal/operation/driver.go"
	dispatch = "internal/dispatch/dispatch.go"
	memory   = "internal/dispatch/memory.go"
	relay    = "internal/operation/relay.go"
)

// shell are the mistakes in performing what was decided.
func shell() []mutant {
	mistakes := []mutant{
		{name: "the lease fence", danger: "a process that stood still sends after another one did", file: driver,
			old: "	if !r.Now().Before(r.state.Lease) {", new: "	if false {"},
		{name: "a call may outlive its lease", danger: "another process asks and sends while it is under way", file: driver,
			old: "		limit = min(limit, last.Sub(r.Now()))\n", new: "		_ = last\n"},
		{name: "a monotonic clock decides the lease", danger: "it stands still while a machine is suspended", file: driver,
			old: "time.Now().Round(0) }", new: "time.Now() }",
			alive: "in a test the wall and the monotonic clock go together; what the wall clock says is tested with a clock of its own"},
		{name: "an unfit process sends", danger: "its clock, or the replicas, cannot be trusted", file: driver,
			old: "		if err := r.fit(); err != nil {\n			return false, err\n		}\n", new: ""},
		{name: "an unfit process asks", danger: "questions are put in vain, and weighed by a wrong clock", file: driver,
			old: "	if err := r.fit(); err != nil {\n		return err\n	}\n	put := r.Now()", new: "	put := r.Now()"},
		{name: "unfit after the intent is not seen", danger: "a clock set back while the process stood still hides the end of the lease", file: driver,
			old: "	if err := r.fit(); err != nil { // its clock", new: "	if err := error(nil); err != nil { // its clock"},
		{name: "a question counts from its answer", danger: "an answer from before the settle delay leads to a second charge", file: driver,
			old: "commands.Answered{Reply: reply, Put: put}", new: "commands.Answered{Reply: reply, Put: r.Now()}"},
		{name: "overtaken answers are weighed", danger: "another process may have sent since", file: driver,
			old: "		answered.Overtaken = true\n", new: ""},
		{name: "a conflict forgets what was done", danger: "a store that went back in time hides a submission", file: driver,
			old: "		state, _ = state.Joined(*r.state)\n	}\n	*r.state = state", new: "	}\n	*r.state = state"},
		{name: "a copy's memory does not count", danger: "a record that went back in time hides a submission", file: driver,
			old: "	state, _ = state.Joined(memory)\n	return state, nil", new: "	return state, nil"},
		{name: "a copy is believed when the store forgot", danger: "what was sent since is sent again", file: driver,
			old: "		return memory.Forgotten(d.last(rec)), nil", new: "		return memory, nil"},
		{name: "a loss ends without a lease", danger: "who stored an intent just before it may be sending", file: driver,
			old: "	return lost.Add(d.Policy.Lease)", new: "	return lost"},
		{name: "nothing is known of what failed", danger: "a verdict that could not be stored is forgotten", file: driver,
			old: "		r.job.Memory = &memory\n", new: "		_ = memory\n"},
		{name: "an intent that failed counts as sent", danger: "outages use up the submissions of an order", file: driver,
			old: "		r.known = &unsent\n	}\n	record, err", new: "		_ = unsent\n	}\n	record, err"},
		{name: "a failed parking counts", danger: "a copy that is not there outdates the one that is", file: driver,
			old: "	unparked.Parks, unparked.Tries = r.state.Parks, r.state.Tries\n", new: ""},
		{name: "a parking is repeated while the store is away", danger: "copies pile up", file: driver,
			old: "err != nil && !errors.Is(err, idempotency.ErrUnavailable) {", new: "err != nil {"},
		{name: "a command may end without an event", danger: "its sender waits for ever", file: driver,
			old: "		if done && !r.owes(act) {", new: "		if done {"},
		{name: "the count comes before the copy", danger: "a crash leaves a count and no copy: the order is lost", file: driver,
			old: "	if err := r.Publisher.Publish(ctx, m); err != nil {\n		return false, fmt.Errorf(\"park %s: %w\", next.Key, err)\n	}",
			new: "	if _, err := r.store(ctx, next); err != nil {\n		return false, err\n	}\n	if err := r.Publisher.Publish(ctx, m); err != nil {\n		return false, fmt.Errorf(\"park %s: %w\", next.Key, err)\n	}"},
		{name: "a verdict is published before it is stored", danger: "after a crash it is decided, and worded, anew", file: driver,
			old: "	case commands.DoAnnounce:\n		if ok, err := r.store(ctx, next); err != nil || !ok {\n			return false, err\n		}\n",
			new: "	case commands.DoAnnounce:\n		if err := r.publish(ctx, next.Result, commands.Published{}); err != nil {\n			return false, err\n		}\n		if ok, err := r.store(ctx, next); err != nil || !ok {\n			return false, err\n		}\n"},
		{name: "a question goes to the account of today", danger: "another account has no such order, and gets it", file: driver,
			old: "		command.Account = r.state.Account\n", new: ""},
		{name: "another account's answer settles", danger: "an order fails because another account's did", file: relay,
			old: "	if r.account(state.Account) != r.account(c.Account) {", new: "	if false {"},
		{name: "a panic in mid-call is forgotten", danger: "what was sent is not asked about", file: driver,
			old: "		state.Phase, state.SentAt = commands.Asking, d.Now()\n", new: ""},
		{name: "a message's memory is not kept", danger: "a verdict that could not be stored is forgotten", file: memory,
			old: "		t.memories.keep(t.job.Record.Key, from, *t.job.Memory)\n", new: ""},
		{name: "a memory is forgotten by another message", danger: "a duplicate makes a verdict be forgotten", file: memory,
			old: "return slices.DeleteFunc(all, func(l left) bool { return l.origin == origin })", new: "return slices.DeleteFunc(all, func(l left) bool { return l.origin != \"\" })"},
		{name: "a new message does not look after a loss", danger: "it asks about what stands on record", file: dispatch,
			old: " && job.Record.Forgot.IsZero() && !remembers {", new: " && !remembers {"},
		{name: "a retry does not look", danger: "what this process did is met as a conflict only", file: dispatch,
			old: "_, remembers := t.memories.of(job.Record.Key)", new: "_, remembers := t.memories.of(\"\")"},
		{name: "every reused request is in doubt", danger: "for 40 days people are told to ask the vendor", file: dispatch,
			old: "	if other.Forgot.IsZero() || !p.MayPrecede(t.job.Message.Time, other.Forgot, t.route.Driver.Now()) {", new: "	if _ = p; other.Forgot.IsZero() {"},
		{name: "an invalid command is executed", danger: "a schema that nobody enforces", file: dispatch,
			old: "	if err := t.Validator.Validate(t.spec.Topic, value); err != nil {", new: "	if err := t.Validator.Validate(t.spec.Topic, value); false {"},
		{name: "an account that is not known is executed", danger: "what a schema cannot see passes", file: dispatch,
			old: "	if err == nil && t.route.Check != nil {", new: "	if false {"},
		{name: "a rejected message leaves no letter", danger: "what was refused cannot be found", file: "internal/dispatch/deadletter.go",
			old: "	return t.bury(ctx, r.Reason, r.Detail)\n", new: "	return nil\n"},
	}
	for i := range mistakes {
		mistakes[i].suites = []suite{unit("operation", "dispatch"), simulation()}
	}
	return mistakes
}

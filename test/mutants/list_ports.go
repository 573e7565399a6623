package main

// ports are the mistakes in consuming, in the record store and in what callbacks are believed.
func ports() []mutant {
	lane, tracker, serve := "internal/stream/lane.go", "internal/stream/tracker.go", "internal/stream/serve.go"
	epoch := "internal/idempotency/epoch/epoch.go"
	streams := []suite{unit("stream/..."), simulation()}
	stores := []suite{unit("idempotency/..."), simulation()}
	callbacks := []suite{unit("callback"), simulation()}
	return []mutant{
		{name: "the position passes what is unfinished", danger: "a crash loses what was committed and not done", file: tracker, suites: streams,
			old: "	for n < len(t.slots) && t.slots[n].done {", new: "	for n < len(t.slots) {"},
		{name: "one key runs side by side", danger: "orders of one card overtake each other", file: lane, suites: streams,
			old: "		if queue, busy := l.behind[key]; busy {", new: "		if queue, busy := l.behind[key]; false && busy {"},
		{name: "what failed is finished", danger: "a store that is away for a second loses commands", file: lane, suites: streams,
			old: "		if err == nil {\n			return l.finish(it)", new: "		if err == nil || true {\n			return l.finish(it)"},
		{name: "an abandoned message counts as done", danger: "what the drain cut off is committed", file: lane, suites: streams,
			old: "			return l.abandon(it)\n", new: "			return l.finish(it)\n"},
		{name: "later messages of an abandoned key run", danger: "they overtake it", file: lane, suites: streams,
			old: "	if key := string(it.Key); key != \"\" {\n		l.behind[key] = nil\n	}\n	return l.leave(it)", new: "	delete(l.behind, string(it.Key))\n	return l.leave(it)"},
		{name: "the window has no end", danger: "a slow key grows the memory without bound", file: lane, suites: streams,
			old: "l.offsets.size() < l.cfg.Window && ", new: ""},
		{name: "a missing epoch is no loss", danger: "a wiped store is taken for a new one", file: epoch, suites: stores,
			old: "		return Create(newID(), false, now), false\n", new: "		return Create(newID(), true, now), false\n"},
		{name: "another epoch than the remembered one is no loss", danger: "who declared it fresh cannot know", file: epoch, suites: stores,
			old: "	case found.Forgot(now, window).IsZero():\n		return markLost(known, found, now), false\n", new: "	case found.Forgot(now, window).IsZero():\n		return Epoch{}, true\n"},
		{name: "a mark that went back is no loss", danger: "a store that went back in time is believed", file: epoch, suites: stores,
			old: "		return markLost(known, found, now), false\n	}\n	return Epoch{}, true", new: "	}\n	return Epoch{}, true"},
		{name: "a loss is told for no time", danger: "what was lost is sent again", file: epoch, suites: stores,
			old: "	if e.Lost == 0 {\n", new: "	if e.Lost >= 0 {\n"},
		{name: "a start is always the first", danger: "an empty store is taken for a new one", file: "internal/stream/prepare.go", suites: streams,
			old: "	return p.Prepare(ctx, why != \"\")", new: "	return p.Prepare(ctx, false)"},
		{name: "any token is good", danger: "one customer's address settles another one's order", file: "internal/callback/reader.go", suites: callbacks,
			old: "err != nil || !t.Tokens.VerifyToken(string(order), r.PathValue(\"token\")) {", new: "err != nil {"},
		{name: "a callback speaks of any order", danger: "one order's address settles another one", file: "internal/callback/reader.go", suites: callbacks,
			old: "	if about != string(order) {", new: "	if false \u0026\u0026 about != string(order) {"},
		{name: "a failed publication is answered with success", danger: "the vendor does not call again", file: "internal/callback/callback.go", suites: callbacks,
			old: "	case VerdictUnknown, VerdictFault:\n", new: "	case VerdictUnknown:\n"},
		{name: "a token of another purpose is good", danger: "a digest made for contents opens a callback address", file: "internal/commands/keyring.go",
			suites: []suite{unit("commands"), simulation()}, old: "	h.Write([]byte(use))\n", new: ""},
		{name: "what was taken back is executed", danger: "a rolled back transaction moves money", file: "internal/stream/kafkastream/reading.go",
			suites: []suite{unit("stream/kafkastream")}, old: "	return len(began) > 0 \u0026\u0026 began[0] <= offset", new: "	return len(began) > 99"},
		{name: "an offset of a topic that is gone is committed", danger: "the next topic of its name begins in its middle",
			file: "internal/stream/kafkastream/generation.go", suites: []suite{unit("stream/kafkastream")},
			old: "return g.vanished[a.Topic] })", new: "return false })"},
		{name: "the drain is not waited for", danger: "a partition goes to the next member while it is worked on", file: serve, suites: streams,
			old: "	for drained := false; !drained; {", new: "	for drained := true; !drained; {"},
	}
}

// all lists the mutants.
func all() []mutant {
	var list []mutant
	for _, part := range [][]mutant{core(), shell(), ports()} {
		list = append(list, part...)
	}
	return list
}

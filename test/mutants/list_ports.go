package main

// ports are the mistakes in consuming, in the record store and in what callbacks are believed.
func ports() []mutant {
	lane, tracker, serve := "internal/stream/lane.go", "internal/stream/tracker.go", "internal/stream/serve.go"
	epoch, scripts := "internal/idempotency/epoch/epoch.go", "internal/idempotency/redisstore/scripts.go"
	streams := []suite{unit("stream/..."), simulation()}
	stores := []suite{unit("idempotency/..."), simulation()}
	callbacks := []suite{unit("callback"), simulation()}
	return []mutant{
		{name: "the position passes what is unfinished", danger: "a crash loses what was committed and not done", file: tracker, suites: streams,
			old: "	for n < len(t.slots) && t.slots[n].done {", new: "	for n < len(t.slots) {"},
		{name: "one key runs side by side", danger: "orders of one card overtake each other", file: lane, suites: streams,
			old: "		if queue, busy := l.behind[key]; busy {", new: "		if queue, busy := l.behind[key]; false && busy {"},
		{name: "what failed is finished", danger: "a store that is away for a second loses commands", file: lane, suites: streams,
			old: "		case err == nil:\n			return l.finish(it)", new: "		case true:\n			return l.finish(it)"},
		{name: "an abandoned message counts as done", danger: "what the drain cut off is committed", file: lane, suites: streams,
			old: "		if l.pause(name, attempt, unstored) != nil {\n			return l.abandon(it)\n", new: "		if l.pause(name, attempt, unstored) != nil {\n			return l.finish(it)\n"},
		{name: "a message that is left counts as done", danger: "what the handover kept from its call is committed", file: lane, suites: streams,
			old: "		case errors.Is(err, handover.ErrBegun):\n			return l.abandon(it)\n", new: "		case errors.Is(err, handover.ErrBegun):\n			return l.finish(it)\n"},
		{name: "what nothing has overtaken begins in a drain", danger: "a slow vendor holds a deploy up", file: lane, suites: streams,
			old: "	return l.ended.Err() == nil || it.Offset < l.last && l.beginning.Err() == nil\n", new: "	return l.ended.Err() == nil || l.beginning.Err() == nil\n"},
		{name: "what was overtaken does not begin in a drain", danger: "every deploy tells results again", file: lane, suites: streams,
			old: "	return l.ended.Err() == nil || it.Offset < l.last && l.beginning.Err() == nil\n", new: "	return l.ended.Err() == nil\n"},
		{name: "what waited for its key waits for all others", danger: "every deploy tells results again, and the window fills", file: lane, suites: streams,
			old: "		l.ready = slices.Insert(l.ready, at, queue[0])\n", new: "		_, l.ready = at, append(l.ready, queue[0])\n"},
		{name: "the grace has no end", danger: "calls begin that the drain cuts", file: serve, suites: streams,
			old: "	s.handOver()\n	if wait(s.handling", new: "	if wait(s.handling"},
		{name: "what only this process knows is left", danger: "a verdict is lost to a moment's outage of the store", file: lane, suites: streams,
			old: "	if err != nil && unstored {", new: "	if false && unstored {"},
		{name: "the window has no end", danger: "a slow key grows the memory without bound", file: lane, suites: streams,
			old: "l.offsets.size() < l.cfg.Window && ", new: ""},
		{name: "a missing epoch is no loss", danger: "a wiped store is taken for a new one", file: epoch, suites: stores,
			old: "		return Create(newID(), false, now), false\n", new: "		return Create(newID(), true, now), false\n"},
		{name: "another epoch than the remembered one is no loss", danger: "who declared it fresh cannot know", file: epoch, suites: stores,
			old: "	case found.Forgot(now, window).IsZero():\n		return markLost(known, found, now), false\n", new: "	case found.Forgot(now, window).IsZero():\n		return Epoch{}, true\n"},
		{name: "a mark that went back is no loss", danger: "a store that went back in time is believed", file: epoch, suites: stores,
			old: "	case found.ID == known.ID && found.Lost < known.Lost:\n		return markLost(known, found, now), false\n", new: ""},
		{name: "other data than the remembered ones are no loss", danger: "what this process wrote to a server that nobody reads is lost", file: epoch, suites: stores,
			old: "	case known.ID != found.ID && found.Lost < max(known.Lost, wrote.UnixMilli(), 1):\n		return mark, false\n", new: ""},
		{name: "own writes are no evidence against a mark", danger: "an old primary was written to after the new one was marked", file: epoch, suites: stores,
			old: "max(known.Lost, wrote.UnixMilli(), 1)", new: "max(known.Lost, 1)"},
		{name: "a mark of the data that went back is no loss", danger: "a store that went back in time is believed", file: epoch, suites: stores,
			old: "	case known.ID == found.ID && found.Lost < known.Lost:\n		return mark, false\n", new: ""},
		{name: "a write does not look whose data it meets", danger: "a stale replica is believed", file: scripts, suites: stores,
			old: "if not of(stands[3], id) or count", new: "if count"},
		{name: "a replica is known by the primary that it followed", danger: "a promotion looks like the primary of before", file: scripts, suites: stores,
			old: "'master_replid:(%w+)'", new: "'master_replid2:(%w+)'"},
		{name: "other data are not noted", danger: "the next process believes them", file: scripts, suites: stores,
			old: "  redis.call('SET', key, noted, 'PX', lifetime)\n  return noted", new: "  return noted"},
		{name: "other data are noted as fresh", danger: "what they lost is taken for never written", file: scripts, suites: stores,
			old: "string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))", new: "'0'"},
		{name: "writes are not counted where the identity is hidden", danger: "nothing at all is seen there", file: scripts, suites: stores,
			old: "count > 0 and count <= tonumber(ARGV[7])", new: "false"},
		{name: "each record was written since", danger: "one that is older than what was sent is believed", file: "internal/idempotency/redisstore/store.go", suites: stores,
			old: "	if marked(stands.token) == in.mark() {\n", new: "	if true {\n"},
		{name: "a look does not see other data", danger: "idle buckets are marked late, and minutes of commands are in doubt", file: "internal/idempotency/redisstore/watch.go", suites: stores,
			old: "known != nil && known.on.ID != found.data {", new: "known != nil && false {"},
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
		{name: "a handover cuts what was written", danger: "what was written may have been charged, and nobody knows", file: "internal/vendors/wire/proof.go", suites: []suite{unit("vendors/wire"), simulation()},
			old: "	s.yielded = s.sealed()\n	return s.yielded\n", new: "	s.yielded = true\n	return s.yielded\n"},
		{name: "what gave way may still be written", danger: "it is sent after the proof that it was not", file: "internal/vendors/wire/proof.go", suites: []suite{unit("vendors/wire"), simulation()},
			old: "			if s.yielded && t != nil {\n", new: "			if false && t != nil {\n"},
		{name: "what was taken back is executed", danger: "a rolled back transaction moves money", file: "internal/stream/kafkastream/reading.go",
			suites: []suite{unit("stream/kafkastream")}, old: "	return len(began) > 0 \u0026\u0026 began[0] <= offset", new: "	return len(began) > 99"},
		{name: "an offset of a topic that is gone is committed", danger: "the next topic of its name begins in its middle",
			file: "internal/stream/kafkastream/generation.go", suites: []suite{unit("stream/kafkastream")},
			old: "return g.vanished[a.Topic] })", new: "return false })"},
		{name: "any write of a version is the same", danger: "after a step back a late write replaces another past's record", file: "internal/idempotency/redisstore/store.go", suites: stores,
			old: "begin(was.Version, was.Token)", new: "strings.TrimSuffix(begin(was.Version, \"\"), \"|\")"},
		{name: "a wrong clock marks a loss", danger: "what was sent just before it counts as sent long ago", file: "internal/idempotency/redisstore/store.go", suites: stores,
			old: "		if err := s.clockIsOff(ctx); err != nil {", new: "		if err := error(nil); err != nil {"},
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

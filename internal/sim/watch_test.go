package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/catalog"
	identity "paydispatch/internal/vendors/sim/esign"
	double "paydispatch/internal/vendors/sim/withhold"
)

// watch checks the promises of design section 1 at each effect, and at the end. The first broken one stands.
//
//  1. The vendor accepts at most one submission of an order, and only of orders that a command named.
//  2. Whenever an offset is committed, each message below it has left its answer: a result that names its request and
//     order, a verdict or unresolved of its order, a dead letter, or a parked copy that is not committed itself. At the
//     end every message has its answer, and every order that the vendor has, its verdict or unresolved. Unresolved comes
//     not before the deadline, and not when the vendor has decided long since.
//  3. At the moment of "succeeded" the ledger has moved for the order, by the amount announced; at "failed", and at the
//     end, it has not and cannot.
//  4. All verdicts of an order have one id and one type, and each is byte for byte a result that the store held before it
//     was published; between two wipes the store holds only one for an order. At the end each that it holds was published,
//     unless a person had been called for the order before.
//  5. A call on behalf of a forged callback never reaches store or publisher, and is not answered with 200.
//  6. Committed offsets never go back (see 2 for what precedes them).
//  7. A record in a final phase keeps verdict and result for as long as the store remembers it.
//  8. Card, identity and phone number and name are in no record, result, or header of a parked or dead message.
//  9. (effect once) At most one request for a requestId is ever on its way to the vendor, so that it accepts one at most.
//     "succeeded" and "failed" are said only when it did it and when it refused it, anything else is "unknown" with a
//     reason, or unresolved if nothing was sent. A command has one verdict. What was written before the store forgot is
//     not sent afterwards.
//  10. (effect read) Nothing is ever sent. A final event says what the vendor says then and from then on; a progress
//     event what it once said. Each change has an id of its own, its event is told before the change is recorded as
//     told, and no event is told that was not recorded as pending first: so none is decided after the final one.
//     Parked copies wait the longer the more often nothing moved. Every poll ends (2).
//  11. (questions about orders) An answer says what the vendor said to this very question. If it is the order's verdict,
//     the order has it too when the answer is published, and it was published under the order's own id.
//  14. No vendor call is cut off: it ends by its answer, by its own deadline, or with its process.
//  15. (two versions) What a newer version added to a record is there after each write of an older one.
//
// A wiped store knows no rivals, so some of it cannot hold in a run after a wipe. What is let pass then, and only then:
//   - of two contents of one order either may speak for it, also with its amount (contested), and what lost goes to the
//     dead-letter topic for a person instead of getting a verdict (disputed); the same for two orders of one request;
//   - an order that the vendor refused and that was announced as failed may be executed for a later message
//     (refusedBefore); its success has another id than that failure, so that a ledger hears of it;
//   - a command of effect once that was written after the loss is new to everyone, though it may be the twin of one
//     that was executed (resendable); and one that was executed may be called unknown too, under another id.
type watch struct {
	gateway   *double.Gateway
	identity  *identity.Gateway
	scenario  *scenario
	started   time.Time
	faultsEnd time.Duration

	mu        sync.Mutex
	violation string
	messages  []message
	commands  map[string][]stream.Message // by command topic, as the broker holds them
	results   []event
	parked    map[string][]stream.Message // by delay topic; their offsets are their indices
	dead      []stream.Message
	offsets   map[string]map[int]int64
	records   map[string][]byte
	written   map[string]time.Time    // when a record was
	expired   map[string]int          // how often a record came to its end
	rewinds   map[string]bool         // records that went back in time
	strange   map[string]bool         // messages that strangers wrote, by place
	settled   map[string][]settlement // by record
	steps     map[string]int          // how often a record lost what was written last
	wipes     int
	firstWipe time.Time
	lastWipe  time.Time

	submitted map[string][]string    // the amounts of submissions that an adapter was asked for, by order
	reaching  map[string]int         // of those, the ones that may have reached the vendor
	unsent    map[string]int         // of those, the ones that are known not to have left
	intents   map[string]int         // that were stored, by order
	questions map[string]int         // put about orders
	disturbed bool                   // a process lost what it knew
	leases    map[string]time.Time   // of the intents that were stored, by process and record
	sent      map[string]int         // requests of effect once on their way, by requestId
	wanted    map[string]int         // submissions that were asked for and are not on their way, by topic
	words     map[string][]string    // what the vendor said: of a flow, or to a question
	recorded  map[string][]string    // progress that was recorded as pending, by record
	moves     map[string][]string    // progress that was recorded as told since the last wipe, by record
	progress  map[string][][2]string // published progress and its id, by record
}

// event is one published result.
type event struct {
	id, kind, subject string
	spec              commands.Spec
	at                time.Time
	data              map[string]string
	bytes             []byte
	landed            time.Time // when it was durable
}

func (e event) verdict() bool {
	switch e.kind {
	case commands.KindSucceeded, commands.KindFailed, commands.KindAnswered, commands.KindUnknown:
		return true
	}
	return false
}

// about reports whether the event is about what a message names.
func (e event) about(m message) bool { return e.spec.Topic == m.topic && e.subject == m.order }

// operation is that of its messages.
func (e event) operation() string { return message{topic: e.spec.Topic, order: e.subject}.operation() }

// record is the key of the operation's record.
func (e event) record() string { return operation.Key(e.spec, commands.OperationKey(e.subject)) }

// status is that of a verdict.
func (e event) status() commands.Status {
	switch e.kind {
	case commands.KindFailed:
		return commands.StatusFailed
	case commands.KindUnknown:
		return commands.StatusUnknown
	}
	return commands.StatusSucceeded
}

// ends reports whether the operation got its last word, or a person is called.
func (e event) ends() bool { return e.verdict() || e.kind == commands.KindUnresolved }

// settlement is a result that the store held, and how often it had been wiped before.
type settlement struct {
	era    int
	result commands.Result
}

func newWatch() *watch {
	return &watch{
		started: time.Now(), parked: map[string][]stream.Message{}, records: map[string][]byte{},
		written: map[string]time.Time{}, expired: map[string]int{}, rewinds: map[string]bool{}, steps: map[string]int{}, strange: map[string]bool{},
		settled: map[string][]settlement{}, commands: map[string][]stream.Message{}, sent: map[string]int{}, wanted: map[string]int{},
		submitted: map[string][]string{}, reaching: map[string]int{}, unsent: map[string]int{}, intents: map[string]int{}, questions: map[string]int{}, leases: map[string]time.Time{},
		words: map[string][]string{}, recorded: map[string][]string{}, moves: map[string][]string{}, progress: map[string][][2]string{},
	}
}

// fail notes the first broken promise.
func (w *watch) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken(format, args...)
}

// broken needs the lock.
func (w *watch) broken(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
	}
}

func (w *watch) failed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violation
}

// charged looks at the vendor's ledgers (promises 1, 9).
func (w *watch) charged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := map[[2]string]int{}
	for _, e := range w.gateway.Ledger() {
		account := [2]string{e.UA, e.Order}
		if count[account]++; e.UA != w.scenario.ours(e.Order) {
			w.foreigners(e, count[account])
			continue
		}
		if count[account] > 1 {
			w.broken("1: the vendor accepted two submissions of order %s", e.Order)
		}
		if !slices.ContainsFunc(w.messages, func(m message) bool { return m.valid && m.topic == commandTopic && m.order == e.Order }) {
			w.broken("1: the vendor accepted order %s, which no command names", e.Order)
		}
	}
	for _, t := range w.gateway.Ties() {
		if n := w.gateway.Messages(t.RequestID); n > 1+w.resendable(t.RequestID) {
			w.broken("9: the vendor accepted %d submissions of request %s", n, t.RequestID)
		}
	}
}

// wiped: the store forgets everything.
func (w *watch) wiped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wipes++; w.firstWipe.IsZero() {
		w.firstWipe = time.Now()
	}
	for key := range w.records {
		if strings.HasPrefix(key, "o:") { // a claim alone is of nothing that was done
			w.lastWipe = time.Now()
		}
	}
	clear(w.records)
	clear(w.written)
	clear(w.moves)
}

// stored sees each write that took effect (promises 4, 7, 8, 9, 10); name says on behalf of what, intent that it precedes a
// submission.
func (w *watch) stored(name, key string, value []byte, intent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discreet("record "+key, value)
	before := w.standing(key)
	w.records[key], w.written[key] = bytes.Clone(value), time.Now()
	if !strings.HasPrefix(key, "o:") {
		return
	}
	next, err := commands.DecodeState(value)
	if err != nil {
		w.broken("7: record %s cannot be read: %v", key, err)
		return
	}
	if before != nil {
		was, err := commands.DecodeState(before)
		must(err)
		w.kept(key, was, next)
		w.moved(key, was, next)
	} else if next.Topic == cardTopic && intent {
		w.fresh(name)
	}
	w.costs(next)
	if next.Phase == commands.Pending {
		w.recorded[key] = append(w.recorded[key], progressOf(next.Topic, next.Seen))
	}
	if spec, _ := catalog.Find(next.Topic); spec.Effect == commands.EffectRead && (next.Sends > 0 || next.Phase == commands.Sending) {
		w.broken("10: record %s says that something was sent", key)
	}
	if next.Phase.Final() {
		w.settle(key, next)
	}
}

// kept holds a record against the one that stood before.
func (w *watch) kept(key string, before, next commands.State) {
	if !before.Phase.Final() {
		return
	}
	if next.Verdict != before.Verdict || next.Phase < before.Phase || !same(*next.Result, *before.Result) {
		w.broken("7: record %s moved from %s (%s) to %s (%s)", key, before.Phase, before.Verdict, next.Phase, next.Verdict)
	}
}

func (w *watch) settle(key string, s commands.State) {
	known := w.settled[key]
	for _, k := range known {
		if k.era == w.era(key) {
			if !same(k.result, *s.Result) {
				w.broken("4: the store held two results of order %s without losing it", s.Key)
			}
			return
		}
	}
	w.settled[key] = append(known, settlement{w.era(key), *s.Result})
}

func same(a, b commands.Result) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Time.Equal(b.Time) && bytes.Equal(a.Data, b.Data)
}

// published sees each message that took effect, in the order of its topic.
func (w *watch) published(m stream.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range m.Headers {
		w.discreet("header "+h.Key+" in "+m.Topic, h.Value)
	}
	switch {
	case strings.HasSuffix(m.Topic, ".result"):
		w.discreet("result", m.Key)
		w.discreet("result", m.Value)
		w.result(m)
	case strings.HasSuffix(m.Topic, ".dlq"):
		w.dead = append(w.dead, m)
	case strings.Contains(m.Topic, ".delay."):
		m.Offset = int64(len(w.parked[m.Topic]))
		w.parked[m.Topic] = append(w.parked[m.Topic], m)
		w.patient(m)
	}
}

func (w *watch) discreet(where string, value []byte) {
	for _, secret := range personal() {
		if bytes.Contains(value, []byte(secret)) {
			w.broken("8: %s holds personal data", where)
		}
	}
}

func (w *watch) result(m stream.Message) {
	header := func(name string) string { v, _ := m.Header(name); return string(v) }
	e := event{id: header("ce_id"), kind: commands.Result{Type: header("ce_type")}.Kind(), subject: header("ce_subject"), bytes: m.Value}
	i := slices.IndexFunc(w.scenario.specs, func(s commands.Spec) bool {
		return s.ResultTopic == m.Topic && header("ce_type") == s.Type+"."+e.kind+".v1"
	})
	var err error
	if e.at, err = time.Parse(time.RFC3339Nano, header("ce_time")); err != nil || json.Unmarshal(m.Value, &e.data) != nil || i < 0 {
		w.broken("4: a result of type %q cannot be read", header("ce_type"))
		return
	}
	e.spec, e.landed = w.scenario.specs[i], time.Now()
	if err := compiled().Validate(m.Topic, m.Value); err != nil {
		w.broken("4: a result of type %q breaks its schema: %v", header("ce_type"), err)
	}
	w.results = append(w.results, e)
	switch e.kind {
	case commands.KindSucceeded, commands.KindFailed, commands.KindAnswered, commands.KindUnknown:
		w.verdict(e, header("ce_type"))
	case commands.KindUnresolved:
		w.unresolved(e)
		w.idle(e)
	case commands.KindConflict:
		w.conflict(e)
	case commands.KindPending:
		w.pending(e)
	}
}

// unresolved checks that it is not said too early, and not when the vendor has decided long since.
func (w *watch) unresolved(e event) {
	if e.spec.Effect == commands.EffectOnce && !w.forgetful() && w.sent[e.subject] > 0 {
		w.broken("9: request %s was sent and is called unresolved", e.subject)
	}
	if time.Now().Before(w.firstOf(e).Add(deadlineOf(e.spec) - 2*tolerance())) { // by two clocks
		w.broken("2: %s is called unresolved before its deadline", e.operation())
	}
	told := 0
	for _, other := range w.results {
		if other.id == e.id && bytes.Equal(other.bytes, e.bytes) {
			told++
		}
	}
	if since := w.decided(e); told == 1 && w.faultsEnd <= faultsEnd && since > 4*w.scenario.pace.longest() {
		w.broken("2: %s is called unresolved %v after the vendor decided", e.operation(), since)
	}
}

// conflict: the vendor never contradicts itself. Only what nobody could know may turn out to be known in the end.
func (w *watch) conflict(e event) {
	if e.spec.Effect != commands.EffectOnce || e.data["settled"] != commands.StatusUnknown.String() {
		w.broken("3: the vendor never contradicts itself, yet a conflict of %s was published", e.operation())
	}
	w.tied(e, e.data["contradicted"])
}

// decided is how long ago at least the vendor decided on an operation, 0 when it has not.
func (w *watch) decided(e event) time.Duration {
	if f := w.scenario.flows[e.subject]; f != nil && e.spec.Topic == pollTopic {
		last := f.plan.Steps[len(f.plan.Steps)-1]
		if f.byHand > 0 || w.identity.Outcome(f.no) == "" {
			return 0
		}
		return time.Since(w.firstOf(e).Add(f.begins + last.After))
	}
	for _, l := range w.gateway.Ledger() {
		if e.spec.Topic == commandTopic && l.Order == e.subject && l.UA == w.scenario.ours(l.Order) && l.Status != "pending" {
			return time.Since(l.At) - slowestDecision
		}
	}
	return 0
}

// verdict checks promises 3, 4, 9, 10 and 11.
func (w *watch) verdict(e event, ceType string) {
	switch e.spec.Topic {
	case commandTopic:
		w.money(e)
	case cardTopic:
		w.tied(e, e.status().String())
	case pollTopic:
		w.ended(e)
	case queryTopic:
		w.answer(e)
	}
	for _, other := range w.results {
		if other.verdict() && other.operation() == e.operation() && ((other.id == e.id) != (other.kind == e.kind) || other.kind != e.kind && !w.twoVerdicts(e, other)) {
			w.broken("4: %s has two verdicts: %s %s and %s %s", e.operation(), other.kind, other.id, e.kind, e.id)
		}
	}
	if e.id != e.spec.VerdictID(commands.OperationKey(e.subject), e.status()) {
		w.broken("4: the verdict of %s has an id that is not its own", e.operation())
	}
	announced := commands.Result{ID: e.id, Type: ceType, Time: e.at, Data: e.bytes}
	for _, s := range w.settled[e.record()] {
		if same(s.result, announced) {
			return
		}
	}
	w.broken("4: the verdict of %s was published and no such result was stored before", e.operation())
}

// twoVerdicts: only a store that forgot the one may come to the other.
func (w *watch) twoVerdicts(e, other event) bool {
	switch {
	case e.spec.Topic == commandTopic:
		return w.refusedBefore(e.subject)
	case e.spec.Effect == commands.EffectOnce:
		return w.forgetful() && (e.kind == commands.KindUnknown || other.kind == commands.KindUnknown || w.relented(e))
	}
	return false
}

// relented: the vendor refused a request, which was announced as failed, and then the store forgot that. A later message
// of the request is new to everyone then, and this time the vendor does it.
func (w *watch) relented(e event) bool {
	return w.scenario.relents && slices.ContainsFunc(w.settled[e.record()], func(s settlement) bool {
		return s.era < w.era(e.record()) && s.result.Kind() == commands.KindFailed
	})
}

// money checks promise 3.
func (w *watch) money(e event) {
	ledger := w.ledger(e.subject)
	if e.kind == commands.KindSucceeded && ledger.Moved == 0 {
		w.broken("3: order %s is called succeeded and no money moved", e.subject)
	}
	if e.kind == commands.KindFailed && ledger.Accepted > 0 && ledger.Status != "fail" {
		w.broken("3: order %s is called failed and the vendor has it as %s", e.subject, ledger.Status)
	}
	if e.kind == commands.KindSucceeded && !w.contested(e.subject) && e.data["amount"] != ledger.Amount {
		w.broken("3: order %s is announced with amount %s, the vendor took %s", e.subject, e.data["amount"], ledger.Amount)
	}
	switch key := recordOf(e.subject); {
	case e.data[commands.AmountConfirmed] == commands.AmountUnconfirmed && w.era(key) == 0 && !w.rewinds[key]:
		w.broken("3: the amount of order %s is said to be nobody's word, and its submission is known", e.subject)
	case e.data[commands.AmountConfirmed] == commands.AmountBySubmission && !slices.Contains(w.submitted[e.subject], e.data["amount"]):
		w.broken("3: the amount of order %s is said to be submitted, and it was not", e.subject)
	}
	if e.kind == commands.KindAnswered || e.kind == commands.KindUnknown {
		w.broken("3: order %s is called %s, which is no verdict about money", e.subject, e.kind)
	}
}

// refusedBefore: the vendor refused the order, which was announced as failed, and then the store forgot that. A later
// message of the order is new to everyone then, the vendor included, and may be executed.
func (w *watch) refusedBefore(orderNo string) bool {
	key := recordOf(orderNo)
	return slices.ContainsFunc(w.settled[key], func(s settlement) bool {
		return s.era < w.era(key) && s.result.Kind() == commands.KindFailed && bytes.Contains(s.result.Data, []byte(`"code":"-1"`))
	})
}

// contested: the store forgot which of two contents of an order came first, so the second may speak for it.
func (w *watch) contested(orderNo string) bool {
	contents := map[string]bool{}
	for _, m := range w.messages {
		if m.valid && m.topic == commandTopic && m.order == orderNo {
			contents[m.content()] = true
		}
	}
	return w.forgetful() && len(contents) > 1
}

// firstOf is when an event's operation was asked for; where a question may be put anew, by the request that it names.
func (w *watch) firstOf(e event) time.Time {
	first := time.Time{}
	for _, m := range w.messages {
		if e.spec.Effect == commands.EffectRead && m.request != e.data["requestId"] {
			continue
		}
		if t := w.started.Add(m.at); e.about(m) && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// committed sees the group's offsets after each commit (promises 2, 6).
func (w *watch) committed(offsets map[string]map[int]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.offsets
	w.offsets = offsets
	for topic, partitions := range offsets {
		for p, next := range partitions {
			from := before[topic][p]
			if next < from {
				w.broken("6: the committed offset of %s/%d went back from %d to %d", topic, p, from, next)
			}
			for o := from; o < next; o++ {
				if m, ok := w.at(topic, p, o); ok && !w.answered(m, true) {
					w.broken("2: %s/%d@%d was committed and nothing came of it", topic, p, o)
				}
			}
		}
	}
}

func (w *watch) at(topic string, partition int, offset int64) (stream.Message, bool) {
	if strings.Contains(topic, ".delay.") {
		all := w.parked[topic]
		if offset >= int64(len(all)) {
			return stream.Message{}, false
		}
		return all[offset], true
	}
	for _, m := range w.commands[topic] {
		if m.Partition == partition && m.Offset == offset {
			return m, true
		}
	}
	return stream.Message{}, false
}

// answered reports whether something stands for a message, if under way also a copy that is still to be handled.
func (w *watch) answered(m stream.Message, underway bool) bool {
	what := w.meant(m.Value)
	origin := fmt.Sprintf("%s/%d/%d", m.Topic, m.Partition, m.Offset)
	for _, d := range w.dead {
		if o, _ := d.Header(dispatch.HeaderOrigin); string(o) == origin {
			return true
		}
		// After a loss one message of a content may speak for all of them.
		if w.forgetful() && disputes(d) && w.meant(d.Value).content() == what.content() {
			return true
		}
	}
	for _, e := range w.results {
		if e.landed.Before(m.Time) {
			continue // whoever wrote the message later waits for an event of its own
		}
		if e.data["requestId"] == what.request && e.about(what) && e.kind != commands.KindPending {
			return true
		}
		// A verdict speaks for all of its content; for a parked copy, whose record may have come to speak for another
		// content, for all of its order.
		if e.ends() && e.about(what) && (m.Topic != what.topic || contentOf(e) == what.content()) {
			return true
		}
	}
	return underway && w.copied(m, what)
}

// copied reports whether a parked copy that is not committed speaks for the order.
func (w *watch) copied(m stream.Message, what message) bool {
	for topic, all := range w.parked {
		for _, c := range all[min(w.offsets[topic][0], int64(len(all))):] {
			if other := w.meant(c.Value); !w.strange[place(c)] && other.operation() == what.operation() && (m.Topic != what.topic || other.content() == what.content()) {
				return true
			}
		}
	}
	return false
}

// meant finds what a producer meant with a value.
func (w *watch) meant(value []byte) message {
	for _, m := range w.messages {
		if bytes.Equal(m.value, value) {
			return m
		}
	}
	w.broken("2: a message that nobody wrote is in the topics")
	return message{}
}

func contentOf(e event) string {
	field := map[string]string{commandTopic: "amount", queryTopic: "biz_order_no", cardTopic: "pay_type", pollTopic: "account"}[e.spec.Topic]
	return message{topic: e.spec.Topic, order: e.subject, detail: e.data[field]}.content()
}

// backlog reports whether anything is written that is not committed.
func (w *watch) backlog() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, all := range w.commands {
		for _, m := range all {
			if w.offsets[topic][m.Partition] <= m.Offset {
				return true
			}
		}
	}
	for topic, all := range w.parked {
		if w.offsets[topic][0] < int64(len(all)) {
			return true
		}
	}
	return false
}

// end checks what must hold once faults have stopped and everything was handled.
func (w *watch) end() {
	w.charged()
	w.mu.Lock()
	defer w.mu.Unlock()
	if complaints := w.gateway.Complaints(); len(complaints) > 0 {
		w.broken("the vendor complains: %s", complaints[0])
	}
	if complaints := w.identity.Complaints(); len(complaints) > 0 {
		w.broken("the vendor complains: %s", complaints[0])
	}
	written := slices.Concat(slices.Collect(maps.Values(w.commands))...)
	ours := slices.DeleteFunc(written, func(m stream.Message) bool { return w.strange[place(m)] })
	if len(ours) != len(w.messages) {
		w.broken("%d messages were to be written, %d were", len(w.messages), len(ours))
	}
	for _, s := range w.scenario.specs {
		for _, m := range w.commands[s.Topic] {
			if !w.answered(m, false) {
				w.broken("2: nothing ever came of %s/%d@%d", m.Topic, m.Partition, m.Offset)
			}
		}
	}
	for _, m := range w.messages {
		if m.valid && m.topic == commandTopic {
			w.concluded(m.order)
		}
		if m.valid && m.topic == pollTopic {
			w.followed(m)
		}
	}
	w.heard()
	for _, d := range w.dead {
		w.deserved(d)
	}
	w.guarded()
}

// concluded checks the end of one order against the ledger.
func (w *watch) concluded(orderNo string) {
	ledger := w.ledger(orderNo)
	ended, moved, failed := false, false, false
	for _, e := range w.results {
		if e.spec.Topic == commandTopic && e.subject == orderNo {
			ended = ended || e.ends()
			moved = moved || e.kind == commands.KindSucceeded
			failed = failed || e.kind == commands.KindFailed
		}
	}
	switch {
	case ledger.Accepted > 0 && !ended && !w.disputed(orderNo):
		w.broken("2: the vendor has order %s and it has neither verdict nor unresolved", orderNo)
	case failed && ledger.Accepted > 0 && ledger.Status != "fail" && !w.refusedBefore(orderNo):
		w.broken("3: order %s was called failed and the vendor has it as %s", orderNo, ledger.Status)
	case moved && ledger.Moved != 1:
		w.broken("3: order %s was called succeeded and money moved %d times", orderNo, ledger.Moved)
	}
}

// disputed: the store forgot that this order came first, and another content has its requestId or its number now. Whether
// it was executed is then nobody's knowledge: it lies in the dead-letter topic for a person.
func (w *watch) disputed(orderNo string) bool {
	return w.withAPerson(message{topic: commandTopic, order: orderNo}.operation())
}

func (w *watch) withAPerson(operation string) bool {
	return w.forgetful() && slices.ContainsFunc(w.dead, func(d stream.Message) bool {
		return disputes(d) && w.meant(d.Value).operation() == operation
	})
}

// disputes reports whether a dead letter says that nobody knows whether it was executed.
func disputes(d stream.Message) bool {
	detail, _ := d.Header(dispatch.HeaderError)
	return bytes.Contains(detail, []byte("ask the vendor"))
}

// deserved: only messages that were invalid or contradict another one may lie in the dead-letter topic.
func (w *watch) deserved(d stream.Message) {
	header, _ := d.Header(dispatch.HeaderReason)
	what := w.meant(d.Value)
	rivals := func(shares func(message) bool) bool {
		return slices.ContainsFunc(w.messages, func(m message) bool { return m.valid && shares(m) && m.content() != what.content() })
	}
	ok := false
	switch origin, _ := d.Header(dispatch.HeaderOrigin); string(header) {
	case dispatch.ReasonNotAuthentic:
		ok = w.fooled(string(origin))
	case "invalid":
		ok = !what.valid
	case "request_reused":
		ok = what.valid && rivals(func(m message) bool { return m.request == what.request })
	case "order_reused":
		ok = what.valid && rivals(func(m message) bool { return m.operation() == what.operation() })
	}
	if !ok {
		w.broken("2: a message of order %s is in the dead-letter topic for %q", what.order, header)
	}
}

// guarded: two orders do not get their verdicts under one requestId, unless the store forgot the first.
func (w *watch) guarded() {
	if w.forgetful() {
		return
	}
	executed := map[string]string{}
	for _, e := range w.results {
		if !e.verdict() {
			continue
		}
		request := e.data["requestId"]
		if other, ok := executed[request]; ok && other != e.operation() {
			w.broken("1: request %s was executed for %s and %s", request, other, e.operation())
		}
		executed[request] = e.operation()
	}
}

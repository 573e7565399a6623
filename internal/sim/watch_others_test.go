package sim

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/catalog"
	double "paydispatch/internal/vendors/sim/withhold"
)

// The promises to commands that move no money (9, 10, 11).

// reached sees each request that arrives on the wire, before it can be lost there.
func (w *watch) reached(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var envelope struct{ Method, RequestID string }
	if len(body) == 0 || json.Unmarshal(body, &envelope) != nil || envelope.Method == "single-order-query" {
		return
	}
	topic := map[string]string{"single-withhold": commandTopic, "pre-tied-card": cardTopic}[envelope.Method]
	if w.wanted[topic]--; w.wanted[topic] < 0 {
		w.broken("10: %s was sent and no command asked for it", envelope.Method)
	}
	if envelope.Method != "pre-tied-card" {
		return
	}
	if w.sent[envelope.RequestID]++; w.sent[envelope.RequestID] > 1+w.resendable(envelope.RequestID) {
		w.broken("9: request %s was sent %d times", envelope.RequestID, w.sent[envelope.RequestID])
	}
}

// resendable is how many messages of a request were written after a loss of memory: each is new to everyone.
func (w *watch) resendable(request string) int {
	n := 0
	for _, m := range w.messages {
		if m.topic == cardTopic && m.request == request && !m.replayed && !w.firstWipe.IsZero() && w.started.Add(m.at).After(w.firstWipe) {
			n++
		}
	}
	return n
}

var messageName = regexp.MustCompile(`^\S+ (\S+)/(\d+)@(\d+)$`)

// fresh: who takes a command of effect once for new has a message that was written since the store forgot.
func (w *watch) fresh(name string) {
	parts := messageName.FindStringSubmatch(name)
	if parts == nil {
		w.broken("9: %s is about to send", name)
		return
	}
	partition, err := strconv.Atoi(parts[2])
	must(err)
	offset, err := strconv.ParseInt(parts[3], 10, 64)
	must(err)
	m, ok := w.at(parts[1], partition, offset)
	if !ok || !m.Time.After(w.lastWipe) {
		w.broken("9: %s is about to be sent, though it was written before the store forgot", name)
	}
}

// tied checks what a result says of a card against the gateway's ledger.
func (w *watch) tied(e event, status string) {
	ties := w.gateway.Ties()
	ties = slices.DeleteFunc(ties, func(t double.Tie) bool { return t.RequestID != e.subject })
	switch status {
	case "succeeded":
		if !slices.ContainsFunc(ties, func(t double.Tie) bool { return t.UniqueCode == e.data["unique_code"] }) {
			w.broken("9: request %s is called succeeded and the vendor sent no such message", e.subject)
		}
	case "failed":
		if len(ties) > 0 || !w.scenario.refused[e.subject] || w.gateway.Submissions("pre-tied-card", e.subject) == 0 {
			w.broken("9: request %s is called failed and the vendor did not refuse it", e.subject)
		}
	case "unknown":
		if e.data["message"] == "" {
			w.broken("9: request %s is called unknown without a reason", e.subject)
		}
	default:
		w.broken("9: request %s is called %s", e.subject, status)
	}
}

var (
	flowPath     = regexp.MustCompile(`/organization/([^/]+)/query/`)
	payStatuses  = map[string]string{"success": "succeeded", "fail": "failed", "pending": "pending"}
	questionMark = "-q" // what the adapter puts between a question's requestId and its time
)

// said notes what a double says, before it can be lost on its way.
func (w *watch) said(path string, body, reply []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if flow := flowPath.FindStringSubmatch(path); flow != nil {
		var r struct {
			Data struct{ Process, AuthLetterAuditStatus string }
		}
		must(json.Unmarshal(reply, &r))
		w.words[flow[1]] = append(w.words[flow[1]], r.Data.Process+"|"+r.Data.AuthLetterAuditStatus)
		return
	}
	var envelope struct{ Method, RequestID string }
	if len(body) == 0 || json.Unmarshal(body, &envelope) != nil || envelope.Method != "single-order-query" {
		return
	}
	var r struct {
		Response struct {
			PayStatus string `json:"pay_status"`
		}
	}
	must(json.Unmarshal(reply, &r))
	state := payStatuses[r.Response.PayStatus]
	if state == "" {
		state = "missing"
	}
	request, _, _ := strings.Cut(envelope.RequestID, questionMark)
	w.words[request] = append(w.words[request], state)
}

// ended checks the final word about a flow.
func (w *watch) ended(e event) {
	want := map[string]string{commands.KindAnswered: "success", commands.KindFailed: "fail"}[e.kind]
	if outcome := w.identity.Outcome(e.subject); want == "" || outcome != want {
		w.broken("10: flow %s is called %s and the vendor has it as %q", e.subject, e.kind, outcome)
	}
	if process := e.data["process"]; e.kind == commands.KindAnswered && process != "ORGANFINISHED" && e.data["flowStatus"] != "SUCCESS" {
		w.broken("10: flow %s is called answered with process %q", e.subject, process)
	}
}

// answer checks the answer to a question about an order.
func (w *watch) answer(e event) {
	state := e.data["state"]
	if e.kind != commands.KindAnswered || !slices.Contains(w.words[e.subject], state) {
		w.broken("11: question %s is %s with %q, which the vendor did not say", e.subject, e.kind, state)
	}
	if uaOf(e.data["account"]) != w.scenario.ours(e.data["biz_order_no"]) {
		return // of another account's order
	}
	record := w.standing(recordOf(e.data["biz_order_no"]))
	if state != "succeeded" && state != "failed" || record == nil || w.forgetful() {
		return
	}
	order, err := commands.DecodeState(record)
	if err != nil || order.Verdict.String() != state || !w.announced(*order.Result) {
		w.broken("11: question %s is answered with %s and order %s does not know", e.subject, state, e.data["biz_order_no"])
	}
}

// progressOf is what a pending event tells.
func progressOf(topic string, fields map[string]string) string {
	if topic != pollTopic {
		return ""
	}
	return fields["process"] + "|" + fields["authLetterAuditStatus"]
}

// pending checks a progress event.
func (w *watch) pending(e event) {
	key, progress := e.record(), progressOf(e.spec.Topic, e.data)
	process, letter, _ := strings.Cut(progress, "|") // an answer without data says nothing of the letter
	if said := w.words[e.subject]; e.spec.Topic == pollTopic && !(slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, process+"|") }) &&
		slices.ContainsFunc(said, func(s string) bool { return strings.HasSuffix(s, "|"+letter) })) {
		w.broken("10: flow %s is told to be at %s, which the vendor did not say", e.subject, progress)
	}
	if !slices.Contains(w.recorded[key], progress) {
		w.broken("10: %s is told to be pending (%s) and no such thing was recorded before", e.operation(), progress)
	}
	for _, other := range w.progress[key] {
		if other[1] == e.id && other[0] != progress {
			w.broken("10: two changes of %s have one id: %s and %s", e.operation(), other[0], progress)
		}
	}
	if !slices.Contains(w.progress[key], [2]string{progress, e.id}) {
		w.progress[key] = append(w.progress[key], [2]string{progress, e.id})
	}
}

// moved checks a change that is recorded as told: there is an event for it, and not the one for an earlier change to the
// same, which whoever drops duplicates would drop.
func (w *watch) moved(key string, before, next commands.State) {
	if next.Told == before.Told || next.Topic != pollTopic {
		return
	}
	progress := strings.TrimPrefix(next.Told, "pending|") // what is seen by now may be told next
	w.moves[key] = append(w.moves[key], progress)
	moves, events := 0, 0
	for _, m := range w.moves[key] {
		if m == progress {
			moves++
		}
	}
	for _, p := range w.progress[key] {
		if p[0] == progress {
			events++
		}
	}
	if events < moves {
		w.broken("10: %s moved to %s %d times, and that is told by %d events", key, progress, moves, events)
	}
}

// patient checks that a parked copy of a question waits the longer the more often nothing moved.
func (w *watch) patient(m stream.Message) {
	encoded, _ := m.Header(operation.HeaderState)
	s, err := commands.DecodeState(encoded)
	if err != nil {
		w.broken("10: a parked copy in %s cannot be read: %v", m.Topic, err)
		return
	}
	if spec, _ := catalog.Find(s.Topic); spec.Effect != commands.EffectRead {
		return
	}
	tier := slices.Index(operation.DelayTopics(s.Topic, w.scenario.pace.tiers), m.Topic)
	if tier < min(s.Tries-1, len(w.scenario.pace.tiers)-1) {
		w.broken("10: a question that was put %d times in vain waits in %s only", s.Tries, m.Topic)
	}
}

// followed: a poll that was taken up has ended, or a person was called.
func (w *watch) followed(m message) {
	taken, ended := false, false
	for _, e := range w.results {
		if e.about(m) {
			taken = taken || e.kind != commands.KindRejected
			ended = ended || e.ends()
		}
	}
	if taken && !ended && !w.withAPerson(m.operation()) {
		w.broken("10: the poll of flow %s never ended", m.order)
	}
}

// heard: what the store holds at the end as a verdict was published, whoever brought it there. Where a person was called
// before, the last word may be lost: no copy waits any more, and who brought it gives up some time.
func (w *watch) heard() {
	for key, all := range w.settled {
		last := all[len(all)-1]
		called := slices.ContainsFunc(w.results, func(e event) bool { return e.record() == key && e.kind == commands.KindUnresolved })
		// A process that stood still through a loss, and is no member any more, may store a verdict and not be able to publish
		// it. Whoever ordered heard of one before the loss.
		again := w.forgetful() && slices.ContainsFunc(w.results, func(e event) bool { return e.verdict() && e.record() == key })
		disputed := w.disputed(strings.TrimPrefix(key, "o:withhold:")) // its message lies with a person
		if last.era == w.era(key) && !called && !again && !disputed && !w.announced(last.result) {
			w.broken("4: %s holds a verdict since %v that was never published", key, last.result.Time.Sub(w.started).Round(time.Second))
		}
	}
}

func (w *watch) announced(r commands.Result) bool {
	return slices.ContainsFunc(w.results, func(e event) bool { return e.id == r.ID && bytes.Equal(e.bytes, r.Data) })
}

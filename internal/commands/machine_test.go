package commands

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite docs/state-machine.md from the code")

var now = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// policyOf is the test policy for another effect.
func policyOf(e Effect) Policy {
	p := testPolicy()
	p.Spec.Effect = e
	return p
}

func testPolicy() Policy {
	return Policy{
		Spec: Spec{
			Topic: "withhold.request", ResultTopic: "withhold.result", Type: "withhold", Source: "/paydispatch/withhold",
			KeyField: "biz_order_no", CarryFields: []string{"amount", "pay_type"}, MatchFields: []string{"pay_order_no", "pay_type"},
		},
		Owner: "p1", Lease: 5 * time.Second, Settle: 10 * time.Second, Deadline: time.Hour, MaxSends: 3,
		Tiers: []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute},
	}
}

// standing is a phase in one of the situations that make a difference.
type standing struct {
	name  string
	state State
}

func base(phase Phase) State {
	return State{
		Schema: stateSchema, Phase: phase, Topic: "withhold.request", Key: "B1", RequestID: "R1", Fingerprint: "fp",
		Carry: map[string]string{"amount": "1.00", "pay_type": "101"}, FirstSeen: now.Add(-time.Minute), Sends: 1, SentAt: now.Add(-time.Minute),
		Owner: "p1",
		Seen:  map[string]string{"pay_order_no": "P1"}, Parks: 1,
	}
}

func with(s State, change func(*State)) State { change(&s); return s }

func standings() []standing {
	final := func(s *State) {
		s.Verdict = StatusSucceeded
		s.Result = &Result{ID: "id", Type: "withhold.succeeded.v1", Subject: "B1", Time: now, Data: []byte(`{}`)}
	}
	fresh := func(s *State) { s.SentAt = now }
	refusal := func(s *State) { s.Refusal = &Reply{Status: StatusRefused, Code: "-1", Message: "no"} }
	return []standing{
		{"new", State{Phase: New, Topic: "withhold.request", Key: "B1", RequestID: "R1", Fingerprint: "fp", FirstSeen: now}},
		{"sending, lease runs", with(base(Sending), func(s *State) { s.Lease = now.Add(time.Second) })},
		{"sending, lease over", with(base(Sending), func(s *State) { s.Lease = now.Add(-time.Second) })},
		{"waiting, not yet", with(base(Waiting), func(s *State) { s.NotBefore = now.Add(time.Second) })},
		{"waiting, due", with(base(Waiting), func(s *State) { s.NotBefore = now })},
		{"asking, settling", with(base(Asking), fresh)},
		{"asking, settle delay passed", base(Asking)},
		{"asking, no sends left", with(base(Asking), func(s *State) { s.Sends = 3 })},
		{"refused, settling", with(with(base(Refused), fresh), refusal)},
		{"refused, settle delay passed", with(base(Refused), refusal)},
		{"pending, not told", base(Pending)},
		{"pending, told", with(base(Pending), func(s *State) { s.Told = "pending" })},
		{"unresolved", with(base(Unresolved), func(s *State) { final(s); s.Verdict = StatusUnclear })},
		{"settled", with(base(Settled), final)},
		{"announced", with(base(Announced), final)},
	}
}

// possible leaves out the phases that operations of an effect never reach.
func possible(e Effect) []standing {
	never := map[Effect][]Phase{EffectOnce: {Refused, Pending}, EffectRead: {Sending, Waiting, Refused}}
	return slices.DeleteFunc(standings(), func(st standing) bool { return slices.Contains(never[e], st.state.Phase) })
}

// happening is an event in one of the variants that make a difference.
type happening struct {
	name  string
	event func(s State) Event
}

func happenings() []happening {
	always := func(e Event) func(State) Event { return func(State) Event { return e } }
	reply := func(st Status) Reply {
		return Reply{Status: st, Code: "1", Fields: map[string]string{"pay_order_no": "P1", "pay_type": "101"}}
	}
	list := []happening{
		{"arrived", always(Arrived{Request: "R1", Fingerprints: []string{"new", "fp"}})},
		{"arrived, store forgot", always(Arrived{Request: "R1", Fingerprints: []string{"fp"}, Forgot: now.Add(-time.Second), Written: now.Add(-time.Minute)})},
		{"arrived, written after store forgot", always(Arrived{Request: "R1", Fingerprints: []string{"fp"}, Forgot: now.Add(-time.Second), Written: now})},
		{"arrived, other request", always(Arrived{Request: "R2", Fingerprints: []string{"fp"}})},
		{"arrived, other content", always(Arrived{Request: "R2", Fingerprints: []string{"other"}})},
		{"due", always(Due{Parks: 1})},
		{"due, stale copy", always(Due{Parks: 0})},
	}
	for _, st := range []Status{StatusSucceeded, StatusFailed, StatusPending, StatusRefused, StatusMissing} {
		list = append(list, happening{"replied " + st.String(), func(s State) Event { return Replied{Attempt: s.Sends, Reply: reply(st)} }})
	}
	list = append(list, happening{"replied refused, earlier attempt", func(s State) Event { return Replied{Attempt: s.Sends - 1, Reply: reply(StatusRefused)} }})
	for _, c := range []Class{ClassUnknown, ClassRetryable, ClassPermanent} {
		list = append(list, happening{"send-failed " + c.String(), func(s State) Event { return SendFailed{Attempt: s.Sends, Class: c, Code: "x"} }})
	}
	for _, st := range []Status{StatusSucceeded, StatusFailed, StatusPending, StatusMissing, StatusRefused, StatusUnclear} {
		list = append(list, happening{"answered " + st.String(), always(Answered{Reply: reply(st), Put: now})})
	}
	early := func(s State) Event { return Answered{Reply: reply(StatusMissing), Put: s.SentAt.Add(time.Second)} }
	list = append(list,
		happening{"answered missing, asked before the settle delay", early},
		happening{"answered missing, overtaken", always(Answered{Reply: reply(StatusMissing), Put: now, Overtaken: true})},
		happening{"ask-failed", always(AskFailed{Code: "timeout"})})
	for _, st := range []Status{StatusSucceeded, StatusFailed, StatusPending} {
		list = append(list, happening{"called-back " + st.String(), always(CalledBack{Reply: reply(st)})})
	}
	mismatch := reply(StatusSucceeded)
	mismatch.Fields = map[string]string{"pay_order_no": "P2"}
	return append(list,
		happening{"called-back, other pay_order_no", always(CalledBack{Reply: mismatch})},
		happening{"replied, other pay_order_no", func(s State) Event { return Replied{Attempt: s.Sends, Reply: mismatch} }},
		happening{"answered, other pay_order_no", always(Answered{Reply: mismatch, Put: now})},
		happening{"nudged", always(Nudged{})},
		happening{"published", always(Published{})},
	)
}

// outcome is what a cell of the cross product comes to, in words.
func outcome(p Policy, s State, e Event) (next Phase, do, refused string) {
	next, act, err := func() (Phase, Action, error) {
		n, a, err := Advance(s, e, p, now)
		return n.Phase, a, err
	}()
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return s.Phase, "", refusal.Reason
	}
	word := act.Do.String()
	if act.Result != nil && (act.Do == DoAnswer || act.Do == DoReport) {
		word += " " + act.Result.Kind()
	}
	return next, word, ""
}

// Every phase in every situation × every event in every variant is a transition or a typed refusal, and as drawn.
func TestTheDrawingAndTheCodeAgree(t *testing.T) {
	t.Parallel()
	const path = "../../docs/state-machine.md"
	got := "<!-- drawn by go test ./internal/commands -update -->\n"
	for _, e := range []Effect{EffectMoney, EffectOnce, EffectRead} {
		got += "\n## Effect " + e.String() + "\n\n" + diagram(e) + "\n" + table(e)
	}
	got += "\n<!-- end of the drawing -->\n"
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(raw)
	from := strings.Index(text, "<!-- drawn by")
	to := strings.Index(text, "<!-- end of the drawing -->\n")
	require.True(t, from >= 0 && to > from, "%s has lost its markers", path)
	to += len("<!-- end of the drawing -->\n")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text[:from]+got+text[to:]), 0o644))
		return
	}
	require.Equal(t, got, text[from:to], "the drawing in %s is not what the code does; look at the difference, then -update", path)
}

func diagram(e Effect) string {
	labels := map[string][]string{}
	var order []string
	for _, st := range possible(e) {
		for _, h := range happenings() {
			next, _, refused := outcome(policyOf(e), st.state, h.event(st.state))
			if refused != "" || next == st.state.Phase {
				continue
			}
			edge := fmt.Sprintf("    %s --> %s", st.state.Phase, next)
			if labels[edge] == nil {
				order = append(order, edge)
			}
			label := strings.ReplaceAll(h.name, ",", "")
			if !slices.Contains(labels[edge], label) {
				labels[edge] = append(labels[edge], label)
			}
		}
	}
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> new\n")
	for _, edge := range order {
		fmt.Fprintf(&b, "%s : %s\n", edge, strings.Join(labels[edge], "\\n"))
	}
	b.WriteString("    announced --> [*]\n```\n")
	return b.String()
}

func table(e Effect) string {
	var b strings.Builder
	b.WriteString("| phase, situation | event | next phase | to do |\n|---|---|---|---|\n")
	for _, st := range possible(e) {
		var order []string
		events := map[string][]string{}
		for _, h := range happenings() {
			next, do, refused := outcome(policyOf(e), st.state, h.event(st.state))
			cell := fmt.Sprintf("%s | %s", next, do)
			if refused != "" {
				cell = "– | refused: " + refused
			}
			if events[cell] == nil {
				order = append(order, cell)
			}
			events[cell] = append(events[cell], h.name)
		}
		for _, cell := range order {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", st.name, strings.Join(events[cell], "; "), cell)
		}
	}
	return b.String()
}

// The rules of design 1 and 4 that hold over the whole cross product, whatever the drawing says.
func TestRulesOverTheWholeCrossProduct(t *testing.T) {
	t.Parallel()
	for _, st := range standings() {
		for _, h := range happenings() {
			t.Run(st.name+"/"+h.name, func(t *testing.T) {
				t.Parallel()
				e := h.event(st.state)
				before, err := st.state.Encode()
				require.NoError(t, err)
				next, act, err := Advance(st.state, e, testPolicy(), now)
				after, _ := st.state.Encode()
				require.Equal(t, string(before), string(after), "the argument was changed")
				if err != nil {
					_, typed := errors.AsType[*Refusal](err)
					require.True(t, typed, "refusals are typed")
					require.Equal(t, st.state.Phase, next.Phase)
					return
				}
				checkRules(t, st.state, e, next, act)
			})
		}
	}
}

func checkRules(t *testing.T, s State, e Event, next State, act Action) {
	t.Helper()
	if s.Phase.Final() {
		require.True(t, next.Phase.Final(), "final phases never move")
		require.Equal(t, s.Verdict, next.Verdict)
		require.Equal(t, s.Result, next.Result, "the stored event never changes")
		require.NotEqual(t, DoSend, act.Do)
		require.NotEqual(t, DoAsk, act.Do)
	}
	if act.Do == DoSend {
		require.Equal(t, Sending, next.Phase, "the intent stands in the state before anything is sent")
		require.Equal(t, s.Sends+1, next.Sends)
		require.Equal(t, now.Add(testPolicy().Lease), next.Lease)
		require.Contains(t, []Phase{New, Waiting, Asking}, s.Phase)
		if s.Phase == Asking {
			answered, ok := e.(Answered)
			require.True(t, ok && answered.Reply.Status == StatusMissing, "resent only after a no-such-order")
			require.False(t, now.Before(s.SentAt.Add(testPolicy().Settle)), "resent only after the settle delay")
		}
		if arrived, ok := e.(Arrived); ok && s.Phase == New {
			require.Zero(t, arrived.Forgot, "a store that forgot is no proof that nothing was sent")
		}
	}
	if next.Phase == Settled && s.Phase != Settled {
		require.True(t, next.Verdict.Final())
		require.Equal(t, testPolicy().Spec.VerdictID(s.Key, next.Verdict), next.Result.ID, "one id whatever the way to it")
	}
	if next.Verdict == StatusFailed && s.Verdict != StatusFailed {
		require.True(t, vendorSaidNo(s, e), "failed only if the vendor says so")
	}
	if act.Do == DoPark {
		require.Equal(t, s.Parks+1, next.Parks)
		require.True(t, act.Until.After(now))
	}
}

func vendorSaidNo(s State, e Event) bool {
	switch e := e.(type) {
	case Replied:
		return e.Reply.Status == StatusFailed
	case Answered:
		return e.Reply.Status == StatusFailed || (s.Phase == Refused && e.Reply.Status == StatusMissing && !now.Before(s.SentAt.Add(testPolicy().Settle)))
	case CalledBack:
		return e.Reply.Status == StatusFailed
	case SendFailed:
		return e.Class == ClassPermanent
	}
	return false
}

// What cannot be asked about is sent at most once, and nobody is ever asked; a question is never sent.
func TestRulesOfTheOtherEffects(t *testing.T) {
	t.Parallel()
	for _, effect := range []Effect{EffectOnce, EffectRead} {
		for _, st := range possible(effect) {
			for _, h := range happenings() {
				t.Run(effect.String()+"/"+st.name+"/"+h.name, func(t *testing.T) {
					t.Parallel()
					next, act, err := Advance(st.state, h.event(st.state), policyOf(effect), now)
					if err != nil {
						_, typed := errors.AsType[*Refusal](err)
						require.True(t, typed)
						return
					}
					if effect == EffectRead {
						require.NotEqual(t, DoSend, act.Do)
						return
					}
					if st.state.Phase != Unresolved && st.state.Phase != Asking { // where a nudge, which no such topic has, would ask
						require.NotEqual(t, DoAsk, act.Do)
					}
					if act.Do == DoSend {
						require.Contains(t, []Phase{New, Waiting}, st.state.Phase, "sent again only when nothing was sent")
					}
					if next.Verdict == StatusUnknown {
						require.Equal(t, KindUnknown, next.Result.Kind())
						require.Contains(t, string(next.Result.Data), "it was not sent again")
					}
				})
			}
		}
	}
}

// A progress event for each change of what the spec calls progress, one for each, and none for the rest.
func TestProgress(t *testing.T) {
	t.Parallel()
	p := policyOf(EffectRead)
	p.Spec.ProgressFields = []string{"process"}
	s := base(Asking)
	ids := map[string]bool{}
	hear := func(process, other string) (reported bool) {
		next, act, err := Advance(s, Answered{Reply: Reply{Status: StatusPending, Fields: map[string]string{"process": process, "other": other}}}, p, now)
		require.NoError(t, err)
		if reported = act.Do == DoReport; reported {
			require.False(t, ids[act.Result.ID], "each change has an id of its own")
			ids[act.Result.ID] = true
			next, act, err = Advance(next, Published{}, p, now)
			require.NoError(t, err)
		}
		require.Equal(t, DoPark, act.Do)
		s = next
		return reported
	}
	require.True(t, hear("INIT", "a"))
	require.False(t, hear("INIT", "b"))
	require.True(t, hear("CREATED", "b"))
	require.False(t, hear("CREATED", "b"))
	require.Equal(t, 2, s.Tries, "the interval grows anew from each change")
	require.True(t, hear("INIT", "b"), "back to an earlier progress is a change like any other")
	require.True(t, hear("CREATED", "b"))
}

// A field that is null now is no longer what it was: its end is a change too.
func TestProgressToNull(t *testing.T) {
	t.Parallel()
	p := policyOf(EffectRead)
	p.Spec.ProgressFields = []string{"process", "letter"}
	s := base(Pending)
	s.Seen = map[string]string{"process": "CREATED", "letter": "AUDITING", "other": "x"}
	s.Told = s.progress(p.Spec)
	reply := Reply{Status: StatusPending, Fields: map[string]string{"process": "CREATED"}, Extra: map[string]json.RawMessage{"letter": json.RawMessage("null")}}
	next, act, err := Advance(s, Answered{Reply: reply}, p, now)
	require.NoError(t, err)
	require.Equal(t, DoReport, act.Do)
	require.Equal(t, map[string]string{"process": "CREATED", "other": "x"}, next.Seen)
	require.Len(t, s.Seen, 3, "the state that came in is untouched")
}

// Whoever stored that a person is to be called may have died before he called: the redelivered copy does it.
func TestUnresolvedIsToldAgain(t *testing.T) {
	t.Parallel()
	for _, effect := range []Effect{EffectMoney, EffectOnce, EffectRead} {
		s := base(Unresolved)
		s.Result = &Result{ID: "u", Type: "x.unresolved.v1"}
		_, act, err := Advance(s, Due{Parks: s.Parks}, policyOf(effect), now)
		require.NoError(t, err)
		require.Equal(t, Action{Do: DoAnswer, Result: s.Result}, act, effect.String())
		_, act, err = Advance(s, Due{Parks: s.Parks - 1}, policyOf(effect), now)
		require.NoError(t, err)
		require.Equal(t, DoFinish, act.Do, "a stale copy has nothing to tell")
	}
}

// A process that stored its intent before the store forgot proves, by not having sent, nothing about another one's
// submission, though that one counts as the first again.
func TestAnothersSubmissionIsNotProvenUnsent(t *testing.T) {
	t.Parallel()
	for _, effect := range []Effect{EffectMoney, EffectOnce} {
		s := base(Sending)
		s.Owner, s.Lease = "p2", now.Add(time.Second)
		next, act, err := Advance(s, SendFailed{Attempt: s.Sends, Class: ClassRetryable, Code: "lease_over"}, policyOf(effect), now)
		require.NoError(t, err)
		require.Equal(t, DoWait, act.Do, effect.String())
		require.Equal(t, s, next)
	}
}

// A message that would hold up its lane for too long waits in Kafka instead; the sender's reply still settles the order.
func TestPatience(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	p.Patience = 2 * time.Second
	s := base(Sending)
	s.Lease = now.Add(time.Second)
	_, act, err := Advance(s, Due{Parks: 1}, p, now)
	require.NoError(t, err)
	require.Equal(t, DoWait, act.Do)
	s.Lease = now.Add(4 * time.Second)
	next, act, err := Advance(s, Due{Parks: 1}, p, now)
	require.NoError(t, err)
	require.Equal(t, DoPark, act.Do)
	require.Equal(t, Sending, next.Phase)
	require.False(t, act.Until.Before(s.Lease))
	next, act, err = Advance(next, Replied{Attempt: s.Sends, Reply: Reply{Status: StatusSucceeded}}, p, now)
	require.NoError(t, err)
	require.Equal(t, Settled, next.Phase)
	require.Equal(t, DoAnnounce, act.Do)
}

// A question without an answer may be put again by another request; an order may not.
func TestAskedAnewAfterTheDeadline(t *testing.T) {
	t.Parallel()
	s := base(Unresolved)
	s.Result = &Result{Type: "x.unresolved.v1"}
	again := Arrived{Request: "R2", Fingerprints: []string{"fp"}}
	next, act, err := Advance(s, again, policyOf(EffectRead), now)
	require.NoError(t, err)
	require.Equal(t, DoAsk, act.Do)
	require.Equal(t, RequestID("R2"), next.RequestID)
	require.Equal(t, now, next.FirstSeen)
	_, act, err = Advance(s, again, policyOf(EffectMoney), now)
	require.NoError(t, err)
	require.Equal(t, KindDuplicate, act.Result.Kind())
}

// Past the deadline nothing is sent and nothing parks: a person is called, and a late word still settles.
func TestPastTheDeadline(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	late := now.Add(2 * p.Deadline)
	for _, st := range standings() {
		for _, h := range happenings() {
			t.Run(st.name+"/"+h.name, func(t *testing.T) {
				t.Parallel()
				if st.state.Phase == New {
					return // an operation begins now: its deadline lies ahead
				}
				next, act, err := Advance(st.state, h.event(st.state), p, late)
				if err != nil {
					return
				}
				require.NotEqual(t, DoSend, act.Do)
				require.NotEqual(t, DoPark, act.Do)
				if next.Phase == Unresolved && st.state.Phase != Unresolved {
					require.Equal(t, DoAnnounce, act.Do)
					require.Equal(t, KindUnresolved, next.Result.Kind())
				}
			})
		}
	}
}

package commands

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The record and a memory of one operation: who of them is believed, by case.
func TestJoined(t *testing.T) {
	t.Parallel()
	at := func(phase Phase, sends int, sent time.Duration) State {
		return State{Schema: stateSchema, Phase: phase, Topic: "t", Key: "B1", Fingerprint: "fp", Sends: sends, SentAt: now.Add(sent), FirstSeen: now, Parks: 2}
	}
	sending := func(owner string, sends int, sent time.Duration) State {
		s := at(Sending, sends, sent)
		s.Owner, s.Lease = owner, now.Add(sent+5*time.Second)
		return s
	}
	ended := func(owner string, sends int, sent time.Duration) State {
		s := sending(owner, sends, sent)
		s.Phase = Asking
		return s
	}
	settled := at(Settled, 1, 0)
	settled.Verdict = StatusSucceeded
	for name, c := range map[string]struct {
		record, memory State
		phase          Phase
		sends          int
		sent           time.Duration
		news           bool
	}{
		"a verdict on record":                        {settled, at(Asking, 3, time.Hour), Settled, 1, 0, false},
		"a verdict in memory":                        {at(Asking, 3, time.Hour), settled, Settled, 3, time.Hour, true},
		"the same":                                   {at(Asking, 1, 0), at(Asking, 1, 0), Asking, 1, 0, false},
		"memory of more submissions":                 {at(Asking, 1, time.Hour), at(Asking, 2, 0), Asking, 2, time.Hour, true},
		"memory of a later one":                      {at(Asking, 2, 0), at(Asking, 1, time.Hour), Asking, 2, time.Hour, true},
		"memory of one under way":                    {at(Asking, 1, 0), sending("p", 2, time.Second), Asking, 2, 6 * time.Second, true},
		"memory of a wait after more submissions":    {at(Asking, 1, time.Minute), at(Waiting, 2, 0), Asking, 2, time.Minute, true},
		"memory that the vendor has it":              {at(Asking, 1, 0), at(Pending, 1, 0), Pending, 1, 0, true},
		"memory that it ended":                       {sending("p", 1, 0), ended("p", 1, 0), Asking, 1, 0, true},
		"record that the vendor has it":              {at(Pending, 1, 0), at(Asking, 1, 0), Pending, 1, 0, false},
		"record of more submissions":                 {at(Asking, 2, time.Hour), at(Asking, 1, 0), Asking, 2, time.Hour, false},
		"proof that the one on record did not leave": {sending("p", 2, 0), sending("p", 2, 0).Unsent(), Waiting, 1, -1, true},
		"proof about another owner's":                {sending("q", 2, 0), sending("p", 2, 0).Unsent(), Sending, 2, 0, false},
		"proof about another attempt":                {sending("p", 3, 0), sending("p", 2, 0).Unsent(), Sending, 3, 0, false},
		"proof about an earlier lease":               {sending("p", 2, time.Second), sending("p", 2, 0).Unsent(), Sending, 2, time.Second, false},
		"proof when it was asked about since":        {at(Asking, 2, 5*time.Second), sending("p", 2, 0).Unsent(), Asking, 2, 5 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, news := c.record.Joined(c.memory)
			require.Equal(t, c.news, news)
			require.Equal(t, c.phase, got.Phase)
			require.Equal(t, c.sends, got.Sends)
			if c.sent >= 0 {
				require.Equal(t, now.Add(c.sent), got.SentAt)
			} else {
				require.Zero(t, got.SentAt, "nothing outstanding was sent")
			}
		})
	}
}

// Whatever meets, no submission is forgotten, not even one that is under way; the vendor's statement that it has the order
// stays; nothing may be sent without asking; and joining again changes nothing.
func TestJoinedForgetsNoSubmission(t *testing.T) {
	t.Parallel()
	var all []State
	for _, phase := range Phases()[1:] {
		for sends := range 3 {
			for _, sent := range []time.Duration{0, time.Minute} {
				for _, owner := range []string{"p", "q"} {
					for _, lease := range []time.Duration{time.Second, 2 * time.Minute} {
						s := State{Phase: phase, Sends: sends, SentAt: now.Add(sent), Owner: owner, Lease: now.Add(sent + lease), FirstSeen: now, Fingerprint: "fp"}
						if phase == Waiting {
							s.SentAt = time.Time{}
						}
						all = append(all, s)
					}
				}
			}
		}
	}
	for _, record := range all {
		for _, memory := range all {
			got, news := record.Joined(memory)
			joinedWell(t, record, memory, got, news)
			again, anew := got.Joined(memory)
			if anew || !reflect.DeepEqual(got, again) {
				t.Fatalf("%+v and %+v: joined again they are %+v", record, memory, again)
			}
		}
	}
}

// joinedWell checks what may be believed of a record and a memory. It asks without the help of testify, which is slow over
// so many pairs.
func joinedWell(t *testing.T, record, memory, got State, news bool) {
	t.Helper()
	if got.Phase.Final() || memory.disproves(record) {
		return
	}
	check := func(ok bool, what string) {
		if !ok {
			t.Fatalf("%s\nrecord %+v\nmemory %+v\ngot    %+v", what, record, memory, got)
		}
	}
	if record.disproves(memory) {
		check(reflect.DeepEqual(got, record) && !news, "the proof on record that the submission in memory did not leave is not believed")
		return
	}
	check(got.Sends == max(record.Sends, memory.Sends), "a submission is not counted")
	check(!got.SentAt.Before(record.SentAt) && !got.SentAt.Before(memory.SentAt), "a later submission is forgotten")
	for _, pair := range [][2]State{{record, memory}, {memory, record}} {
		one, other := pair[0], pair[1]
		ended := other.sameIntent(one) && other.Phase != Sending
		check(one.Phase != Sending || ended || !got.lastLeft().Before(one.lastLeft()), "a submission under way is forgotten")
		check(one.Phase != Pending || got.Phase >= Pending || got.Phase == Sending, "the vendor said that it has the order")
	}
	check(!news || got.Phase > Sending, "it may be sent without asking")
}

// The settle delay runs from the last moment at which a submission may have left, on every way to a question about it.
func TestTheSettleDelayRunsFromTheLastPossibleSubmission(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	lost := now.Add(-time.Minute)
	dead := base(Sending)
	dead.SentAt, dead.Lease = now.Add(-10*time.Second), now.Add(-time.Second)
	sending := base(Sending)
	sending.SentAt, sending.Lease = now.Add(-3*time.Second), now.Add(2*time.Second)
	moved := sending
	moved.SentAt = now.Add(10 * time.Minute)
	waiting := base(Waiting)
	waiting.SentAt = time.Time{}
	for name, c := range map[string]struct {
		state State
		event Event
		from  time.Time
	}{
		"a new order after a loss":         {Begin(Command{Topic: "t", Key: "B1"}, "", now), Arrived{Forgot: lost, Written: now}, lost.Add(p.Lease)},
		"the process died":                 {dead, Due{Parks: dead.Parks}, dead.Lease},
		"it died, and the store forgot":    {dead.Forgotten(now.Add(10 * time.Minute)), Due{Parks: dead.Parks}, now.Add(10 * time.Minute)},
		"the reply was lost":               {sending, SendFailed{Attempt: sending.Sends}, sending.Lease},
		"the reply was a refusal":          {sending, Replied{Attempt: sending.Sends, Reply: Reply{Status: StatusRefused}}, sending.Lease},
		"a refusal, and the store forgot":  {moved, Replied{Attempt: sending.Sends, Reply: Reply{Status: StatusRefused}}, moved.SentAt},
		"another process had it too":       {waiting, AskFailed{}, now},
		"a wait, and the store forgot":     {waiting.Forgotten(now.Add(10 * time.Minute)), Due{Parks: waiting.Parks}, now.Add(10 * time.Minute)},
		"a question, and the store forgot": {base(Asking).Forgotten(now.Add(10 * time.Minute)), Due{Parks: 1}, now.Add(10 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next, act, err := Advance(c.state, c.event, p, now)
			require.NoError(t, err)
			require.Equal(t, DoAsk, act.Do)
			require.Equal(t, c.from, next.SentAt)
			next, act, err = Advance(next, Answered{Reply: Reply{Status: StatusMissing}, Put: c.from.Add(p.Settle)}, p, c.from.Add(p.Settle))
			require.NoError(t, err)
			require.Equal(t, DoPark, act.Do, "it is not over yet: two clocks may differ")
			require.NotEqual(t, Sending, next.Phase)
		})
	}
}

// Amounts are compared by value; what is no amount differs by its writing.
func TestContradicted(t *testing.T) {
	t.Parallel()
	spec := Spec{MatchFields: []string{"pay_order_no", "amount"}, AmountField: "amount"}
	s := State{Carry: map[string]string{"amount": "1.50"}, Seen: map[string]string{"pay_order_no": "P1"}}
	for word, differs := range map[string]bool{"1.5": false, "01.500": false, "1.50": false, "1.51": true, "15": true, "150": true, "": false, "1e9": true} {
		got := s.Contradicted(&spec, Reply{Fields: map[string]string{"amount": word}})
		require.Equal(t, differs, got == "amount", word)
	}
	require.Equal(t, "pay_order_no", s.Contradicted(&spec, Reply{Fields: map[string]string{"pay_order_no": "P2", "amount": "1.50"}}))
	require.Empty(t, s.Contradicted(&spec, Reply{Fields: map[string]string{"other": "x"}}))
}

// A command of effect once from before a loss, or so it may be by its producer's clock, is not sent again.
func TestOnceIsSentOnlyWhenItIsNewerThanALossByTheMargin(t *testing.T) {
	t.Parallel()
	p := policyOf(EffectOnce)
	p.Margin = time.Hour
	lost := now.Add(-2 * time.Hour)
	for written, do := range map[time.Duration]Do{
		-time.Second: DoAnnounce, 5 * time.Minute: DoAnnounce, time.Hour: DoAnnounce, time.Hour + time.Second: DoSend,
		3*time.Hour + time.Second: DoAnnounce, // further ahead of now than the margin: it says nothing
	} {
		_, act, err := Advance(Begin(Command{Topic: "t", Key: "R1"}, "", now), Arrived{Forgot: lost, Written: lost.Add(written)}, p, now)
		require.NoError(t, err)
		require.Equal(t, do, act.Do, written)
	}
}

// An order that the vendor said it has stays pending, also when the other state knows of more submissions.
func TestPendingOutlivesAMemoryOfMoreSubmissions(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pending := State{Phase: Pending, Seen: map[string]string{"pay_order_no": "P1"}}
	for _, phase := range []Phase{Waiting, Asking, Refused} {
		other := State{Phase: phase, Sends: 1, SentAt: at, Refusal: &Reply{Code: "-1"}}
		joined, news := pending.Joined(other)
		require.True(t, news, phase)
		require.Equal(t, Pending, joined.Phase, phase)
		require.Equal(t, 1, joined.Sends, phase)
		require.Equal(t, pending.Seen, joined.Seen, phase)

		joined, news = other.Joined(pending)
		require.True(t, news, phase)
		require.Equal(t, Pending, joined.Phase, phase)
		require.Nil(t, joined.Refusal, phase)
	}
}

// A submission that is under way may leave until its lease is over, whichever of the two knows of it.
func TestASubmissionUnderWayCountsUntilItsLease(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sending := State{Phase: Sending, Sends: 1, SentAt: sent, Owner: "p1/2", Lease: sent.Add(16 * time.Second)}
	earlier := State{Phase: Asking, Sends: 1, SentAt: sent.Add(time.Second), Owner: "p1/1", Lease: sent.Add(time.Second)}
	for name, joined := range map[string]func() (State, bool){
		"the record":    func() (State, bool) { return sending.Joined(earlier) },
		"the memory":    func() (State, bool) { return earlier.Joined(sending) },
		"and its proof": func() (State, bool) { s := earlier; s.Phase = Waiting; return s.Joined(sending) },
	} {
		state, news := joined()
		require.True(t, news, name)
		require.Equal(t, Asking, state.Phase, name)
		require.Equal(t, sending.Lease, state.SentAt, name)
	}
	ended := sending
	ended.Phase, ended.SentAt = Asking, sent.Add(3*time.Second)
	state, news := ended.Joined(sending)
	require.False(t, news, "its own outcome is on record")
	require.Equal(t, ended.SentAt, state.SentAt)
}

package operation_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// poll is a question under way over a twin of the store.
type poll struct {
	t      *testing.T
	store  *memstore.Store
	log    published
	driver *operation.Driver
	spec   commands.Spec
}

func newPoll(t *testing.T, answer asks) *poll {
	t.Helper()
	p := &poll{
		t: t, store: memstore.New(memstore.NewServer(1), memstore.Config{}),
		spec: commands.Spec{Topic: "identity.poll", ResultTopic: "identity.result", Type: "identity", KeyField: "flowId", Effect: commands.EffectRead},
	}
	require.NoError(t, p.store.Prepare(t.Context(), false))
	ring, err := commands.NewKeyring([]byte("0123456789abcdef"))
	require.NoError(t, err)
	p.driver, err = operation.New(operation.Config{
		Keys:  ring,
		Store: p.store, Publisher: &p.log, Asker: answer, Timeout: time.Second, Logger: slog.New(slog.DiscardHandler),
		Policy: commands.Policy{Spec: p.spec, Deadline: time.Hour, Tiers: []time.Duration{time.Second}},
	})
	require.NoError(t, err)
	return p
}

func (p *poll) state(phase commands.Phase) commands.State {
	return commands.State{Phase: phase, Topic: p.spec.Topic, Key: "F1", RequestID: "R1", FirstSeen: time.Now(), Parks: 3}
}

// write stores a state as another process would.
func (p *poll) write(was idempotency.Record, s commands.State) idempotency.Record {
	p.t.Helper()
	value, err := s.Encode()
	require.NoError(p.t, err)
	record, err := p.store.Swap(p.t.Context(), was, value)
	require.NoError(p.t, err)
	return record
}

func (p *poll) types() []string {
	var all []string
	for _, m := range p.log {
		if m.Topic == p.spec.ResultTopic {
			kind, _ := m.Header("ce_type")
			all = append(all, string(kind))
		}
	}
	return all
}

// A progress that was heard before the end, and comes back after it, is not told: consumers read the latest event.
func TestLateProgressIsNotTold(t *testing.T) {
	t.Parallel()
	p := newPoll(t, func() (commands.Reply, error) { return commands.Reply{}, nil })
	asking := p.state(commands.Asking)
	record := p.write(p.store.Expect(operation.Key(p.spec, "F1")), asking)
	p.driver.Asker = asks(func() (commands.Reply, error) {
		// While this answer is on its way another process hears of the end.
		end := p.state(commands.Settled)
		end.Verdict = commands.StatusSucceeded
		end.Result = &commands.Result{ID: "v", Type: "identity.answered.v1", Subject: "F1", Data: []byte("{}")}
		p.write(record, end)
		return commands.Reply{Status: commands.StatusPending}, nil
	})
	_, err := p.driver.Drive(t.Context(), &operation.Job{
		Record: record, State: asking, Entry: commands.Due{Parks: 3}, Message: stream.Message{Topic: "identity.poll.delay.1s"},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"identity.answered.v1"}, p.types())
}

// What a hint brought up is remembered as told, and the copy that waits still counts as the latest one.
func TestProgressByAHintIsRemembered(t *testing.T) {
	t.Parallel()
	p := newPoll(t, func() (commands.Reply, error) { return commands.Reply{Status: commands.StatusPending}, nil })
	key := operation.Key(p.spec, "F1")
	for range 2 {
		record, err := p.store.Load(t.Context(), key)
		require.NoError(t, err)
		state := p.state(commands.Asking)
		if record.Version == 0 {
			record = p.write(record, state)
		} else {
			state, err = commands.DecodeState(record.Value)
			require.NoError(t, err)
		}
		_, err = p.driver.Drive(t.Context(), &operation.Job{Record: record, State: state, Entry: commands.Nudged{}})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"identity.pending.v1"}, p.types(), "told once")
	record, err := p.store.Load(t.Context(), key)
	require.NoError(t, err)
	state, err := commands.DecodeState(record.Value)
	require.NoError(t, err)
	require.Equal(t, commands.Pending, state.Phase)
	require.Equal(t, 3, state.Parks)
}

// A copy whose record is gone may be older news than what was lost: a process that stored its intent just before the loss
// may be sending until its lease is over.
func TestACopyOfALostRecordCountsFromALeaseAfterTheLoss(t *testing.T) {
	t.Parallel()
	p := newPoll(t, nil)
	policy := commands.Policy{Lease: 5 * time.Second}
	copied := p.state(commands.Asking)
	lost := time.Now().Add(-time.Minute)
	d := &operation.Driver{Config: operation.Config{Policy: policy, Now: time.Now}}
	state, err := d.Recall(copied, idempotency.Record{Forgot: lost}, nil)
	require.NoError(t, err)
	require.Equal(t, lost.Add(policy.Lease), state.SentAt)
	before := time.Now()
	state, err = d.Recall(copied, idempotency.Record{}, nil)
	require.NoError(t, err)
	require.False(t, state.SentAt.Before(before.Add(policy.Lease)), "a loss that the store does not tell is one of this moment")
}

// Even a due time of our own holds a copy back no longer than its tier and the jitter: a clock may have been wrong.
func TestADueTimeEndsWithItsTier(t *testing.T) {
	t.Parallel()
	p := newPoll(t, nil)
	state := p.state(commands.Asking)
	m, err := p.driver.Parked(&operation.Job{Message: stream.Message{Topic: p.spec.Topic}}, &state, commands.Action{Until: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, p.driver.Due(m).After(time.Now()))
	require.False(t, p.driver.Due(m).After(time.Now().Add(time.Second+100*time.Millisecond)))
}

// away is a log that takes nothing.
type away struct{}

func (away) Publish(context.Context, ...stream.Message) error { return errors.New("no broker answers") }

// What could not be parked does not count as parked: who tries again would take its own copy for an outdated one.
func TestWhatWasNotParkedDoesNotCount(t *testing.T) {
	t.Parallel()
	p := newPoll(t, func() (commands.Reply, error) { return commands.Reply{}, errors.New("no answer") })
	asking := p.state(commands.Asking)
	asking.Tries = 2
	p.driver.Publisher = away{}
	job := &operation.Job{
		Record: p.write(p.store.Expect(operation.Key(p.spec, "F1")), asking), State: asking, Entry: commands.Due{Parks: 3},
		Message: stream.Message{Topic: "identity.poll.delay.1s"},
	}
	_, err := p.driver.Drive(t.Context(), job)
	require.ErrorContains(t, err, "park F1")
	require.Equal(t, 3, job.Memory.Parks)
	require.Equal(t, 2, job.Memory.Tries)
}

// A write that was given up, and landed all the same, is met as a conflict. Its result has not been published yet.
func TestAnUnresolvedThatLandedLateIsTold(t *testing.T) {
	t.Parallel()
	p := newPoll(t, func() (commands.Reply, error) { return commands.Reply{}, nil })
	asking := p.state(commands.Asking)
	asking.FirstSeen = time.Now().Add(-2 * time.Hour)
	record := p.write(p.store.Expect(operation.Key(p.spec, "F1")), asking)
	p.driver.Asker = asks(func() (commands.Reply, error) {
		landed := asking
		landed.Phase = commands.Unresolved
		landed.Result = &commands.Result{ID: "u", Type: "identity.unresolved.v1", Subject: "F1", Data: []byte("{}")}
		p.write(record, landed)
		return commands.Reply{}, errors.New("no answer")
	})
	_, err := p.driver.Drive(t.Context(), &operation.Job{
		Record: record, State: asking, Entry: commands.Due{Parks: 3}, Message: stream.Message{Topic: "identity.poll.delay.1s"},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"identity.unresolved.v1"}, p.types())
}

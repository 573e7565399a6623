package commands

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A submission that is under way is not given up at the deadline: whoever is not patient waits for its lease all the same.
func TestWhatIsUnderWayIsNotGivenUp(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := Policy{
		Spec: Spec{Topic: "t", Effect: EffectOnce}, Owner: "p2", Lease: 10 * time.Second, Settle: time.Minute, MaxSends: 3,
		Deadline: time.Minute, Tiers: []time.Duration{5 * time.Second}, Patience: time.Second,
	}
	s := State{Phase: Sending, Topic: "t", Key: "T1", Sends: 1, FirstSeen: began, SentAt: began.Add(55 * time.Second), Lease: began.Add(65 * time.Second)}
	_, act, err := Advance(s, Due{}, p, began.Add(59*time.Second))
	require.NoError(t, err)
	require.Equal(t, DoPark, act.Do)
	_, act, err = Advance(s, Due{}, p, began.Add(61*time.Second))
	require.NoError(t, err)
	require.Equal(t, DoWait, act.Do)
	require.Equal(t, s.Lease, act.Until)
}

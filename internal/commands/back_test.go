package commands

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a new order may have lost decides what is done with it, by when its message was written.
func TestAStepBackIsWeighedByWhenAMessageWasWritten(t *testing.T) {
	t.Parallel()
	back := now.Add(-time.Minute)
	for name, c := range map[string]struct {
		effect  Effect
		margin  time.Duration
		written time.Duration // since
		window  time.Duration
		do      Do
		sent    time.Time // the last moment at which it may have been
	}{
		"written before":                        {effect: EffectMoney, written: -time.Hour, do: DoAsk, sent: back.Add(5 * time.Second)},
		"in the very moment":                    {effect: EffectMoney, do: DoAsk, sent: back.Add(5 * time.Second)},
		"since, as far as clocks can tell":      {effect: EffectMoney, margin: time.Hour, written: time.Second, do: DoAsk, sent: back.Add(5 * time.Second)},
		"since, by a producer that is believed": {effect: EffectMoney, written: time.Millisecond, do: DoSend},
		"since":                                 {effect: EffectMoney, margin: time.Hour, written: time.Second + 1, do: DoSend},
		"since, and the step is young":          {effect: EffectMoney, margin: time.Hour, written: time.Second + 1, window: time.Minute + 1, do: DoAsk, sent: back.Add(5 * time.Second)},
		"since, and the step is young no more":  {effect: EffectMoney, margin: time.Hour, written: time.Second + 1, window: time.Minute, do: DoSend},
		"by a clock that is wrong":              {effect: EffectMoney, margin: time.Hour, written: time.Minute + 2*time.Second, do: DoAsk, sent: back.Add(5 * time.Second)},
		"once, written before":                  {effect: EffectOnce, written: -time.Hour, do: DoAnnounce},
		"once, written since":                   {effect: EffectOnce, margin: time.Hour, written: time.Second + 1, window: time.Hour, do: DoSend},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := policyOf(c.effect)
			p.Lease, p.Settle, p.Margin, p.BackWindow = 5*time.Second, 10*time.Second, c.margin, c.window
			e := Arrived{Request: "R1", Fingerprints: []string{"fp"}, Back: back, Written: back.Add(c.written)}
			next, act, err := Advance(Begin(Command{Topic: "t", Key: "B1", RequestID: "R1"}, "", now), e, p, now)
			require.NoError(t, err)
			require.Equal(t, c.do, act.Do)
			require.Equal(t, c.do != DoSend, p.AsksFirst(e, now))
			if c.do == DoAsk {
				require.Equal(t, c.sent, next.SentAt)
			}
		})
	}
}

// A loss of all and a step back do not hide each other.
func TestALossAndAStepBack(t *testing.T) {
	t.Parallel()
	p := policyOf(EffectMoney)
	early, late := now.Add(-time.Hour), now.Add(-time.Minute)
	require.Equal(t, late, p.Lost(Arrived{Forgot: early, Back: late, Written: early}, now))
	require.Equal(t, late, p.Lost(Arrived{Forgot: late, Back: early, Written: early}, now))
	require.Equal(t, early, p.Lost(Arrived{Forgot: early, Back: late, Written: now}, now))
	p = policyOf(EffectOnce)
	require.Zero(t, p.Lost(Arrived{Forgot: early, Back: late, Written: now}, now))
}

// Whatever stood before a step back leads to no submission that was not asked about, and to no "no such order" that counts
// before the last one that may have been.
func TestDoubted(t *testing.T) {
	t.Parallel()
	back := now.Add(-time.Second)
	for _, phase := range Phases() {
		for _, effect := range []Effect{EffectMoney, EffectOnce, EffectRead} {
			p, s := policyOf(effect), base(phase)
			got := p.Doubted(s, back)
			require.Equal(t, s, p.Doubted(s, time.Time{}), "nothing is in doubt")
			doubts := effect == EffectMoney && phase >= Sending && phase <= Refused ||
				effect == EffectOnce && (phase == Waiting || phase == Asking || phase == Refused)
			if !doubts {
				require.Equal(t, s, got, "%v %v", phase, effect)
				continue
			}
			require.Contains(t, []Phase{Asking, Refused}, got.Phase, "%v %v", phase, effect)
			require.False(t, got.SentAt.Before(back.Add(p.Lease)), "%v %v", phase, effect)
			require.False(t, got.SentAt.Before(s.SentAt), "%v %v", phase, effect)
		}
	}
}

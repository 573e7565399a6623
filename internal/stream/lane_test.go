package stream

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The fetcher may be about to hand over one more message of a key in the moment in which the one before is abandoned.
func TestLaneKeepsWhatComesBehindAnAbandonedMessageFromRunning(t *testing.T) {
	t.Parallel()
	cfg := Config{Budget: NewBudget(1, 10)}.WithDefaults()
	ended, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	handled := 0
	l := newLane(&span{ended: ended, beginning: t.Context(), handling: t.Context()}, Assignment{}, HandlerFunc(func(context.Context, Message) error {
		handled++
		end()
		return errors.New("store is away")
	}), cfg, &running)
	require.NoError(t, l.push(Message{Key: []byte("k"), Value: []byte("1")}))
	running.Wait()

	late := Message{Offset: 1, Key: []byte("k"), Value: []byte("2")}
	require.Error(t, l.push(late))
	require.NoError(t, cfg.Budget.takeBytes(t.Context(), sizeOf(late)))
	l.admit(late, sizeOf(late))
	running.Wait()
	require.Equal(t, 1, handled)
	require.EqualValues(t, 0, l.position())
	require.NoError(t, cfg.Budget.takeBytes(t.Context(), 10), "all of the budget is free again")
}

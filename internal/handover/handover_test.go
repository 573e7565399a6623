package handover_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/handover"
)

func TestAHandoverEndsWaitingAndNothingElse(t *testing.T) {
	t.Parallel()
	over, begin := context.WithCancel(t.Context())
	ctx := handover.With(t.Context(), over)
	waiting, stop := handover.Until(ctx)
	defer stop()
	require.NoError(t, handover.Err(ctx))
	begin()
	<-waiting.Done()
	<-handover.Begun(ctx)
	require.ErrorIs(t, context.Cause(waiting), handover.ErrBegun)
	require.ErrorIs(t, handover.Err(ctx), handover.ErrBegun)
	require.NoError(t, ctx.Err())
	require.ErrorIs(t, handover.Err(context.WithoutCancel(ctx)), handover.ErrBegun, "it is found in every context made of the first")
}

func TestWithoutAHandoverWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	waiting, stop := handover.Until(ctx)
	defer stop()
	require.Nil(t, handover.Begun(ctx))
	require.NoError(t, handover.Err(ctx))
	require.NoError(t, waiting.Err())
	cancel()
	<-waiting.Done()
}

func TestUnstoredIsFoundThroughWrapping(t *testing.T) {
	t.Parallel()
	away := errors.New("the store is away")
	err := fmt.Errorf("settle: %w", handover.Unstored(away))
	require.True(t, handover.IsUnstored(err))
	require.ErrorIs(t, err, away)
	require.False(t, handover.IsUnstored(away))
}

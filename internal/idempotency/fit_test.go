package idempotency_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

func TestClockIsOff(t *testing.T) {
	t.Parallel()
	wrong := []string{idempotency.UnfitClockStep, idempotency.UnfitClockSkew}
	for _, reason := range idempotency.UnfitReasons() {
		err := fmt.Errorf("order B1: %w", &idempotency.Unfit{Reason: reason})
		require.Equal(t, slices.Contains(wrong, reason), idempotency.ClockIsOff(err), reason)
	}
	require.False(t, idempotency.ClockIsOff(errors.New("clock_step")))
	require.False(t, idempotency.ClockIsOff(nil))
}

package memstream

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
)

func TestCommitOfAnEarlierGenerationIsRefused(t *testing.T) {
	t.Parallel()
	b := NewBroker()
	b.CreateTopic("t", 1)
	c := b.Consumer("g", []string{"t"}, ConsumerConfig{Member: "m"})
	c.member.end = func() {}
	require.NoError(t, b.join(context.Background(), c.group, c.member))
	early := c.assignment()
	require.NoError(t, b.join(context.Background(), c.group, c.member))
	late := c.assignment()
	next := []stream.Assignment{{Topic: "t", Offset: 1}}
	require.ErrorIs(t, early.Commit(context.Background(), next), ErrFenced)
	require.NoError(t, late.Commit(context.Background(), next))
}

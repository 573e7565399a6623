package order

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestANameTellsTheOrder(t *testing.T) {
	t.Parallel()
	o := Order{Key: 12, Seq: 345, Index: 67890}
	require.Equal(t, "k0012-000345-0067890", o.Name())
	require.Equal(t, "k0012", o.Card())
	got, ok := Parse(o.Name())
	require.True(t, ok)
	require.Equal(t, o, got)
}

func TestOtherNamesAreNotCounted(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", WarmUp(3), "k1", "k1-2", "k1-2-x", "w1-2-3", "k-1-2-3", "k--1-2"} {
		_, ok := Parse(name)
		require.False(t, ok, name)
	}
}

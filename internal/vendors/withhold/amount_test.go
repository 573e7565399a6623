package withhold

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAmount(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Amount{
		"100.00": 10000, "100": 10000, "100.5": 10050, "0.01": 1, "0.10": 10, "0.1": 10, "1": 100,
		"9999999999999.99": 999999999999999,
	} {
		got, err := ParseAmount(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "0", "0.0", "0.00", "-1", "+1", "1.", ".5", "1.005", "1.000", "1e2", "1E2", "01", "00", "00.10", " 1", "1 ",
		"1,5", "1_000", "0x10", "NaN", "Inf", "１", "1.0５", "10000000000000", "99999999999999999999999", "1..0", "1.0.0",
		"1.-1", "--1", "\x001", "1\n",
	} {
		_, err := ParseAmount(text)
		require.Error(t, err, "%q", text)
	}
	require.Equal(t, "100.50", Amount(10050).String())
	require.Equal(t, "0.01", Amount(1).String())
	require.Equal(t, "-0.05", Amount(-5).String())
}

// FuzzAmount holds the parser against math/big.
func FuzzAmount(f *testing.F) {
	for _, s := range []string{"100.00", "0", "-1", "1e2", "1.005", "0.01", "9999999999999.99", "１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseAmount(text)
		if err != nil {
			return
		}
		require.Positive(t, got)
		want, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		require.Zero(t, want.Mul(want, big.NewRat(100, 1)).Cmp(big.NewRat(int64(got), 1)), text)
		again, err := ParseAmount(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

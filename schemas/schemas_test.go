package schemas_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/schemas"
)

func load(t testing.TB) *schemas.Set {
	t.Helper()
	set, err := schemas.Load()
	require.NoError(t, err)
	return set
}

// Fixtures lie in testdata/<topic>/{valid,invalid}/<what>.json; an invalid one's error stands beside it in <what>.txt.
func TestFixtures(t *testing.T) {
	t.Parallel()
	set := load(t)
	for _, topic := range set.Topics() {
		for _, verdict := range []string{"valid", "invalid"} {
			paths, err := filepath.Glob(filepath.Join("testdata", topic, verdict, "*.json"))
			require.NoError(t, err)
			require.NotEmpty(t, paths, "topic %s has no %s fixture", topic, verdict)
			for _, path := range paths {
				t.Run(path, func(t *testing.T) {
					t.Parallel()
					value, err := os.ReadFile(path)
					require.NoError(t, err)
					err = set.Validate(topic, value)
					if verdict == "valid" {
						require.NoError(t, err)
						return
					}
					says, readErr := os.ReadFile(strings.TrimSuffix(path, ".json") + ".txt")
					require.NoError(t, readErr)
					require.EqualError(t, err, strings.TrimSpace(string(says)))
				})
			}
		}
	}
}

func TestUnknownTopic(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, load(t).Validate("no.such", []byte("{}")), "schemas exist for")
}

// An error never repeats a value: commands hold card and identity data.
func FuzzErrorsRepeatNoValue(f *testing.F) {
	set := load(f)
	f.Add("6222000000000000000x")
	f.Add("张三")
	f.Fuzz(func(t *testing.T, secret string) {
		if len(secret) < 12 || strings.ContainsAny(secret, "\"\\^$ ") {
			return
		}
		value := `{"requestId":"` + secret + `","bank_card_number":"` + secret + `","name":["` + secret + `"]}`
		if err := set.Validate("withhold.request", []byte(value)); err != nil {
			require.NotContains(t, err.Error(), secret)
		}
	})
}

package app

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/cmd/internal/settings"
)

func TestEverySettingIsExplained(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/settings.md")
	require.NoError(t, err)
	for _, setting := range settings.List(defaults()) {
		named := "`" + setting.Key + "`"
		if rest, ok := strings.CutPrefix(setting.Key, "WITHHOLD_CIPHER_"); ok && rest != "MODE" {
			named = "`_" + rest + "`"
		}
		require.Contains(t, string(page), named)
	}
}

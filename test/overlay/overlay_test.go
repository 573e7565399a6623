package overlay

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEditsOfOneFileAddUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := filepath.Join(dir, "a.go")
	require.NoError(t, os.WriteFile(source, []byte("one two"), 0o600))
	path, err := Write(t.TempDir(),
		Edit{File: source, Old: "one", New: "1"}, Edit{File: source, Old: "1 two", New: "1 2"},
		Edit{File: filepath.Join(dir, "b.go"), New: "three"})
	require.NoError(t, err)
	var written struct{ Replace map[string]string }
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &written))
	require.Len(t, written.Replace, 2)
	for name, text := range map[string]string{source: "1 2", filepath.Join(dir, "b.go"): "three"} {
		planted, err := os.ReadFile(written.Replace[name])
		require.NoError(t, err)
		require.Equal(t, text, string(planted))
	}
	untouched, err := os.ReadFile(source)
	require.NoError(t, err)
	require.Equal(t, "one two", string(untouched))
}

func TestAnOutdatedEditFails(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "a.go")
	require.NoError(t, os.WriteFile(source, []byte("one one"), 0o600))
	for old, times := range map[string]string{"one": "2 times", "two": "0 times"} {
		_, err := Write(t.TempDir(), Edit{File: source, Old: old, New: "x"})
		require.ErrorContains(t, err, times)
	}
}

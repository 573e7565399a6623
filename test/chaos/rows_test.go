package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/test/overlay"
)

func TestRowsAreComplete(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range rows() {
		require.False(t, seen[r.name], r.name)
		seen[r.name] = true
		require.NotEmpty(t, r.fault, r.name)
		require.Contains(t, []int{1, 3}, r.brokers, r.name)
		require.Less(t, r.dispatchers, clients, "%s: the last client is callback-ingest", r.name)
		require.NotNil(t, r.redis, r.name)
		require.False(t, r.during == nil && r.after == nil && r.vendor == usual() && r.name != "calm", "%s does nothing", r.name)
	}
	for _, m := range mutants() {
		require.True(t, seen[m.row], "%s names row %s, which does not exist", m.name, m.row)
	}
}

func TestTheDocumentExplainsEachRow(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "chaos.md"))
	require.NoError(t, err)
	for _, r := range rows() {
		require.Contains(t, string(text), "| `"+r.name+"` |")
	}
}

// What is planted still fits the sources: the product's, and those of the Go that is used.
func TestWhatIsPlantedFits(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	raw, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	_, err = overlay.Write(t.TempDir(), append(clock(strings.TrimSpace(string(raw))), newer()...)...)
	require.NoError(t, err)
	changes, _, err := edits(t.Context())
	require.NoError(t, err)
	for _, m := range mutants() {
		planted, err := m.planted(changes)
		require.NoError(t, err)
		_, err = overlay.Write(t.TempDir(), planted...)
		require.NoError(t, err, m.name)
	}
}

func TestTheCommandLine(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	o, err := parse([]string{"-only", "^failover", "-short", "-seed", "7"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.rows, 3)
	require.Equal(t, uint64(7), o.seed)
	require.Equal(t, shortCommands, o.commands)
	o, err = parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, fullCommands, o.commands)
	require.NotZero(t, o.seed)
	_, err = parse([]string{"-only", "no such row"}, io.Discard)
	require.ErrorContains(t, err, "no row's name matches")
}

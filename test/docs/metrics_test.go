package docs

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ingestapp "paydispatch/cmd/callback-ingest/app"
	dispatcherapp "paydispatch/cmd/dispatcher/app"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/metrics.md")

const page = "../../docs/metrics.md"

// program is a service's Run.
type program = func(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error

// services are the programs that the pages speak of.
func services() map[string]program {
	return map[string]program{
		"dispatcher": dispatcherapp.Run, "callback-ingest": ingestapp.Run,
	}
}

// TestMetricsPage: the tables between the marks are what the services say of themselves; 'go test ./test/docs -update'
// rewrites them.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	tables := map[string]string{}
	for service, run := range services() {
		var table bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"--print-metrics"}, func(string) string { return "" }, &table))
		tables[service] = table.String()
	}
	keep(t, page, "what the services measure", tables)
}

// keep holds the tables between a page's marks against what they should be, or rewrites them with -update.
func keep(t *testing.T, page, what string, tables map[string]string) {
	t.Helper()
	raw, err := os.ReadFile(page)
	require.NoError(t, err)
	text := string(raw)
	for mark, table := range tables {
		begin, end := "<!-- "+mark+" -->\n", "<!-- end of "+mark+" -->\n"
		before, rest, found := strings.Cut(text, begin)
		require.True(t, found, "no mark %s", begin)
		stands, after, found := strings.Cut(rest, end)
		require.True(t, found, "no mark %s", end)
		if !*update {
			require.Equal(t, table, stands, "%s, %s, is not %s: go test ./test/docs -update", page, mark, what)
		}
		text = before + begin + table + end + after
	}
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(text), 0o600))
	}
}

// TestLabelsAreExplained: every label that a table names stands in the page's list of labels.
func TestLabelsAreExplained(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(page)
	require.NoError(t, err)
	tables, list, found := strings.Cut(string(raw), "## Labels\n")
	require.True(t, found)
	for line := range strings.Lines(tables) {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.HasPrefix(line, "| `paydispatch_") {
			continue
		}
		for label := range strings.SplitSeq(cells[2], ", ") {
			if label != "" {
				require.Contains(t, list, "| "+label+" |", line)
			}
		}
	}
}

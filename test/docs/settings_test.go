package docs

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const settingsPage = "../../docs/settings.md"

// noDefault are the page's words for a setting that is empty unless it is set.
var noDefault = []string{"", "required", "required for callbacks", "none"}

// TestSettingsPage: the page names each setting of the services once a service, with the default that the service has.
func TestSettingsPage(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(settingsPage)
	require.NoError(t, err)
	page := string(raw)
	both := documented(t, section(t, page, "## Both services"))
	for service, run := range services() {
		own := documented(t, section(t, page, "## "+service))
		for name, value := range printed(t, run) {
			said, there := own[name]
			if !there {
				said, there = both[name]
			}
			require.True(t, there, "docs/settings.md says nothing of %s of %s", name, service)
			delete(own, name)
			if said != "all" {
				require.Equal(t, short(value), said, "the default of %s of %s", name, service)
			}
		}
		require.Empty(t, own, "docs/settings.md has settings that %s does not know", service)
	}
}

// printed are a service's settings as it prints them.
func printed(t *testing.T, run program) map[string]string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--print-config"}, func(string) string { return "" }, &out))
	all := map[string]string{}
	for line := range strings.Lines(out.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ") // one without a value stands alone
		all[name] = strings.TrimSpace(value)
	}
	require.NotEmpty(t, all)
	return all
}

func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n"+heading+"\n")
	require.True(t, found, "docs/settings.md has no %q", heading)
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

var quoted = regexp.MustCompile("`([^`]*)`")

// documented reads the settings and their defaults from a table: one cell may name several, in the order of their
// defaults; one that begins with "_" goes on from the first.
func documented(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(line, "|")[1:]
		first := ""
		defaults := strings.Split(cells[1], ", ")
		for i, found := range quoted.FindAllStringSubmatch(cells[0], -1) {
			name, value := found[1], ""
			if strings.HasPrefix(name, "_") {
				name = first[:strings.LastIndex(first, "_")] + name
			} else {
				first = name
			}
			if i < len(defaults) {
				value = plain(defaults[i])
			}
			all[name] = value
		}
	}
	require.NotEmpty(t, all)
	return all
}

func plain(cell string) string {
	for _, word := range noDefault {
		if strings.TrimSpace(cell) == word {
			return ""
		}
	}
	return short(strings.Trim(strings.TrimSpace(cell), "`"))
}

// short writes durations, levels and lists of durations in one way.
func short(value string) string {
	parts := strings.Split(value, ",")
	for i, part := range parts {
		if d, err := time.ParseDuration(part); err == nil && part != "0" {
			parts[i] = d.String()
		}
	}
	return strings.ToLower(strings.Join(parts, ","))
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// column is one of the table's.
type column struct {
	title string
	cell  func(verdict) string
}

func count(n int) string { return fmt.Sprint(n) }

// columns is the table: what has to be zero stands between the charges and the times.
func columns() []column {
	return []column{
		{"commands", func(v verdict) string { return count(v.Commands) }},
		{"charges", func(v verdict) string { return count(v.Charges) }},
		{"charged twice", func(v verdict) string { return count(v.Twice) }},
		{"charged, not ordered", func(v verdict) string { return count(v.Unordered) }},
		{"without an end", func(v verdict) string { return count(v.Endless) }},
		{"contradictory", func(v verdict) string { return count(v.Contradictory) }},
		{"never sent though unresolved", func(v verdict) string { return count(v.NeverSent) }},
		{"calls cut", func(v verdict) string {
			if !v.CutCounts {
				return "-"
			}
			return count(v.Cut)
		}},
		{"longest time to settle", func(v verdict) string { return fmt.Sprintf("%.1f s", v.Longest.Seconds()) }},
		{"questions put", func(v verdict) string { return count(v.Questions) }},
	}
}

// writeTable writes one line a row.
func writeTable(w io.Writer, faults []string, all []verdict, markdown bool) {
	lines := [][]string{{"fault"}}
	for _, c := range columns() {
		lines[0] = append(lines[0], c.title)
	}
	for i, v := range all {
		line := []string{faults[i]}
		for _, c := range columns() {
			line = append(line, c.cell(v))
		}
		if len(v.Faults) > 0 {
			line[0] += " (" + strings.Join(v.Faults, "; ") + ")"
		}
		lines = append(lines, line)
	}
	writeLines(w, lines, markdown)
}

// writeLines writes a table whose first line is its head; in Markdown where that is asked for.
func writeLines(w io.Writer, lines [][]string, markdown bool) {
	if !markdown {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, line := range lines {
			fmt.Fprintln(table, strings.Join(line, "\t"))
		}
		_ = table.Flush()
		return
	}
	for i, line := range lines {
		fmt.Fprintln(w, "| "+strings.Join(line, " | ")+" |")
		if i == 0 {
			fmt.Fprintln(w, "|"+strings.Repeat(" --- |", len(line)))
		}
	}
}

// writeVerdict writes a verdict beside the logs of its row.
func writeVerdict(dir string, v verdict) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "verdict.json"), append(raw, '\n'), 0o600)
}

// progress tells what goes on: on a terminal in one line that changes, elsewhere in a new one now and then.
type progress struct {
	out      *os.File
	terminal bool

	mu    sync.Mutex
	going map[string]string // by place
	told  time.Time
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, going: map[string]string{}}
}

// between is how often a line is written where none can be changed.
const between = 10 * time.Second

// tell says how the row of a place goes on; "" ends it.
func (p *progress) tell(place, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.going[place] = text
	if text == "" {
		delete(p.going, place)
	}
	var all []string
	for _, place := range slices.Sorted(maps.Keys(p.going)) {
		all = append(all, strings.TrimSpace(place+"  "+p.going[place]))
	}
	switch line := strings.Join(all, " | "); {
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
	case time.Since(p.told) >= between && line != "":
		fmt.Fprintln(p.out, line)
		p.told = time.Now()
	}
}

// line writes one that stays.
func (p *progress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintln(p.out, text)
	p.told = time.Now()
}

// Package report holds what was measured and writes it as a table, as JSON and as a plot.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Names of the systems.
const (
	Dispatcher = "dispatcher"
	Loop       = "loop"
	Pool       = "pool"
)

// Report is one run of the bench.
type Report struct {
	Began   time.Time `json:"began"`
	Machine string    `json:"machine"`
	Parts   string    `json:"parts"`
	Runs    []Run     `json:"runs"`
}

// Run is one system in one scenario.
type Run struct {
	Scenario string `json:"scenario"`
	System   string `json:"system"`
	Commands int    `json:"commands"`
	// Seconds from the first command to the last result, and commands a second.
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	// CPU is user and system time of the system's processes for each command, in microseconds.
	CPU float64 `json:"cpu_us_per_command"`
	// Added latency in milliseconds. In an unpaced run it holds the wait in the backlog and says nothing.
	Paced bool    `json:"paced"`
	P50   float64 `json:"added_p50_ms"`
	P99   float64 `json:"added_p99_ms"`
	// Peak is the most memory that one process of the system had, in MB.
	Peak float64 `json:"peak_mb"`
	// Stall is the longest time without a result, in seconds.
	Stall float64 `json:"longest_stall_s"`

	// AtOnce is the most calls that the vendor double had at the same time.
	AtOnce   int `json:"calls_at_once"`
	Overlaps int `json:"overlaps"`
	Reorders int `json:"reorders"`
	Cut      int `json:"calls_cut"`
	Lost     int `json:"lost"`
	Doubled  int `json:"doubled"`
	// OtherID are those of Doubled that carry another event id than the first result of their order.
	OtherID int `json:"doubled_other_id"`
	// Twice are charges beyond an order's first, Asks questions about an order.
	Twice      int            `json:"charged_twice"`
	Asks       int            `json:"asked"`
	Dead       int64          `json:"dead_letters"`
	Parked     int64          `json:"parked"`
	Complaints int            `json:"complaints"`
	Kinds      map[string]int `json:"results_by_type"`

	// Cores is what each process took of the machine while the run went on, in cores; "others" are all that have
	// nothing to do with the bench, and show how quiet the machine was.
	Cores map[string]float64 `json:"cores"`
	// PerCommand is what the broker and Redis were asked for each command.
	PerCommand map[string]float64 `json:"requests_per_command,omitempty"`
	Notes      []string           `json:"notes,omitempty"`
	Timeline   []Sample           `json:"timeline,omitempty"`
}

// Sample is a moment of a run.
type Sample struct {
	At   float64 `json:"at_s"`
	Rate float64 `json:"rate"`
	MB   float64 `json:"mb"`
}

// WriteJSON writes the report into a file, making its folder.
func (r Report) WriteJSON(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o600)
}

// WriteTable writes the runs, one a line, then the ratios and the notes.
func (r Report) WriteTable(w io.Writer) {
	rows := [][]string{{
		"scenario", "system", "commands", "rate/s", "CPU us", "p50 ms", "p99 ms", "peak MB", "stall s", "at once",
		"overlap", "reorder", "cut", "lost", "doubled", "charged 2x", "asked", "parked", "dead",
	}}
	for _, m := range r.Runs {
		p50, p99 := "-", "-"
		if m.Paced {
			p50, p99 = fmt.Sprintf("%.1f", m.P50), fmt.Sprintf("%.1f", m.P99)
		}
		rows = append(rows, []string{
			m.Scenario, m.System, grouped(m.Commands), grouped(int(m.Rate + 0.5)), fmt.Sprintf("%.0f", m.CPU), p50, p99,
			fmt.Sprintf("%.0f", m.Peak), fmt.Sprintf("%.1f", m.Stall), grouped(m.AtOnce),
			grouped(m.Overlaps), grouped(m.Reorders), grouped(m.Cut), grouped(m.Lost), grouped(m.Doubled), grouped(m.Twice), grouped(m.Asks),
			grouped(int(m.Parked)), grouped(int(m.Dead)),
		})
	}
	align(w, rows)
	r.writeRatios(w)
	r.writeShares(w)
	for _, m := range r.Runs {
		for _, note := range m.Notes {
			fmt.Fprintf(w, "%s, %s: %s\n", m.Scenario, m.System, note)
		}
	}
}

// writeRatios compares the dispatcher with the others of the same scenario.
func (r Report) writeRatios(w io.Writer) {
	rows := [][]string{{"the dispatcher", "rate", "CPU a command", "peak memory"}}
	for _, m := range r.Runs {
		for _, other := range r.Runs {
			if m.System != Dispatcher || other.System == Dispatcher || other.Scenario != m.Scenario {
				continue
			}
			rows = append(rows, []string{
				m.Scenario + " / " + other.System,
				ratio(m.Rate, other.Rate), ratio(m.CPU, other.CPU), ratio(m.Peak, other.Peak),
			})
		}
	}
	if len(rows) > 1 {
		fmt.Fprintln(w)
		align(w, rows)
	}
}

// writeShares tells who used the processors.
func (r Report) writeShares(w io.Writer) {
	names := []string{"system", "broker", "redis", "vendor", "bench", "others"}
	rows := [][]string{append([]string{"cores used", ""}, names...)}
	for _, m := range r.Runs {
		row := []string{m.Scenario, m.System}
		for _, name := range names {
			cores, known := m.Cores[name]
			text := "-"
			if known {
				text = fmt.Sprintf("%.2f", cores)
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(w)
	align(w, rows)
	fmt.Fprintln(w)
	for _, m := range r.Runs {
		var parts []string
		for _, name := range slices.Sorted(keys(m.PerCommand)) {
			parts = append(parts, fmt.Sprintf("%s %.2f", name, m.PerCommand[name]))
		}
		if len(parts) > 0 {
			fmt.Fprintf(w, "%s, %s, for each command: %s\n", m.Scenario, m.System, strings.Join(parts, ", "))
		}
	}
}

func keys(m map[string]float64) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f x", a/b)
}

// align writes rows in columns: the first two to the left, numbers to the right.
func align(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if numeric(rows[1:], i) {
				line.WriteString(pad + cell + "  ")
			} else {
				line.WriteString(cell + pad + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// numeric tells columns whose cells begin with a digit or are a dash.
func numeric(rows [][]string, column int) bool {
	return !slices.ContainsFunc(rows, func(row []string) bool {
		cell := row[column]
		return cell == "" || cell != "-" && (cell[0] < '0' || cell[0] > '9')
	})
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

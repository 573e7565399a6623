package docs

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/bench/report"
	dispatcherapp "paydispatch/cmd/dispatcher/app"
)

const (
	capacityPage = "../../docs/capacity.md"
	benchResults = "../../bench/results/embedded.json"
)

// What the page assumes beside what was measured.
const (
	vendorTakes  = 200 * time.Millisecond
	useOfCores   = 0.6
	coresOfAPod  = 2
	fewestPods   = 3
	commandsKept = 14 * day
	resultsKept  = 28 * day
	replicas     = 3
	day          = 24 * time.Hour
)

// measured is what the page takes from the last run of the bench.
type measured struct {
	machine                                          string
	cpu, quietCPU                                    float64 // µs a command, under full load and at 1,000/s
	own                                              float64 // ms a command takes beside the vendor's time, p50 at 1,000/s
	redisCPU                                         float64 // µs a command
	redisBytes, redisCommands, command, result, peak float64
}

// TestCapacityPage: the tables between the marks are the arithmetic of the last run; 'go test ./test/docs -update'
// rewrites them.
func TestCapacityPage(t *testing.T) {
	t.Parallel()
	m, set := lastRun(t), printed(t, dispatcherapp.Run)
	tables := map[string]string{"measured": m.table(), "rates": m.rates(placesFrom(t, set)), "short": m.memory(2 * day)}
	keep(t, capacityPage, "what the last run gives", tables)
}

// places are the dispatcher's settings that the page counts with.
type places struct {
	pod, lane float64
	lifetime  time.Duration
}

func placesFrom(t *testing.T, set map[string]string) places {
	t.Helper()
	number := func(name string) float64 {
		n, err := strconv.ParseFloat(set[name], 64)
		require.NoError(t, err, name)
		return n
	}
	lifetime, err := time.ParseDuration(set["RECORD_LIFETIME"])
	require.NoError(t, err)
	return places{pod: number("MAX_IN_FLIGHT"), lane: number("IN_FLIGHT"), lifetime: lifetime}
}

func lastRun(t *testing.T) measured {
	t.Helper()
	raw, err := os.ReadFile(benchResults)
	require.NoError(t, err)
	var all report.Report
	require.NoError(t, json.Unmarshal(raw, &all))
	m := measured{machine: all.Machine}
	for _, r := range all.Runs {
		switch r.Scenario + " " + r.System {
		case "drain dispatcher":
			m.cpu, m.peak, m.redisCPU = r.CPU, r.Peak, r.Cores["redis"]/r.Rate*1e6
			m.redisBytes, m.redisCommands = r.PerCommand["redis bytes kept"], r.PerCommand["redis commands"]
			m.command, m.result = r.PerCommand["bytes of command"], r.PerCommand["bytes of result"]
		case "latency dispatcher":
			m.quietCPU, m.own = r.CPU, r.P50
		}
	}
	require.NotContains(t, []float64{m.cpu, m.quietCPU, m.own, m.redisCPU, m.redisBytes, m.command, m.result}, 0.0, "the last run lacks a figure")
	return m
}

func (m measured) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| measured on %s | |\n|---|---|\n", m.machine)
	for _, row := range [][2]string{
		{"the dispatcher's CPU a command, full load (`drain`)", fmt.Sprintf("%.0f µs", m.cpu)},
		{"the same at 1,000/s (`latency`), where batches are small", fmt.Sprintf("%.0f µs", m.quietCPU)},
		{"its memory at 256 calls in flight, peak", fmt.Sprintf("%.0f MB", m.peak)},
		{"time that a command takes beside the vendor's, p50 at 1,000/s", fmt.Sprintf("%.1f ms", m.own)},
		{"Redis: CPU a command", fmt.Sprintf("%.0f µs", m.redisCPU)},
		{"Redis: commands a command, those inside scripts included", fmt.Sprintf("%.0f", m.redisCommands)},
		{"Redis: memory that an order leaves (its record and its requestId)", fmt.Sprintf("%.0f bytes", m.redisBytes)},
		{"Kafka: a command", fmt.Sprintf("%.0f bytes", m.command)},
		{"Kafka: its result", fmt.Sprintf("%.0f bytes", m.result)},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	return b.String()
}

var rates = []float64{100, 10_000, 1_000_000}

// rates is the main table.
func (m measured) rates(p places) string {
	under := func(rate float64) float64 { return rate * (vendorTakes.Seconds() + m.own/1000) }
	cores := func(rate float64) float64 {
		if rate <= 1000 {
			return rate * m.quietCPU / 1e6
		}
		return rate * m.cpu / 1e6
	}
	pods := func(rate float64) float64 {
		return max(math.Ceil(cores(rate)/useOfCores/coresOfAPod), math.Ceil(under(rate)/p.pod), fewestPods)
	}
	partitions := func(rate float64) float64 { return max(math.Ceil(under(rate)/p.lane), pods(rate)) }
	seconds := func(d time.Duration, bytes float64) float64 { return d.Seconds() * bytes }
	return m.lines([]line{
		{"under way at once: rate × (vendor + own time)", func(r float64) string { return count(under(r)) }},
		{"dispatcher: rate × CPU a command", func(r float64) string { return fmt.Sprintf("%s cores", amount(cores(r))) }},
		{"**pods**: cores ÷ 0.6 ÷ 2, under way ÷ " + count(p.pod) + ", at least 3", func(r float64) string { return "**" + count(pods(r)) + "**" }},
		{"**partitions**: under way ÷ " + count(p.lane) + ", at least one a pod", func(r float64) string { return "**" + count(partitions(r)) + "**" }},
		{"Redis: rate × CPU a command", func(r float64) string { return fmt.Sprintf("%s cores", amount(r*m.redisCPU/1e6)) }},
		{"Redis: primaries at 60 % of a core", func(r float64) string { return count(math.Ceil(r * m.redisCPU / 1e6 / useOfCores)) }},
		{"Redis: memory, rate × " + count(p.lifetime.Hours()/24) + " days × bytes an order", func(r float64) string { return size(r * seconds(p.lifetime, m.redisBytes)) }},
		{"Kafka: written, rate × both messages", func(r float64) string { return size(r*(m.command+m.result)) + "/s" }},
		{"Kafka: disk, × 14 and 28 days × 3 replicas", func(r float64) string {
			return size(r * replicas * (seconds(commandsKept, m.command) + seconds(resultsKept, m.result)))
		}},
	})
}

// memory is what remains of Redis' and Kafka's when both are kept for less.
func (m measured) memory(lifetime time.Duration) string {
	return m.lines([]line{
		{"Redis: memory, rate × 2 days × bytes an order", func(r float64) string { return size(r * lifetime.Seconds() * m.redisBytes) }},
		{"Redis: primaries of 25 GB", func(r float64) string { return count(math.Ceil(r * lifetime.Seconds() * m.redisBytes / 25e9)) }},
		{"Kafka: disk, × 1 day × 3 replicas", func(r float64) string { return size(r * replicas * day.Seconds() * (m.command + m.result)) }},
	})
}

type line struct {
	what string
	of   func(rate float64) string
}

func (m measured) lines(all []line) string {
	var b strings.Builder
	b.WriteString("| |")
	for _, r := range rates {
		fmt.Fprintf(&b, " %s/s |", count(r))
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(rates)) + "\n")
	for _, l := range all {
		fmt.Fprintf(&b, "| %s |", l.what)
		for _, r := range rates {
			fmt.Fprintf(&b, " %s |", l.of(r))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// count writes a whole number with commas.
func count(n float64) string {
	digits := fmt.Sprintf("%.0f", math.Ceil(n))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// amount writes two significant digits of a small number, a whole one else.
func amount(n float64) string {
	if n >= 10 {
		return count(n)
	}
	return fmt.Sprintf("%.2g", n)
}

// size writes bytes with a decimal unit.
func size(bytes float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; bytes >= 1000 && i < len(units)-1; i++ {
		bytes /= 1000
	}
	return fmt.Sprintf("%.3g %s", bytes, units[i])
}

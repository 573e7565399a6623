package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() Report {
	return Report{Runs: []Run{
		{
			Scenario: "drain", System: Dispatcher, Commands: 20000, Rate: 4000, CPU: 200, Peak: 60, Doubled: 1,
			Cores: map[string]float64{"system": 0.8}, PerCommand: map[string]float64{"redis reads": 0.5}, Notes: []string{"a note"},
		},
		{Scenario: "drain", System: Pool, Commands: 20000, Rate: 5000, CPU: 100, Peak: 30, Overlaps: 1234},
		{Scenario: "latency", System: Pool, Commands: 10, Paced: true, P50: 1.25, P99: 9.99},
	}}
}

func TestTheTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sample().WriteTable(&out)
	text := out.String()
	lines := strings.Split(text, "\n")
	require.Regexp(t, `^scenario +system +commands +rate/s`, lines[0])
	require.Regexp(t, `^drain +dispatcher +20,000 +4,000 +200 +- +- +60`, lines[1])
	require.Regexp(t, `^drain +pool +20,000 +5,000 +100 .* 1,234 `, lines[2])
	require.Regexp(t, `^latency +pool +10 +0 +0 +1\.2 +10\.0`, lines[3])
	require.Regexp(t, `(?m)^drain / pool +0\.80 x +2\.00 x +2\.00 x$`, text)
	require.NotContains(t, text, "latency / pool", "there is nothing to compare it with")
	require.Contains(t, text, "drain, dispatcher, for each command: redis reads 0.50")
	require.Contains(t, text, "drain, dispatcher: a note")
}

func TestThePlotIsAnImageOfEverySample(t *testing.T) {
	t.Parallel()
	svg := Plot(Run{Scenario: "backlog", System: Dispatcher, Timeline: []Sample{{At: 1, Rate: 100, MB: 40}, {At: 2, Rate: 4321, MB: 61}}})
	lines := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
			require.Len(t, strings.Fields(e.Attr[len(e.Attr)-1].Value), 2)
		}
	}
	require.Equal(t, 2, lines, "rate and memory")
	require.Contains(t, svg, ">6,000<")
}

func TestThousandsAreGrouped(t *testing.T) {
	t.Parallel()
	for n, text := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		require.Equal(t, text, grouped(n))
	}
}

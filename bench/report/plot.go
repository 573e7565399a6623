package report

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// Sizes of the plot in pixels.
const (
	plotWidth   = 900
	panelHeight = 220
	marginLeft  = 80
	marginTop   = 40
	panelGap    = 60
)

// WritePlot draws rate and memory of a run over its time into an SVG file.
func WritePlot(path string, m Run) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(Plot(m)), 0o600)
}

// Plot returns the SVG: the rate above, the memory below, both over the seconds of the run.
func Plot(m Run) string {
	height := marginTop + 2*panelHeight + panelGap + 60
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="14">%s: %s, %s commands</text>`+"\n",
		marginLeft, m.Scenario, m.System, grouped(m.Commands))
	panel(&b, m, marginTop, "results a second", "#1f77b4", func(s Sample) float64 { return s.Rate })
	panel(&b, m, marginTop+panelHeight+panelGap, "memory of the process (RSS), MB", "#d62728", func(s Sample) float64 { return s.MB })
	b.WriteString("</svg>\n")
	return b.String()
}

func panel(b *strings.Builder, m Run, top int, title, colour string, value func(Sample) float64) {
	end, high := 1.0, 0.0
	for _, s := range m.Timeline {
		end, high = max(end, s.At), max(high, value(s))
	}
	high = ceiling(high)
	right := plotWidth - 30
	x := func(at float64) float64 { return marginLeft + at/end*float64(right-marginLeft) }
	y := func(v float64) float64 { return float64(top+panelHeight) - v/high*panelHeight }
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", marginLeft, top-6, colour, title)
	for i := range 5 {
		v := high * float64(i) / 4
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`, marginLeft, y(v), right, y(v))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", marginLeft-6, y(v)+4, grouped(int(v)))
	}
	for i := range 6 {
		at := end * float64(i) / 5
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f s</text>`+"\n", x(at), top+panelHeight+16, at)
	}
	var points []string
	for _, s := range m.Timeline {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x(s.At), y(value(s))))
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", colour, strings.Join(points, " "))
}

// ceiling is the next 1, 2, 4, 5 or 8 times a power of ten that is divided by four evenly enough for an axis.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 4
	}
	scale := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 4, 6, 8} {
		if v <= step*scale {
			return max(step*scale, 4)
		}
	}
	return 10 * scale
}

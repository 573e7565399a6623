package app

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"paydispatch/internal/vendors/catalog"
)

// screen writes for a person: aligned, one line an event where it is no terminal, one moving line where it is.
type screen struct {
	out      io.Writer
	terminal bool
	done     map[string]bool
	frame    int
	moving   bool
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, done: map[string]bool{}}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	return s
}

func (s *screen) line(format string, args ...any) {
	if s.moving {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.moving = false
	}
	fmt.Fprintf(s.out, format+"\n", args...)
}

// style wraps text in an ANSI style on a terminal.
func (s *screen) style(code, text string) string {
	if !s.terminal || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) dim(text string) string  { return s.style("2", text) }
func (s *screen) bold(text string) string { return s.style("1", text) }

func (s *screen) header(w *world, o options) {
	s.line("")
	s.line("  %s  everything in this process, on 127.0.0.1, in memory", s.bold("paydispatch sandbox"))
	s.line("")
	fields := [][2]string{
		{"kafka", w.kafka + "  (kfake)"}, {"redis", w.redis + "  (miniredis)"},
		{"withhold", w.doubles.gatewayURL + "  (a double with a ledger)"},
		{"esign", w.doubles.identityURL + "  (a double)"},
		{"daxpay", w.doubles.allocURL + "  (a double)"},
		{"callbacks", "http://" + w.callbacks},
	}
	if !o.once { // else it is gone with the sandbox
		fields = append(fields, [2]string{"log", w.log.path})
	}
	for _, f := range fields {
		s.line("  %s %s", s.dim(pad(f[0], 10)), f[1])
	}
	s.line("")
}

// progress shows how far the sample is.
func (s *screen) progress(e *events, rows []row, took time.Duration) {
	var waiting []string
	for _, r := range rows {
		seen, _ := e.of(r.keys()...)
		if !r.complete(seen) {
			waiting = append(waiting, r.topic+", "+r.title)
			continue
		}
		if name := r.topic + r.title; !s.done[name] {
			s.done[name] = true
			if !s.terminal {
				s.line("  %5.1fs  %s %s", took.Seconds(), pad(r.topic+", "+r.title, 58), describe(seen))
			}
		}
	}
	if !s.terminal {
		return
	}
	s.frame++
	text := fmt.Sprintf("%d of %d commands done", len(rows)-len(waiting), len(rows))
	if len(waiting) > 0 {
		text += ", waiting for: " + waiting[s.frame/15%len(waiting)]
	} else {
		text += ", waiting whether anything else comes"
	}
	fmt.Fprintf(s.out, "\r\x1b[K  %s %4.1fs  %s", []string{"⠋", "⠙", "⠸", "⠴", "⠦", "⠇"}[s.frame%6], took.Seconds(), text)
	s.moving = true
}

// table shows every row below its topic, and returns those that did not end as promised.
func (s *screen) table(w *world, rows []row, took time.Duration) (failed []string) {
	type cells struct{ topic, title, vendor, events, wrong string }
	all := make([]cells, len(rows))
	widths := []int{len("command"), len("at the vendor"), len("result events")}
	for i, r := range rows {
		seen, _ := w.events.of(r.keys()...)
		slices.SortStableFunc(seen, func(a, b event) int { return letters(a) - letters(b) })
		vendor := w.doubles.tells(r.topic, r.subjects())
		all[i] = cells{r.topic, "  " + r.title, vendor, describe(seen), r.verdict(vendor, seen)}
		for j, cell := range []string{all[i].title, all[i].vendor, all[i].events} {
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	s.line("")
	s.line("  %s  %s  %s", s.bold(pad("command", widths[0])), s.bold(pad("at the vendor", widths[1])), s.bold("result events"))
	s.line("  %s", s.dim(strings.Repeat("─", widths[0]+widths[1]+widths[2]+8)))
	topic := ""
	for _, c := range all {
		if c.topic != topic {
			topic = c.topic
			s.line("  %s", s.bold(topic))
		}
		mark := s.style("32", "ok")
		if c.wrong != "" {
			mark = s.style("31", "NOT AS PROMISED: "+c.wrong)
			failed = append(failed, c.topic+", "+strings.TrimSpace(c.title)+" ("+c.wrong+")")
		}
		s.line("  %s  %s  %s  %s", pad(c.title, widths[0]), pad(c.vendor, widths[1]), pad(c.events, widths[2]), mark)
	}
	s.line("")
	kept := len(rows) - len(failed)
	if n := len(w.doubles.complaints()); n > 0 {
		failed = append(failed, fmt.Sprintf("the vendors refused %d requests as malformed", n))
	}
	s.line("  %d of %d as promised, after %.1f s.", kept, len(rows), took.Seconds())
	return failed
}

// letters puts dead letters behind the results.
func letters(e event) int {
	if e.word == deadLetter {
		return 1
	}
	return 0
}

func (s *screen) hints(w *world) {
	topic := catalog.Withhold().Topic
	lines := []string{
		"go run ./cmd/payctl example " + topic + " | go run ./cmd/payctl send " + topic + " - --wait",
		"go run ./cmd/payctl tail " + catalog.Withhold().ResultTopic,
		"go run ./cmd/payctl --help",
	}
	if w.kafka != "127.0.0.1:9092" || w.redis != "127.0.0.1:6379" {
		lines = append([]string{"export KAFKA_BROKERS=" + w.kafka + " REDIS_ADDRS=" + w.redis}, lines...)
	}
	s.line("  Still serving, until Ctrl-C. From another terminal:")
	s.line("")
	for _, l := range lines {
		s.line("    %s", s.bold(l))
	}
	s.line("")
}

// later shows an event that came after the sample.
func (s *screen) later(w *world, a arrival) {
	text := fmt.Sprintf("  %s  %s  %s", s.dim(a.at.Format("15:04:05")), pad(a.key, 24), pad(describe([]event{a.event}), 24))
	if moves := w.doubles.moves([]string{a.key}); len(moves) > 0 {
		text += "  money moved: " + money(moves)
	}
	s.line("%s", strings.TrimRight(text, " "))
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

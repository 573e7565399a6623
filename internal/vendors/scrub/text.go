package scrub

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxText is how many runes of a vendor's free text are kept (seed 001: message, 250).
	MaxText = 250
	// minRun is the shortest run of digits that is taken for personal: mobile numbers have 11.
	minRun = 11
	mask   = "***"
)

// Text makes a vendor's free text fit for results and logs: what the caller knows to be personal and any run of 11 or
// more digits (with single spaces or dashes between them, and a closing X as identity numbers have) become "***",
// control characters become spaces, and at most 250 runes stay. It errs on masking too much.
func Text(text string, known ...string) string {
	text = without(printable(text), known)
	if len(text) <= MaxText && digitsIn(text) < minRun { // as most are
		return strings.TrimSpace(text)
	}
	return shorten(maskRuns([]rune(text)))
}

// printable removes what a reader does not see but a terminal or a parser acts on: invalid UTF-8 becomes U+FFFD,
// control characters (C0, C1, DEL) and separators of lines become spaces, and formatting characters (direction marks,
// overrides and isolates, joiners of no width) go.
func printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return text
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
}

// without masks what is known to be personal. A single character would shred the text without protecting anyone, and
// what is masked already needs no more.
func without(text string, known []string) string {
	for _, k := range known {
		if k = printable(k); utf8.RuneCountInString(k) > 1 && !strings.Contains(k, "*") {
			text = strings.ReplaceAll(text, k, mask)
		}
	}
	return text
}

func digitsIn(text string) (n int) {
	for _, r := range text {
		if unicode.IsDigit(r) {
			n++
		}
	}
	return n
}

func maskRuns(in []rune) []rune {
	return replaceRuns(in, func(_ rune, _ []rune, digits int, _ rune) bool { return digits >= minRun })
}

// replaceRuns masks the runs of digits that personal says it of. It is given the rune before the run, the run, its
// number of digits, and the rune behind it (0 for none).
func replaceRuns(in []rune, personal func(before rune, found []rune, digits int, behind rune) bool) []rune {
	out := make([]rune, 0, len(in))
	for i := 0; i < len(in); {
		end, digits := run(in[i:])
		if end == 0 {
			out = append(out, in[i])
			i++
			continue
		}
		var before, behind rune
		if i > 0 {
			before = in[i-1]
		}
		if i+end < len(in) {
			behind = in[i+end]
		}
		if personal(before, in[i:i+end], digits, behind) {
			out = append(out, []rune(mask)...)
		} else {
			out = append(out, in[i:i+end]...)
		}
		i += end
	}
	return out
}

// run returns the length of the run of digits that in begins with, separators inside included, and its digits.
func run(in []rune) (length, digits int) {
	for i, r := range in {
		switch {
		case unicode.IsDigit(r):
			digits++
			length = i + 1
		case (r == 'X' || r == 'x') && digits >= minRun && length == i:
			return i + 1, digits
		case (r == ' ' || r == '-') && digits > 0 && length == i:
			// Belongs to the run only if a digit follows.
		default:
			return length, digits
		}
	}
	return length, digits
}

func shorten(in []rune) string {
	if len(in) > MaxText {
		in = append(in[:MaxText-1:MaxText-1], '…')
	}
	return strings.TrimSpace(string(in))
}

package wire

import (
	"strings"
	"unicode"
)

const (
	// MaxText is how many runes of a vendor's free text are kept (seed 001: message, 250).
	MaxText = 250
	// minRun is the shortest run of digits that is taken for personal: mobile numbers have 11.
	minRun = 11
	mask   = "***"
)

// Scrub makes a vendor's free text fit for results and logs: what the caller knows to be personal and any run of 11 or
// more digits (with single spaces or dashes between them, and a closing X as identity numbers have) become "***",
// control characters become spaces, and at most 250 runes stay. It errs on masking too much.
func Scrub(text string, known ...string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	for _, k := range known {
		// A single character would shred the text without protecting anyone.
		if len(k) > 1 {
			text = strings.ReplaceAll(text, k, mask)
		}
	}
	// Before the runs are looked for: a tab is a separator too.
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return shorten(maskRuns([]rune(text)))
}

func maskRuns(in []rune) []rune {
	out := make([]rune, 0, len(in))
	for i := 0; i < len(in); {
		end, digits := run(in[i:])
		switch {
		case digits >= minRun:
			out = append(out, []rune(mask)...)
			i += end
		case end > 0:
			out = append(out, in[i:i+end]...)
			i += end
		default:
			out = append(out, in[i])
			i++
		}
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

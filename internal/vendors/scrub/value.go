package scrub

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// minInside is the shortest personal value, in bytes, that is looked for inside of other values, and minDigitsInside
// the shortest that consists of digits: a texted code of six digits stands in a long number by chance.
const (
	minInside       = 4
	minDigitsInside = minRun
)

// Bound returns a vendor's value in at most 250 readable characters. It masks nothing: for values that an adapter
// judges otherwise, and for those that a setting wants shown.
func Bound(in string) string { return bound(printable(in)) }

// value makes a vendor's value fit for results. What reads like an identifier, an amount or a time keeps every
// character, since such values are compared later, unless it is or holds a personal value or number. Anything else is
// free text.
func value(in string, known []string) string {
	if plain(in) && longestRun(in) < minRun && !personalIn(in, known) {
		return in
	}
	in = printable(in)
	if !identifier(in) {
		return Text(in, known...)
	}
	if personalIn(in, known) {
		return mask
	}
	// Cut before and after: what is cut off may have been what made a number longer than a card's.
	return maskNumbers(cut(maskNumbers(in)))
}

// plain reports whether a text consists of identifier characters and is not too long: then it needs no change of its
// own.
func plain(in string) bool { return len(in) <= MaxText && identifier(in) }

// identifier reports whether a text may be an identifier, an amount, a time or a word, alone or listed: printable ASCII
// without quotes, brackets and the like, and no prose.
func identifier(in string) bool {
	letters, spaces := false, false
	for i := range len(in) {
		switch c := in[i]; {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letters = true
		case c == ' ':
			spaces = true
		case c >= '0' && c <= '9' || strings.IndexByte("._:/+=@~,#|-*", c) >= 0:
		default:
			return false
		}
	}
	return !(letters && spaces) && strings.TrimSpace(in) == in
}

// longestRun is the longest run of digits, single separators inside or not.
func longestRun(in string) int {
	longest, digits := 0, 0
	for i := range len(in) {
		switch c := in[i]; {
		case c >= '0' && c <= '9':
			digits++
			longest = max(longest, digits)
		case c == ' ' || c == '-':
		default:
			digits = 0
		}
	}
	return longest
}

// personalIn reports whether a value is, or holds, one that is known to be personal.
func personalIn(in string, known []string) bool {
	for _, k := range known {
		if len(k) > 1 && (in == k || len(k) >= inside(k) && strings.Contains(in, k)) {
			return true
		}
	}
	return false
}

func inside(k string) int {
	for i := range len(k) {
		if k[i] < '0' || k[i] > '9' {
			return minInside
		}
	}
	return minDigitsInside
}

// bound shortens a printable text whose every character is wanted.
func bound(in string) string {
	if identifier(in) {
		return cut(in)
	}
	return shorten([]rune(in))
}

// cut bounds an identifier. A digest of the whole stands at the end, so that two long ones that begin alike still
// differ; it has digits only, so that what it stands in reads as it did.
func cut(in string) string {
	if len(in) <= MaxText {
		return in
	}
	sum := sha256.Sum256([]byte(in))
	digest := fmt.Sprintf("~%020d%020d", binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16]))
	return in[:MaxText-len(digest)] + digest
}

// maskNumbers masks card, identity and mobile numbers that stand alone: no letter and no digit touches them.
func maskNumbers(in string) string {
	if longestRun(in) < minRun {
		return in
	}
	return string(replaceRuns([]rune(in), func(before rune, found []rune, _ int, behind rune) bool {
		if letter(before) || letter(behind) {
			return false
		}
		return personalNumber(strings.NewReplacer(" ", "", "-", "").Replace(string(found)))
	}))
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func personalNumber(number string) bool {
	return isMobile(number) || isIdentity(number) || isCard(number)
}

// isMobile: 11 digits that begin with 13 to 19.
func isMobile(n string) bool { return len(n) == 11 && digitsOnly(n) && n[0] == '1' && n[1] >= '3' }

// isIdentity: a Chinese identity number of 18 characters, with a date of birth and a fitting check character (GB
// 11643).
func isIdentity(n string) bool {
	if len(n) != 18 || !digitsOnly(n[:17]) || n[0] == '0' || n[0] == '9' && n[1] != '1' {
		return false
	}
	born, err := time.Parse("20060102", n[6:14])
	if err != nil || born.Year() < 1900 || born.Year() > 2099 {
		return false
	}
	weights := [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, w := range weights {
		sum += w * int(n[i]-'0')
	}
	return "10X98765432"[sum%11] == strings.ToUpper(n[17:])[0]
}

// isCard: a number of the length and the beginning of payment cards whose check digit fits (ISO/IEC 7812).
func isCard(n string) bool {
	return len(n) >= 13 && len(n) <= 19 && digitsOnly(n) && cardLike(n) && luhn(n)
}

// cardLike: the major networks' numbers begin with 3 to 6. Longer than 17 digits only UnionPay's are, while orders are
// numbered that long by many.
func cardLike(n string) bool {
	return n[0] >= '3' && n[0] <= '6' && (len(n) <= 17 || n[:2] == "62")
}

func luhn(n string) bool {
	sum := 0
	for i := range len(n) {
		d := int(n[len(n)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

func digitsOnly(n string) bool {
	for i := range len(n) {
		if n[i] < '0' || n[i] > '9' {
			return false
		}
	}
	return true
}

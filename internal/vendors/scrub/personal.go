package scrub

import (
	"cmp"
	"slices"
	"strings"

	"paydispatch/internal/commands"
	"paydispatch/internal/jsonobject"
)

// Personal returns the values of a command that its results do not repeat, the longest first: all of its texts but
// those that it carries.
func Personal(c commands.Command) []string {
	known := make([]string, 0, 8)
	eachText(string(c.Body), func(name, text string) {
		if name != "requestId" && name != "account" && c.Carry[name] == "" && text != string(c.Key) {
			known = append(known, text)
		}
	})
	// A name that stands inside an address must not keep the address from being found.
	slices.SortFunc(known, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return known
}

// eachText visits the strings of a command's body with the names of its own fields, "" for what stands deeper. Each
// reply needs them, and the body was read whole before, so nothing is built here: they are parts of the body.
func eachText(body string, visit func(name, text string)) {
	name, depth := "", 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := stringEnd(body, i)
			token := body[i:end]
			i = end - 1
			if isMember(body, end) {
				if name = ""; depth == 1 {
					name = token[1 : len(token)-1]
				}
			} else if text, ok := textOf(token); ok {
				visit(name, text)
			}
		}
	}
}

// textOf returns what a string of a command says.
func textOf(token string) (string, bool) {
	if len(token) >= 2 && strings.IndexByte(token, '\\') < 0 {
		return token[1 : len(token)-1], true
	}
	return jsonobject.Text([]byte(token))
}

// stringEnd returns the index behind the string that begins at i.
func stringEnd(body string, i int) int {
	for i++; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(body)
}

// isMember reports whether a colon follows.
func isMember(body string, i int) bool {
	for i < len(body) && (body[i] == ' ' || body[i] == '\t' || body[i] == '\r' || body[i] == '\n') {
		i++
	}
	return i < len(body) && body[i] == ':'
}

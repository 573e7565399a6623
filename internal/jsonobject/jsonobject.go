// Package jsonobject reads one JSON object into its values as they were sent, without reflection: commands and vendor
// replies are read several times on their way, and each must be read to the letter.
//
// It refuses what two readers could read in two ways: anything around the object, and a name that stands twice. Its
// errors hold nothing of the input, which may be personal.
//
// Its caller must not change the input while it uses what was read: values are parts of it, not copies.
package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// What can be wrong with a text that should be one JSON object.
var (
	ErrNotObject = errors.New("not one JSON object")
	ErrTwice     = errors.New("a name stands twice")
)

// Read returns the values of the one object that raw holds, by their exact names (encoding/json's structs would match
// names in any case). Its errors are ErrNotObject and ErrTwice.
func Read(raw []byte) (map[string]json.RawMessage, error) {
	i, err := open(raw)
	if err != nil {
		return nil, err
	}
	// About as many as there are names, but no more memory than a stranger's text is worth.
	fields := make(map[string]json.RawMessage, min(bytes.Count(raw, []byte(`":`)), 32))
	for raw[i] != '}' {
		var m Member
		m, i = member(raw, i)
		if _, twice := fields[m.Name]; twice {
			return nil, ErrTwice
		}
		fields[m.Name] = m.Value
	}
	return fields, nil
}

// Member is one member of an object.
type Member struct {
	Name string
	// Raw is the whole member as it was written: name, colon and value. Value is a part of it.
	Raw, Value json.RawMessage
}

// Members returns the members of the one object that raw holds, in their order. Its errors are those of Read.
func Members(raw []byte) ([]Member, error) {
	i, err := open(raw)
	if err != nil {
		return nil, err
	}
	var members []Member
	names := map[string]bool{}
	for raw[i] != '}' {
		var m Member
		m, i = member(raw, i)
		if names[m.Name] {
			return nil, ErrTwice
		}
		names[m.Name] = true
		members = append(members, m)
	}
	return members, nil
}

// open returns where the first member of the one object begins that raw holds, or its end.
func open(raw []byte) (int, error) {
	if !json.Valid(raw) {
		return 0, ErrNotObject
	}
	i := space(raw, 0)
	if raw[i] != '{' {
		return 0, ErrNotObject
	}
	return space(raw, i+1), nil
}

// member reads the member that begins at i, and returns where the next one begins, or the object's end.
func member(raw []byte, i int) (m Member, next int) {
	begin, end := i, stringEnd(raw, i)
	m.Name, _ = Text(raw[begin:end])
	i = space(raw, end) // the colon
	i = space(raw, i+1) // the value
	end = valueEnd(raw, i)
	m.Raw, m.Value = raw[begin:end:end], raw[i:end:end]
	if next = space(raw, end); raw[next] == ',' {
		next = space(raw, next+1)
	}
	return m, next
}

// Repeated returns the first name that stands twice in one object, at any depth. raw must be one valid JSON value.
func Repeated(raw []byte) (name string, found bool) {
	var open []map[string]bool // the names seen in each open object; nil for an array
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{':
			open = append(open, map[string]bool{})
		case '[':
			open = append(open, nil)
		case '}', ']':
			open = open[:len(open)-1]
		case '"':
			end := stringEnd(raw, i)
			if len(open) > 0 && open[len(open)-1] != nil && isName(raw, end) {
				name, _ = Text(raw[i:end])
				names := open[len(open)-1]
				if names[name] {
					return name, true
				}
				names[name] = true
			}
			i = end - 1
		}
	}
	return "", false
}

// isName reports whether a colon follows the string that ends before i.
func isName(raw []byte, i int) bool {
	i = space(raw, i)
	return i < len(raw) && raw[i] == ':'
}

// Text returns what a JSON string says; false for any other value, and for what is not one valid JSON value.
func Text(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if Plain(raw) {
		return string(raw[1 : len(raw)-1]), true
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

// Plain reports whether a valid JSON value is a string that means its own bytes.
func Plain(raw json.RawMessage) bool {
	return len(raw) >= 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw)
}

// space returns the index of the next byte that is none.
func space(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\n' || raw[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index behind the string that begins at i.
func stringEnd(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd returns the index behind the value that begins at i.
func valueEnd(raw []byte, i int) int {
	for depth := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = stringEnd(raw, i) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // the object's own end: behind a number or a word
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

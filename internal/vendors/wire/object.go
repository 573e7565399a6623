package wire

import (
	"encoding/json"
	"errors"
)

// What can be wrong with a text that should be one JSON object. The texts are ours, since those of encoding/json quote
// the input.
var (
	ErrNotObject = errors.New("not one JSON object")
	ErrTwice     = errors.New("a name stands twice")
)

// Object reads one JSON object and nothing else: its values by their exact names (encoding/json's structs would match
// names in any case), each as it was sent. A name that stands twice is refused: which one counts is a matter of the
// reader, and ours and the vendor's might differ.
func Object(raw []byte) (map[string]json.RawMessage, error) {
	var out map[string]json.RawMessage
	if json.Unmarshal(raw, &out) != nil || out == nil {
		return nil, ErrNotObject
	}
	if members(raw) != len(out) {
		return nil, ErrTwice
	}
	return out, nil
}

// members counts those of a valid JSON object: the colons outside of strings and of nested values.
func members(raw []byte) int {
	n, depth := 0, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ':':
			if depth == 1 {
				n++
			}
		case '"':
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		}
	}
	return n
}

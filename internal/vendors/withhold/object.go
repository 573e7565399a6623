package withhold

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// member is one member of a JSON object with its tokens as they were sent.
type member struct {
	key      string
	rawKey   []byte
	rawValue json.RawMessage
}

// object are an object's values by their exact names: encoding/json's structs would match names in any case.
type object map[string]json.RawMessage

var (
	errNotObject = errors.New("not a JSON object")
	errTwice     = errors.New("a name stands twice")
	errTrailing  = errors.New("something follows the JSON object")
)

// readObject reads one JSON object and nothing else. A name that stands twice is refused: which one counts is a matter
// of the reader, and ours and the vendor's might differ.
func readObject(raw []byte) (object, error) {
	members, err := readMembers(raw)
	if err != nil {
		return nil, err
	}
	out := make(object, len(members))
	for _, m := range members {
		out[m.key] = m.rawValue
	}
	return out, nil
}

// readMembers reads an object's members in the order in which they stand. Errors are texts of ours, since those of
// encoding/json quote the input.
func readMembers(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	var out []member
	seen := map[string]bool{}
	for dec.More() {
		start := dec.InputOffset()
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotObject
		}
		if seen[key] {
			return nil, errTwice
		}
		seen[key] = true
		m := member{key: key, rawKey: bytes.TrimLeft(raw[start:dec.InputOffset()], ", \t\r\n")}
		if err := dec.Decode(&m.rawValue); err != nil {
			return nil, errNotObject
		}
		out = append(out, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return out, nil
}

// scalar returns a value as text: a string's content, a number's or boolean's token, "" for null and for what PHP
// writes for "nothing" ([] and {}). Anything else is not scalar.
func scalar(raw json.RawMessage) (string, bool) {
	switch text := strings.TrimSpace(string(raw)); {
	case text == "" || text == "null" || text == "[]" || text == "{}":
		return "", true
	case text[0] == '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return "", false
		}
		return s, true
	case text[0] == '[' || text[0] == '{':
		return "", false
	default:
		return text, true
	}
}

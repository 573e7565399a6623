package withhold

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"paydispatch/internal/vendors/wire"
)

// member is one member of a JSON object with its tokens as they were sent.
type member struct {
	key      string
	rawKey   []byte
	rawValue json.RawMessage
}

// object are an object's values by their exact names: encoding/json's structs would match names in any case.
type object map[string]json.RawMessage

// readMembers reads an object's members in the order in which they stand.
func readMembers(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, wire.ErrNotObject
	}
	var out []member
	seen := map[string]bool{}
	for dec.More() {
		start := dec.InputOffset()
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, wire.ErrNotObject
		}
		if seen[key] {
			return nil, wire.ErrTwice
		}
		seen[key] = true
		m := member{key: key, rawKey: bytes.TrimLeft(raw[start:dec.InputOffset()], ", \t\r\n")}
		if err := dec.Decode(&m.rawValue); err != nil {
			return nil, wire.ErrNotObject
		}
		out = append(out, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, wire.ErrNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, wire.ErrNotObject
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

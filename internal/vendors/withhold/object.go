package withhold

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"paydispatch/internal/jsonobject"
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
		return nil, jsonobject.ErrNotObject
	}
	var out []member
	seen := map[string]bool{}
	for dec.More() {
		start := dec.InputOffset()
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, jsonobject.ErrNotObject
		}
		if seen[key] {
			return nil, jsonobject.ErrTwice
		}
		seen[key] = true
		m := member{key: key, rawKey: bytes.TrimLeft(raw[start:dec.InputOffset()], ", \t\r\n")}
		if err := dec.Decode(&m.rawValue); err != nil {
			return nil, jsonobject.ErrNotObject
		}
		out = append(out, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, jsonobject.ErrNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, jsonobject.ErrNotObject
	}
	return out, nil
}

// scalar returns a value as text: a string's content, a number's or boolean's token, "" for null and for what PHP
// writes for "nothing" ([] and {}). Anything else is not scalar.
func scalar(raw json.RawMessage) (string, bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "", true
	}
	switch raw[0] {
	case '"':
		return jsonobject.Text(raw)
	case '[', '{':
		return "", len(raw) == 2
	}
	if text := string(raw); text != "null" {
		return text, true
	}
	return "", true
}

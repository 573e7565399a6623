package esign

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// object are a JSON object's values by their exact names: encoding/json's structs would match names in any case.
type object map[string]json.RawMessage

var (
	errNotObject = errors.New("not a JSON object")
	errTwice     = errors.New("a name stands twice")
	errTrailing  = errors.New("something follows the JSON object")
)

// readObject reads one JSON object and nothing else. A name that stands twice is refused: which one counts is a matter
// of the reader, and ours and the vendor's might differ. Errors are texts of ours, since those of encoding/json quote
// the input.
func readObject(raw []byte) (object, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	out := object{}
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotObject
		}
		if _, twice := out[key]; twice {
			return nil, errTwice
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNotObject
		}
		out[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return out, nil
}

// text returns a member as text: a string's content, a number's or boolean's token. Absent, null and the literal string
// "null", which the vendor writes for nothing, are no text. Objects and arrays are not readable.
func (o object) text(name string) (text string, there, readable bool) {
	raw := strings.TrimSpace(string(o[name]))
	switch {
	case raw == "" || raw == "null" || raw == `"null"`:
		return "", false, true
	case raw[0] == '[' || raw[0] == '{':
		return "", false, false
	case raw[0] != '"':
		return raw, true, true
	}
	if json.Unmarshal([]byte(raw), &text) != nil {
		return "", false, false
	}
	return text, true, true
}

// word is the text of a member, "" if there is none or it is not readable.
func (o object) word(name string) string {
	text, _, _ := o.text(name)
	return text
}

package daxpay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// object are a JSON object's values by their exact names, each as it was sent: encoding/json's structs would match
// names in any case, and signatures need the tokens.
type object map[string]json.RawMessage

var (
	errNotObject = errors.New("not a JSON object")
	errTwice     = errors.New("a name stands twice")
	errTrailing  = errors.New("something follows the JSON object")
)

// readObject reads one JSON object and nothing else. A name that stands twice, in whatever case, is refused: the server
// signs from maps that ignore case, so which of the two was signed is anyone's guess. Errors are texts of ours, since
// those of encoding/json quote the input.
func readObject(raw []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	out, seen := object{}, map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotObject
		}
		folded := strings.ToLower(name)
		if seen[folded] {
			return nil, errTwice
		}
		seen[folded] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNotObject
		}
		out[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return out, nil
}

// kinds of a JSON value, by its first byte.
const (
	isString = '"'
	isList   = '['
	isObject = '{'
	isNull   = 'n'
)

// kindOf returns the first byte of a value that encoding/json has accepted; an absent value is null.
func kindOf(raw json.RawMessage) byte {
	if len(raw) == 0 {
		return isNull
	}
	return raw[0]
}

// scalar returns a value as text: a string's content, a number's or boolean's token, "" for null. Lists and objects are
// not scalar.
func scalar(raw json.RawMessage) (string, bool) {
	switch kindOf(raw) {
	case isNull:
		return "", true
	case isString:
		var text string
		return text, json.Unmarshal(raw, &text) == nil
	case isList, isObject:
		return "", false
	}
	return string(raw), true
}

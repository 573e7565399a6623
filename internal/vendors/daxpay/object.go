package daxpay

import (
	"encoding/json"
	"strings"

	"paydispatch/internal/jsonobject"
)

// object are a JSON object's values by their exact names, each as it was sent: encoding/json's structs would match
// names in any case, and signatures need the tokens.
type object map[string]json.RawMessage

// readObject reads one JSON object and nothing else. A name that stands twice, in whatever case, is refused: the server
// signs from maps that ignore case, so which of the two was signed is anyone's guess.
func readObject(raw []byte) (object, error) {
	out, err := jsonobject.Read(raw)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(out))
	for name := range out {
		folded := strings.ToLower(name)
		if seen[folded] {
			return nil, jsonobject.ErrTwice
		}
		seen[folded] = true
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
		return jsonobject.Text(raw)
	case isList, isObject:
		return "", false
	}
	return string(raw), true
}

package esign

import (
	"bytes"
	"encoding/json"
	"strings"

	"paydispatch/internal/jsonobject"
)

// object are a JSON object's values by their exact names: encoding/json's structs would match names in any case.
type object map[string]json.RawMessage

// readObject reads one JSON object, with or without a byte order mark.
func readObject(raw []byte) (object, error) {
	return jsonobject.Read(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
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
	if text, readable = jsonobject.Text([]byte(raw)); !readable {
		return "", false, false
	}
	return text, true, true
}

// word is the text of a member, "" if there is none or it is not readable.
func (o object) word(name string) string {
	text, _, _ := o.text(name)
	return text
}

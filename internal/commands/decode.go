package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// Decode reads the value of a command message that its JSON Schema has accepted. It fails on what a schema cannot see:
// repeated fields, text after the object, an empty key.
func Decode(spec Spec, ring Keyring, value []byte) (Command, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(value, &fields); err != nil || fields == nil {
		return Command{}, errors.New("not one JSON object")
	}
	if err := uniqueNames(value); err != nil {
		return Command{}, err
	}
	c := Command{Topic: spec.Topic, Body: value, Carry: make(map[string]string, len(spec.CarryFields))}
	requestID, err := text(fields, "requestId", true)
	if err != nil {
		return Command{}, err
	}
	key, err := text(fields, spec.KeyField, true)
	if err != nil {
		return Command{}, err
	}
	if c.Account, err = text(fields, "account", false); err != nil {
		return Command{}, err
	}
	c.RequestID, c.Key = RequestID(requestID), OperationKey(key)
	for _, name := range spec.CarryFields {
		v, err := text(fields, name, false)
		if err != nil {
			return Command{}, err
		}
		if v != "" {
			c.Carry[name] = v
		}
	}
	content, err := canonical(spec.Topic, fields)
	if err != nil {
		return Command{}, err
	}
	c.Fingerprints = ring.Fingerprints(content)
	return c, nil
}

// Glimpse reads what can be read of a command that may be invalid, so that its rejection can name it.
func Glimpse(spec Spec, value []byte) (RequestID, OperationKey) {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(value, &fields) != nil {
		return "", ""
	}
	return RequestID(glimpsed(fields["requestId"])), OperationKey(glimpsed(fields[spec.KeyField]))
}

// glimpsed returns a short string value, "" for anything else: an invalid command's field is repeated in a result only
// when it looks like an identifier.
func glimpsed(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil || len(s) > 128 {
		return ""
	}
	return s
}

// text returns a field that must be a string, "" when it is absent.
func text(fields map[string]json.RawMessage, name string, must bool) (string, error) {
	raw, ok := fields[name]
	var s string
	if ok {
		if plain(raw) {
			s = string(raw[1 : len(raw)-1])
		} else if err := json.Unmarshal(raw, &s); err != nil {
			return "", fmt.Errorf("field %s: must be a string", name)
		}
	}
	if must && s == "" {
		return "", fmt.Errorf("field %s: is missing or empty", name)
	}
	return s, nil
}

// plain reports whether a JSON value is a string that means its own bytes.
func plain(raw json.RawMessage) bool {
	return len(raw) >= 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw)
}

// canonical is the content that a fingerprint covers: the topic and every field but requestId, names sorted at all
// levels, strings written in one way.
func canonical(topic string, fields map[string]json.RawMessage) ([]byte, error) {
	content := make([]byte, 0, 512)
	content = append(append(content, topic...), '\n', '{')
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "requestId" {
			continue
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, errors.New("content cannot be encoded")
		}
		content = append(append(content, quoted...), ':')
		raw := []byte(fields[name])
		if !plain(raw) {
			if raw, err = normal(raw); err != nil {
				return nil, err
			}
		}
		content = append(append(content, raw...), ',')
	}
	return append(content, '}'), nil
}

// normal writes a value the way in which every equal value is written: names sorted, strings unescaped where that is
// possible, numbers as they stand.
func normal(raw []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errors.New("not one JSON object")
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, errors.New("content cannot be encoded")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// uniqueNames refuses what two readers could read in two ways: an object, at any depth, with a repeated field. value is
// valid JSON.
func uniqueNames(value []byte) error {
	var open []map[string]bool // the names seen in each open object; nil for an array
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '{':
			open = append(open, map[string]bool{})
		case '[':
			open = append(open, nil)
		case '}', ']':
			open = open[:len(open)-1]
		case '"':
			end := stringEnd(value, i)
			if names := open[len(open)-1]; names != nil && isName(value, end) {
				name, err := unquote(value[i:end])
				if err != nil {
					return err
				}
				if names[name] {
					return fmt.Errorf("field %.64s: stands there twice", name)
				}
				names[name] = true
			}
			i = end - 1
		}
	}
	return nil
}

// stringEnd returns the index after the string that begins at i.
func stringEnd(value []byte, i int) int {
	for i++; value[i] != '"'; i++ {
		if value[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// isName reports whether a colon follows.
func isName(value []byte, i int) bool {
	for ; i < len(value); i++ {
		switch value[i] {
		case ' ', '\t', '\r', '\n':
		default:
			return value[i] == ':'
		}
	}
	return false
}

func unquote(raw []byte) (string, error) {
	if plain(raw) {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errors.New("not one JSON object")
	}
	return s, nil
}

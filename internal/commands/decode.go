package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"paydispatch/internal/jsonobject"
)

// Decode reads the value of a command message that its JSON Schema has accepted. It fails on what a schema cannot see:
// repeated fields, text after the object, an empty key.
func Decode(spec Spec, ring Keyring, value []byte) (Command, error) {
	fields, err := members(value)
	if err != nil {
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

// members reads a command's fields; no object in it, at any depth, may name one twice.
func members(value []byte) (map[string]json.RawMessage, error) {
	fields, err := jsonobject.Read(value)
	if errors.Is(err, jsonobject.ErrTwice) {
		name, _ := jsonobject.Repeated(value)
		return nil, twice(name)
	}
	if err != nil {
		return nil, err
	}
	for _, raw := range fields {
		if raw[0] != '{' && raw[0] != '[' {
			continue
		}
		if name, found := jsonobject.Repeated(raw); found {
			return nil, twice(name)
		}
	}
	return fields, nil
}

func twice(name string) error { return fmt.Errorf("field %.64s: stands there twice", name) }

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
	if s, ok := jsonobject.Text(raw); ok && len(s) <= 128 {
		return s
	}
	return ""
}

// text returns a field that must be a string, "" when it is absent.
func text(fields map[string]json.RawMessage, name string, must bool) (string, error) {
	raw, ok := fields[name]
	var s string
	if ok {
		if s, ok = jsonobject.Text(raw); !ok {
			return "", fmt.Errorf("field %s: must be a string", name)
		}
	}
	if must && s == "" {
		return "", fmt.Errorf("field %s: is missing or empty", name)
	}
	return s, nil
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
		if !jsonobject.Plain(raw) {
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

package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Decode reads the value of a command message that its JSON Schema has accepted. It fails on what a schema cannot see:
// repeated fields, text after the object, an empty key.
func Decode(spec Spec, ring Keyring, value []byte) (Command, error) {
	if err := strictObject(value); err != nil {
		return Command{}, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(value, &fields); err != nil {
		return Command{}, errors.New("not a JSON object")
	}
	c := Command{Topic: spec.Topic, Body: value, Carry: map[string]string{}}
	var requestID, key string
	for _, f := range []struct {
		name string
		into *string
		must bool
	}{{"requestId", &requestID, true}, {spec.KeyField, &key, true}, {"account", &c.Account, false}} {
		if err := text(fields, f.name, f.into, f.must); err != nil {
			return Command{}, err
		}
	}
	c.RequestID, c.Key = RequestID(requestID), OperationKey(key)
	for _, name := range spec.CarryFields {
		var v string
		if err := text(fields, name, &v, false); err != nil {
			return Command{}, err
		}
		if v != "" {
			c.Carry[name] = v
		}
	}
	content, err := canonical(spec.Topic, value)
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

func text(fields map[string]json.RawMessage, name string, into *string, must bool) error {
	raw, ok := fields[name]
	if ok {
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("field %s: must be a string", name)
		}
	}
	if must && *into == "" {
		return fmt.Errorf("field %s: is missing or empty", name)
	}
	return nil
}

// canonical is the content that a fingerprint covers: the topic and every field but requestId, keys sorted at all levels.
func canonical(topic string, value []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var fields map[string]any
	if err := d.Decode(&fields); err != nil {
		return nil, errors.New("not a JSON object")
	}
	delete(fields, "requestId")
	content, err := json.Marshal(fields)
	if err != nil {
		return nil, errors.New("content cannot be encoded")
	}
	return append([]byte(topic+"\n"), content...), nil
}

// strictObject refuses what two readers could read in two ways: an object with a repeated field, and text behind it.
func strictObject(value []byte) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	if err := uniqueFields(d); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the JSON object")
	}
	return nil
}

// uniqueFields walks an object whose opening brace has been read.
func uniqueFields(d *json.Decoder) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return errors.New("not a JSON object")
		}
		name, _ := t.(string)
		if seen[name] {
			return fmt.Errorf("field %.64s: stands there twice", name)
		}
		seen[name] = true
		if err := uniqueValue(d); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func uniqueValue(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return errors.New("not a JSON object")
	}
	switch t {
	case json.Delim('{'):
		return uniqueFields(d)
	case json.Delim('['):
		for d.More() {
			if err := uniqueValue(d); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	}
	return nil
}

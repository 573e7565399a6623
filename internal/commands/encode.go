package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Encode returns the state as JSON: what encoding/json writes of it, without its reflection, since each command stores
// its state three times; and at the end what a newer version added, as it stood.
func (s *State) Encode() ([]byte, error) {
	e := encoder{out: make([]byte, 0, s.size())}
	e.count("v", stateSchema)
	e.phase(s.Phase)
	e.text("topic", s.Topic)
	e.text("key", string(s.Key))
	e.text("request", string(s.RequestID))
	e.filled("account", s.Account)
	e.text("fp", s.Fingerprint)
	e.texts("carry", s.Carry)
	e.filled("trace", s.Trace)
	e.time("first", s.FirstSeen)
	e.count("sends", s.Sends)
	e.since("sent", s.SentAt)
	e.since("notBefore", s.NotBefore)
	e.filled("owner", s.Owner)
	e.since("lease", s.Lease)
	e.count("tries", s.Tries)
	e.count("parks", s.Parks)
	if s.Refusal != nil {
		e.value("refusal", s.Refusal)
		e.carry(s.Refusal.unknown)
	}
	e.texts("seen", s.Seen)
	e.filled("told", s.Told)
	e.count("changes", s.Changes)
	e.count("verdict", int(s.Verdict))
	e.result(s.Result)
	return append(append(e.out, s.unknown...), '}'), e.err
}

// size is what most states need, so that their encoding need not grow.
func (s *State) size() int {
	if s.Result == nil {
		return 640 + len(s.unknown)
	}
	return 1024 + len(s.Result.Data) + len(s.unknown)
}

// encoder writes the members of one JSON object; the first error stays.
type encoder struct {
	out []byte
	err error
}

// name begins a member.
func (e *encoder) name(name string) {
	begin := byte(',')
	if len(e.out) == 0 || e.out[len(e.out)-1] == ':' { // the object's first, or an inner object's
		begin = '{'
	}
	e.out = append(append(append(e.out, begin, '"'), name...), '"', ':')
}

// value leaves a rare member to encoding/json.
func (e *encoder) value(name string, value any) {
	encoded, err := json.Marshal(value)
	e.fail(err)
	e.name(name)
	e.out = append(e.out, encoded...)
}

// carry adds what a newer version wrote to the inner object that was written last.
func (e *encoder) carry(unknown []byte) {
	if len(unknown) > 0 {
		e.out = append(append(e.out[:len(e.out)-1], unknown...), '}')
	}
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

func (e *encoder) text(name, value string) {
	e.name(name)
	e.out = appendText(e.out, value)
}

func (e *encoder) filled(name, value string) {
	if value != "" {
		e.text(name, value)
	}
}

func (e *encoder) count(name string, n int) {
	if n != 0 {
		e.name(name)
		e.out = strconv.AppendInt(e.out, int64(n), 10)
	}
}

func (e *encoder) phase(p Phase) {
	name, err := p.MarshalText()
	e.fail(err)
	e.text("phase", string(name))
}

func (e *encoder) time(name string, t time.Time) {
	e.name(name)
	e.out = append(e.out, '"')
	out, err := t.AppendText(e.out)
	if err != nil {
		e.fail(fmt.Errorf("%s: %w", name, err))
		return
	}
	e.out = out
	e.out = append(e.out, '"')
}

func (e *encoder) since(name string, t time.Time) {
	if !t.IsZero() {
		e.time(name, t)
	}
}

func (e *encoder) texts(name string, fields map[string]string) {
	if len(fields) == 0 {
		return
	}
	e.name(name)
	for _, field := range namesIn(fields) {
		if e.out[len(e.out)-1] == ':' {
			e.out = append(e.out, '{')
		} else {
			e.out = append(e.out, ',')
		}
		e.out = append(appendText(e.out, field), ':')
		e.out = appendText(e.out, fields[field])
	}
	e.out = append(e.out, '}')
}

func (e *encoder) result(r *Result) {
	if r == nil {
		return
	}
	e.name("result")
	e.text("id", r.ID)
	e.text("type", r.Type)
	e.text("source", r.Source)
	e.text("subject", r.Subject)
	e.time("time", r.Time)
	e.name("data")
	e.out = append(e.data(r.Data), '}')
	e.carry(r.unknown)
}

// data is written as it stands: a result must be published byte for byte when it is published again.
func (e *encoder) data(raw json.RawMessage) []byte {
	if raw == nil {
		return append(e.out, "null"...)
	}
	if !json.Valid(raw) {
		e.fail(errors.New("data: not JSON"))
	}
	return append(e.out, raw...)
}

// encodeData returns the data of a result as JSON: what encoding/json writes of it.
func encodeData(data map[string]any) json.RawMessage {
	out := append(make([]byte, 0, 512), '{')
	for i, name := range namesIn(data) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendText(out, name), ':')
		if text, ok := data[name].(string); ok {
			out = appendText(out, text)
		} else {
			out = append(out, encoded(data[name])...)
		}
	}
	return append(out, '}')
}

// namesIn returns the names of fields in the order in which encoding/json writes them.
func namesIn[V any](fields map[string]V) []string {
	names := slices.AppendSeq(make([]string, 0, len(fields)), maps.Keys(fields))
	slices.Sort(names)
	return names
}

// appendText writes a JSON string.
func appendText(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // a string always encodes
			return append(out, quoted...)
		}
	}
	return append(append(append(out, '"'), text...), '"')
}

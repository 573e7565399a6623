package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"paydispatch/internal/jsonobject"
)

// ErrNewer marks a record or parked state that a newer version wrote and that only a newer one knows how to go on from:
// its phase, a verdict, or its whole encoding. Nothing is wrong with it, so it waits for that version.
var ErrNewer = errors.New("written by a newer version")

// DecodeState reads what Encode wrote. Members that it does not know are kept, and written back by Encode as they stood:
// a newer version may add some, and finds them again after an older one had the state in hand. What it must understand
// and does not is an error that wraps ErrNewer: guessing could move money twice.
func DecodeState(b []byte) (State, error) {
	s, err := readState(b)
	if err != nil {
		return State{}, fmt.Errorf("operation record: %w", err)
	}
	return s, nil
}

func readState(b []byte) (State, error) {
	var s State
	r, err := newReader(b)
	if err != nil {
		return s, err
	}
	s.Schema = r.count("v")
	if r.err == nil && s.Schema > stateSchema {
		return s, fmt.Errorf("%w: schema version %d, this program reads %d", ErrNewer, s.Schema, stateSchema)
	}
	if r.err == nil && s.Schema != stateSchema {
		return s, fmt.Errorf("schema version %d, this program reads %d", s.Schema, stateSchema)
	}
	s.Phase = r.phase("phase")
	s.Topic, s.Key, s.RequestID = r.text("topic"), OperationKey(r.text("key")), RequestID(r.text("request"))
	s.Account, s.Fingerprint, s.Carry, s.Trace = r.text("account"), r.text("fp"), r.texts("carry"), r.text("trace")
	s.FirstSeen, s.Sends, s.SentAt, s.NotBefore = r.time("first"), r.count("sends"), r.time("sent"), r.time("notBefore")
	s.Owner, s.Lease, s.Tries, s.Parks = r.text("owner"), r.time("lease"), r.count("tries"), r.count("parks")
	s.Refusal, s.Seen, s.Told, s.Changes = r.reply("refusal"), r.texts("seen"), r.text("told"), r.count("changes")
	s.Verdict, s.Result = r.status("verdict"), r.result("result")
	s.unknown = r.rest()
	switch {
	case r.err != nil:
		return s, r.err
	case s.Key == "" || s.Topic == "":
		return s, errors.New("key or topic missing")
	}
	return s, nil
}

// reader takes the members of one JSON object by their names; the first error stays.
type reader struct {
	members []jsonobject.Member
	taken   []bool
	err     error
}

func newReader(raw []byte) (*reader, error) {
	members, err := jsonobject.Members(raw)
	return &reader{members: members, taken: make([]bool, len(members))}, err
}

// take returns a member's value, nil when there is none or it is null.
func (r *reader) take(name string) json.RawMessage {
	for i, m := range r.members {
		if m.Name != name {
			continue
		}
		r.taken[i] = true
		if string(m.Value) == "null" {
			return nil
		}
		return m.Value
	}
	return nil
}

// rest returns what was not taken, each member as it stands behind a comma.
func (r *reader) rest() []byte {
	var out []byte
	for i, m := range r.members {
		if !r.taken[i] {
			out = append(append(out, ','), m.Raw...)
		}
	}
	return out
}

// joinedUnknown adds to members that are carried along those of another state that are missing.
func joinedUnknown(own, other []byte) []byte {
	if len(other) == 0 {
		return own
	}
	members := func(carried []byte) []jsonobject.Member {
		if len(carried) == 0 {
			return nil
		}
		all, _ := jsonobject.Members(append(append([]byte{'{'}, carried[1:]...), '}')) // they were members before
		return all
	}
	known := map[string]bool{}
	for _, m := range members(own) {
		known[m.Name] = true
	}
	out := own[:len(own):len(own)]
	for _, m := range members(other) {
		if !known[m.Name] {
			out = append(append(out, ','), m.Raw...)
		}
	}
	return out
}

func (r *reader) fail(name, what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: not %s", name, what)
	}
}

func (r *reader) text(name string) string {
	raw := r.take(name)
	text, ok := jsonobject.Text(raw)
	if raw != nil && !ok {
		r.fail(name, "a string")
	}
	return text
}

func (r *reader) count(name string) int {
	raw := r.take(name)
	if raw == nil {
		return 0
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		r.fail(name, "a whole number")
	}
	return n
}

func (r *reader) time(name string) (t time.Time) {
	if raw := r.take(name); raw != nil && t.UnmarshalJSON(raw) != nil {
		r.fail(name, "a time")
	}
	return t
}

func (r *reader) texts(name string) map[string]string {
	raw := r.take(name)
	if raw == nil {
		return nil
	}
	fields, err := jsonobject.Read(raw)
	if err != nil {
		r.fail(name, "an object of strings")
		return nil
	}
	all := make(map[string]string, len(fields))
	for field, value := range fields {
		text, ok := jsonobject.Text(value)
		if !ok {
			r.fail(name, "an object of strings")
		}
		all[field] = text
	}
	return all
}

func (r *reader) phase(name string) (p Phase) {
	text := r.text(name)
	if text == "" {
		r.fail(name, "there")
		return p
	}
	if err := p.UnmarshalText([]byte(text)); err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrNewer, err)
	}
	return p
}

func (r *reader) status(name string) Status {
	n := r.count(name)
	if (n < 0 || n > int(StatusUnknown)) && r.err == nil {
		r.err = fmt.Errorf("%w: %s %d is none that this program knows", ErrNewer, name, n)
	}
	return Status(n)
}

// object reads an inner object with the given function; nil when there is none.
func (r *reader) object(name string, read func(inner *reader)) (found bool) {
	raw := r.take(name)
	if raw == nil {
		return false
	}
	inner, err := newReader(raw)
	if err != nil {
		r.fail(name, "an object")
		return false
	}
	read(inner)
	if inner.err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, inner.err)
	}
	return true
}

func (r *reader) reply(name string) *Reply {
	var y Reply
	if !r.object(name, func(in *reader) {
		y.Status, y.Code, y.Message, y.Fields = in.status("status"), in.text("code"), in.text("message"), in.texts("fields")
		if extra := in.take("extra"); extra != nil {
			fields, err := jsonobject.Read(extra)
			if err != nil {
				in.fail("extra", "an object")
			}
			y.Extra = fields
		}
		y.unknown = in.rest()
	}) {
		return nil
	}
	return &y
}

func (r *reader) result(name string) *Result {
	var e Result
	if !r.object(name, func(in *reader) {
		e.ID, e.Type, e.Source, e.Subject = in.text("id"), in.text("type"), in.text("source"), in.text("subject")
		e.Time, e.Data = in.time("time"), in.take("data")
		e.unknown = in.rest()
	}) {
		return nil
	}
	return &e
}

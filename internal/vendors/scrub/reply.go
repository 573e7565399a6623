// Package scrub makes what a vendor says fit for records, results and logs: bounded, readable text without control
// characters, and without card, identity and phone numbers. Every word of a vendor passes it once on its way to the
// core (package operation), so that no adapter can forget to.
//
// It refuses to judge what a vendor means, and to change what is compared later: an identifier, an amount or a time
// keeps every character unless it is, or holds, something personal.
//
// Its caller must hand over what the adapter made of a reply, with the command that it answers. Secrets of an adapter's
// own (keys, tokens) are known to the adapter alone, which takes them out by [Text].
package scrub

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
)

// Bounds of one reply. Those of its values are MaxText.
const (
	maxName   = 64
	maxFields = 64
	// maxFieldBytes bounds all of Fields together: they are remembered in the record, and in each parked copy.
	maxFieldBytes = 16 << 10
	// maxExtraBytes bounds one value of Extra, and all of them.
	maxExtraBytes = 128 << 10
	maxDepth      = 6
	maxCode       = 64
)

// Reply returns the reply to a command as it may leave: see the package's comment. What does not fit is left out, and
// named in LeftOut. A reply that is clean comes back as it is.
func Reply(r commands.Reply, c commands.Command) commands.Reply {
	s := &scrubber{command: c, open: r.Open}
	out := r
	out.LeftOut = slices.DeleteFunc(slices.Clone(r.LeftOut), func(name string) bool { return !isName(name) })
	out.Code = s.code(r.Code)
	if r.Message != "" {
		out.Message = Text(r.Message, s.personal()...)
	}
	out.Fields = s.fields(r.Fields)
	out.Extra = s.extra(r.Extra)
	out.LeftOut = append(out.LeftOut, s.leftOut...)
	slices.Sort(out.LeftOut)
	if out.LeftOut = slices.Compact(out.LeftOut); len(out.LeftOut) > maxFields {
		out.LeftOut = out.LeftOut[:maxFields]
	}
	if len(out.LeftOut) == 0 {
		out.LeftOut = nil
	}
	return out
}

// Error returns the failure of a call for a command with its text scrubbed; class and code stay. What it wrapped is no
// longer within reach, since anything that prints it would print it as it came.
func Error(err error, c commands.Command) error {
	if err == nil {
		return nil
	}
	s := &scrubber{command: c}
	out := &vendors.Error{Class: vendors.ClassOf(err), Code: vendors.CodeOf(err)}
	cause := err
	if typed, ok := errors.AsType[*vendors.Error](err); ok {
		out.RetryAfter = typed.RetryAfter
		if cause = typed.Err; cause == nil {
			cause = errors.New("no cause given")
		}
	}
	out.Err = errors.New(Text(cause.Error(), s.personal()...))
	return out
}

// scrubber cleans one reply.
type scrubber struct {
	command commands.Command
	// open are the names of fields whose numbers are wanted.
	open []string
	// known are the command's personal values, once read.
	known []string
	read  bool
	// leftOut are the names of what was dropped or cut.
	leftOut []string
}

func (s *scrubber) code(code string) string {
	if len(code) <= maxCode && plain(code) {
		return code
	}
	code = Text(code)
	if runes := []rune(code); len(runes) > maxCode {
		code = string(runes[:maxCode])
	}
	return Text(code)
}

// fields cleans the values, and keeps as many as fit, the smaller ones first.
func (s *scrubber) fields(in map[string]string) map[string]string {
	total, same := 0, true
	out := in
	for name, v := range in {
		clean := ""
		if named := isName(name); named {
			clean = s.field(name, v)
			total += len(name) + encodedSize(clean)
			if clean == v {
				continue
			}
		}
		if same {
			out, same = maps.Clone(in), false
		}
		out[name] = clean
		if !isName(name) {
			delete(out, name)
		}
	}
	if len(out) <= maxFields && total <= maxFieldBytes {
		return out
	}
	sizes := make(map[string]int, len(out))
	for name, v := range out {
		sizes[name] = len(name) + encodedSize(v)
	}
	out = maps.Clone(out)
	for _, name := range excess(sizes, maxFields, maxFieldBytes) {
		delete(out, name)
		s.leftOut = append(s.leftOut, name)
	}
	return out
}

// field cleans one value. One that says the same as the command's field of that name is nothing personal.
func (s *scrubber) field(name, v string) string {
	if carried := s.command.Carry[name]; carried != "" && carried == v && plain(v) {
		return v
	}
	if slices.Contains(s.open, name) {
		return Bound(v)
	}
	out := value(v, s.personal())
	if len(v) > MaxText && len(out) <= MaxText && identifier(out) {
		s.leftOut = append(s.leftOut, name)
	}
	return out
}

// encodedSize is how many bytes a text takes in JSON, or a few more: encoding/json writes <, > and & as six.
func encodedSize(text string) int {
	return len(text) + 5*(strings.Count(text, "<")+strings.Count(text, ">")+strings.Count(text, "&")) +
		strings.Count(text, `"`) + strings.Count(text, `\`)
}

// extra cleans the values that are no strings, and keeps as many as fit, the smaller ones first.
func (s *scrubber) extra(in map[string]json.RawMessage) map[string]json.RawMessage {
	if len(in) == 0 {
		return in
	}
	out := make(map[string]json.RawMessage, len(in))
	sizes := make(map[string]int, len(in))
	for name, raw := range in {
		if !isName(name) {
			continue
		}
		encoded, ok := s.tree(raw)
		if !ok {
			s.leftOut = append(s.leftOut, name)
			continue
		}
		out[name], sizes[name] = encoded, len(name)+len(encoded)
	}
	for _, name := range excess(sizes, maxFields, maxExtraBytes) {
		delete(out, name)
		s.leftOut = append(s.leftOut, name)
	}
	return out
}

// tree cleans one JSON value; false when it is none, or too deep.
func (s *scrubber) tree(raw json.RawMessage) (json.RawMessage, bool) {
	if string(raw) == "null" {
		return raw, true
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	clean, ok := s.node("", v, maxDepth)
	if !ok {
		return nil, false
	}
	encoded, err := json.Marshal(clean)
	return encoded, err == nil
}

func (s *scrubber) node(name string, v any, depth int) (any, bool) {
	if depth == 0 {
		return nil, false
	}
	switch v := v.(type) {
	case string:
		return s.field(name, v), true
	case json.Number:
		return s.number(name, v)
	case []any:
		for i := range v {
			var ok bool
			if v[i], ok = s.node(name, v[i], depth-1); !ok {
				return nil, false
			}
		}
	case map[string]any:
		for key := range v {
			if !isName(key) {
				delete(v, key)
				continue
			}
			var ok bool
			if v[key], ok = s.node(key, v[key], depth-1); !ok {
				return nil, false
			}
		}
	}
	return v, true
}

// number keeps a number as it stands, or makes a masked one a text.
func (s *scrubber) number(name string, n json.Number) (any, bool) {
	if len(n) > maxName {
		return nil, false
	}
	if clean := s.field(name, n.String()); clean != n.String() {
		return clean, true
	}
	return n, true
}

// excess names what must go so that at most this many, of this many bytes together, stay: the largest first.
func excess(sizes map[string]int, most, bytes int) []string {
	total := 0
	for _, n := range sizes {
		total += n
	}
	if len(sizes) <= most && total <= bytes {
		return nil
	}
	names := slices.SortedFunc(maps.Keys(sizes), func(a, b string) int {
		return cmp.Or(sizes[b]-sizes[a], strings.Compare(a, b))
	})
	gone := 0
	for len(names)-gone > most || total > bytes {
		total -= sizes[names[gone]]
		gone++
	}
	return names[:gone]
}

// isName reports whether a field's name is one that programs give.
func isName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !(letter(rune(c)) || c == '_' || i > 0 && (c >= '0' && c <= '9' || c == '.' || c == '-')) {
			return false
		}
	}
	return longestRun(name) < minRun
}

func (s *scrubber) personal() []string {
	if !s.read {
		s.known, s.read = Personal(s.command), true
	}
	return s.known
}

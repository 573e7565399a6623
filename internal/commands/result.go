package commands

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kinds of result events; the type is "<Spec.Type>.<kind>.v1".
const (
	KindSucceeded  = "succeeded"
	KindFailed     = "failed"
	KindPending    = "pending"
	KindRejected   = "rejected"
	KindDuplicate  = "duplicate"
	KindUnresolved = "unresolved"
	KindConflict   = "conflict"
	// KindAnswered is the good end of a question (effect read), KindUnknown the end of a command that may have had its
	// effect and cannot be asked about (effect once).
	KindAnswered = "answered"
	KindUnknown  = "unknown"
)

// Kinds lists all kinds.
func Kinds() []string {
	return []string{
		KindSucceeded, KindFailed, KindPending, KindRejected, KindDuplicate, KindUnresolved, KindConflict, KindAnswered, KindUnknown,
	}
}

// Result is one CloudEvents 1.0 event (design 3), in the parts that binary mode needs.
type Result struct {
	// ID is deterministic: the same verdict has the same id whoever publishes it and how often.
	ID string `json:"id"`
	// Type such as "withhold.succeeded.v1".
	Type string `json:"type"`
	// Source as in Spec.Source.
	Source string `json:"source"`
	// Subject is the operation key, and the Kafka key.
	Subject string `json:"subject"`
	// Time is when it was decided; it never changes afterwards.
	Time time.Time `json:"time"`
	// Data is the JSON object: strings under the vendors' own field names.
	Data json.RawMessage `json:"data"`

	// unknown are the members that a newer version wrote of it, each behind a comma.
	unknown []byte
}

// Kind returns the word between the dots of a type made by this package, "" for another.
func (r Result) Kind() string {
	for _, k := range Kinds() {
		if suffix := "." + k + ".v1"; len(r.Type) > len(suffix) && r.Type[len(r.Type)-len(suffix):] == suffix {
			return k
		}
	}
	return ""
}

// EventID derives an event's id from what it is about: the event type's first word, a role ("verdict", "pending", …)
// and the names that make it unique.
func EventID(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		var size [4]byte
		n := len(w)
		size[0], size[1], size[2], size[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		h.Write(size[:])
		h.Write([]byte(w))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// VerdictID is the id of a verdict of an operation. It does not depend on the request or on the way, so that even a
// store that forgot which request came first cannot make a ledger book an order twice. It does depend on the verdict:
// should an order that the vendor refused be executed for a later message after such a loss, its success is not dropped
// as a duplicate of the failure.
func (s Spec) VerdictID(key OperationKey, verdict Status) string {
	return EventID(s.Type, "verdict", string(key), verdict.String())
}

// eventID is the id that results about an operation name: of its verdict, or of its success while there is none.
func (s *State) eventID(spec Spec) string {
	if s.Phase.Final() {
		return spec.VerdictID(s.Key, s.Verdict)
	}
	return spec.VerdictID(s.Key, StatusSucceeded)
}

// maxData bounds the data of a result, in bytes. Far below what the log takes (deploy/kafka), so that a result fits
// beside its headers and into the record.
const maxData = 256 << 10

// Bounds of the fields that are the core's own words or the sender's identifiers. The command schemas allow less.
const (
	maxOwn    = 256
	maxDetail = 2000
)

// content is what a result says: the command's and the core's own fields, and what the vendor said, before and now. What
// stands in several belongs to own, else to the latest word.
type content struct {
	own, seen map[string]string
	reply     Reply
}

// result builds an event. Of the vendor's values the largest are left out until the data is in bounds; truncated names
// them. The command's own fields always stay.
func (s Spec) result(kind, id string, key OperationKey, now time.Time, c content) *Result {
	data := c.data()
	leftOut := c.reply.LeftOut
	if large(data) {
		leftOut = append(slices.Clone(leftOut), c.shed(data)...)
	}
	if len(leftOut) > 0 {
		data[truncated] = namesOf(leftOut)
	} else {
		delete(data, truncated) // a vendor's field of that name is not ours
	}
	return &Result{ID: id, Type: s.Type + "." + kind + ".v1", Source: s.Source, Subject: string(key), Time: now.UTC(), Data: encodeData(data)}
}

func (c content) data() map[string]any {
	data := make(map[string]any, len(c.own)+len(c.seen)+len(c.reply.Fields)+len(c.reply.Extra)+1)
	put(data, c.seen)
	put(data, c.reply.Fields)
	put(data, c.reply.Extra)
	if c.reply.Message != "" {
		data["message"] = c.reply.Message
	}
	put(data, c.own)
	return data
}

// encoded writes strings and raw JSON that was read before, which always encode.
func encoded(data any) json.RawMessage {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return raw
}

// large reports whether the data may exceed maxData: a byte takes six at most in JSON.
func large(data map[string]any) bool {
	size := 0
	for name, value := range data {
		size += len(name)
		switch v := value.(type) {
		case string:
			size += len(v)
		case json.RawMessage:
			size += len(v)
		}
	}
	return size > maxData/8
}

// shed takes the largest of the vendor's values out of data until it is in bounds, and returns their names.
func (c content) shed(data map[string]any) (names []string) {
	size := len(encodeData(data))
	sizes := map[string]int{}
	for name, value := range data {
		if _, own := c.own[name]; !own {
			sizes[name] = len(name) + len(encoded(value))
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(sizes), func(a, b string) int {
		return cmp.Or(sizes[b]-sizes[a], strings.Compare(a, b))
	}) {
		if size <= maxData {
			break
		}
		size -= sizes[name]
		delete(data, name)
		names = append(names, name)
	}
	return names
}

// truncated is the field that names what a result leaves out.
const truncated = "truncated"

// maxNames bounds how many names truncated lists.
const maxNames = 20

func namesOf(leftOut []string) string {
	names := slices.Compact(slices.Sorted(slices.Values(leftOut)))
	if more := len(names) - maxNames; more > 0 {
		names = append(names[:maxNames], "and "+strconv.Itoa(more)+" more")
	}
	for i, name := range names {
		names[i] = cut(name, maxOwn)
	}
	return strings.Join(names, ", ")
}

// cut returns at most this many bytes of a text, whole characters only.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// Least returns the result in the smallest form that still says what was decided, for a log that takes no more: the
// same id, type, time and subject, the command's own fields, and in truncated the names of the others. It is bounded by
// a few kilobytes, and the same whoever makes it.
func (r Result) Least(spec Spec) Result {
	var all map[string]json.RawMessage
	if json.Unmarshal(r.Data, &all) != nil {
		return r // not made by this package
	}
	own := append([]string{spec.KeyField, "requestId"}, spec.CarryFields...)
	own = append(own, ownWords()...)
	least := map[string]json.RawMessage{}
	var leftOut []string
	for name, raw := range all {
		switch {
		case name == truncated:
			var names string
			_ = json.Unmarshal(raw, &names)
			leftOut = append(leftOut, cut(names, maxDetail))
		case slices.Contains(own, name) && len(raw) <= maxOwn+2:
			least[name] = raw
		default:
			leftOut = append(leftOut, name)
		}
	}
	if len(leftOut) > 0 {
		least[truncated] = encoded(namesOf(leftOut))
	}
	r.Data = encoded(least)
	return r
}

// ownWords are the fields that the core writes, beside the command's, and the vendor's code.
func ownWords() []string {
	return []string{
		"code", "reason", "origin", "state", "settled", "contradicted", "event_id", "first_requestId", "amount_confirmed",
	}
}

// verdict builds the final event of an operation.
func (s *State) verdict(spec Spec, r Reply, now time.Time) *Result {
	kind := KindFailed
	switch {
	case r.Status == StatusUnknown:
		kind = KindUnknown
	case r.Status == StatusSucceeded && spec.Effect == EffectRead:
		kind = KindAnswered
	case r.Status == StatusSucceeded:
		kind = KindSucceeded
	}
	c := s.content(spec, r)
	if spec.AmountField != "" {
		c.own[AmountConfirmed] = s.amountConfirmed(spec)
	}
	return spec.result(kind, spec.VerdictID(s.Key, r.Status), s.Key, now, c)
}

// AmountConfirmed is the field of a verdict about money that says who confirmed the amount in it.
const AmountConfirmed = "amount_confirmed"

// Who confirmed an amount.
const (
	// AmountByVendor: the vendor named the same amount.
	AmountByVendor = "vendor"
	// AmountBySubmission: the vendor named none; it is what this system submitted under this order.
	AmountBySubmission = "submission"
	// AmountUnconfirmed: the vendor named none, and the record of what was submitted is lost: it is the command's word
	// alone, and the vendor may have executed another command of this order.
	AmountUnconfirmed = "no"
)

func (s *State) amountConfirmed(spec Spec) string {
	switch {
	case s.Seen[spec.AmountField] != "":
		return AmountByVendor
	case s.Sends > 0:
		return AmountBySubmission
	}
	return AmountUnconfirmed
}

// pending builds the event of a change of progress. Its id counts the changes: one back to an earlier progress is no
// duplicate of the earlier one.
func (s *State) pending(spec Spec, r Reply, now time.Time) *Result {
	id := EventID(spec.Type, KindPending, string(s.Key), strconv.Itoa(s.Changes), s.progress(spec))
	return spec.result(KindPending, id, s.Key, now, s.content(spec, r))
}

// progress is what a pending event tells: one is published each time that it changes.
func (s *State) progress(spec Spec) string {
	told := "pending"
	for _, f := range spec.ProgressFields {
		told += "|" + s.Seen[f]
	}
	return told
}

func (s *State) unresolved(spec Spec, now time.Time) *Result {
	c := s.content(spec, Reply{})
	c.own["reason"] = "no verdict from the vendor before the deadline; last phase " + s.Phase.String()
	id := EventID(spec.Type, KindUnresolved, string(s.Key))
	if spec.Effect == EffectRead { // another request may put the same question again
		id = EventID(spec.Type, KindUnresolved, string(s.Key), string(s.RequestID))
	}
	return spec.result(KindUnresolved, id, s.Key, now, c)
}

func (s *State) conflict(spec Spec, r Reply, now time.Time) *Result {
	c := s.content(spec, r)
	c.own["settled"] = s.Verdict.String()
	c.own["contradicted"] = r.Status.String()
	c.own["event_id"] = s.eventID(spec)
	return spec.result(KindConflict, EventID(spec.Type, KindConflict, string(s.Key), r.Status.String()), s.Key, now, c)
}

func (s *State) duplicate(spec Spec, request RequestID, now time.Time) *Result {
	c := content{own: s.own(spec)}
	c.own["requestId"] = string(request)
	c.own["first_requestId"] = string(s.RequestID)
	c.own["state"] = s.word()
	c.own["event_id"] = s.eventID(spec)
	return spec.result(KindDuplicate, EventID(spec.Type, KindDuplicate, string(s.Key), string(request)), s.Key, now, c)
}

// word is what a duplicate is told about the order: the verdict when there is one, else the phase.
func (s *State) word() string {
	if s.Phase.Final() {
		return s.Verdict.String()
	}
	return s.Phase.String()
}

// own are the command's fields that every result of an operation repeats.
func (s *State) own(spec Spec) map[string]string {
	own := make(map[string]string, len(s.Carry)+4)
	for name, text := range s.Carry {
		own[name] = cut(text, maxOwn)
	}
	own[spec.KeyField] = string(s.Key)
	own["requestId"] = string(s.RequestID)
	return own
}

// content is what every result of an operation says: the command's own fields, and what the vendor said.
func (s *State) content(spec Spec, r Reply) content {
	c := content{own: s.own(spec), seen: s.Seen, reply: r}
	if r.Code != "" {
		c.own["code"] = cut(r.Code, maxOwn)
	}
	return c
}

func put[V any](data map[string]any, fields map[string]V) {
	for name, v := range fields {
		data[name] = v
	}
}

// Rejection says why a message was not executed. What of RequestID and Key could not be read stays empty.
type Rejection struct {
	RequestID RequestID
	Key       OperationKey
	// Reason is a stable word: "invalid", "too_large", "request_reused", "order_reused".
	Reason string
	// Detail is for a person; it names fields and limits, never values of personal fields.
	Detail string
	// Origin is topic/partition/offset of the message; it makes the id when the message names no request.
	Origin string
	// Content is a keyed digest of the content, so that two different rejected contents of one request have two ids.
	Content string
}

// Rejected builds the event for a message that was not executed.
func (s Spec) Rejected(r Rejection, now time.Time) *Result {
	own := map[string]string{"reason": r.Reason, "message": cut(r.Detail, maxDetail), "origin": r.Origin}
	id := EventID(s.Type, KindRejected, r.Origin)
	if r.RequestID != "" {
		own["requestId"] = string(r.RequestID)
	}
	if r.Key != "" {
		own[s.KeyField] = string(r.Key)
	}
	if r.RequestID != "" && r.Content != "" {
		id = EventID(s.Type, KindRejected, string(r.RequestID), string(r.Key), r.Content)
	}
	return s.result(KindRejected, id, r.Key, now, content{own: own})
}

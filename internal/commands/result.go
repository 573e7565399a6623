package commands

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
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

// VerdictID is the id of a verdict of an operation. It does not depend on the request or on the way, so that even a store
// that forgot which request came first cannot make a ledger book an order twice. It does depend on the verdict: should
// an order that the vendor refused be executed for a later message after such a loss, its success is not dropped as a
// duplicate of the failure.
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

func (s Spec) result(kind, id string, key OperationKey, now time.Time, data map[string]any) *Result {
	raw, err := json.Marshal(data)
	if err != nil { // strings and raw JSON that was read before always encode
		panic(err)
	}
	return &Result{ID: id, Type: s.Type + "." + kind + ".v1", Source: s.Source, Subject: string(key), Time: now.UTC(), Data: raw}
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
	data := s.data(spec, r)
	if spec.AmountField != "" {
		data[AmountConfirmed] = s.amountConfirmed(spec)
	}
	return spec.result(kind, spec.VerdictID(s.Key, r.Status), s.Key, now, data)
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
	return spec.result(KindPending, id, s.Key, now, s.data(spec, r))
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
	data := s.data(spec, Reply{})
	data["reason"] = "no verdict from the vendor before the deadline; last phase " + s.Phase.String()
	id := EventID(spec.Type, KindUnresolved, string(s.Key))
	if spec.Effect == EffectRead { // another request may put the same question again
		id = EventID(spec.Type, KindUnresolved, string(s.Key), string(s.RequestID))
	}
	return spec.result(KindUnresolved, id, s.Key, now, data)
}

func (s *State) conflict(spec Spec, r Reply, now time.Time) *Result {
	data := s.data(spec, r)
	data["settled"] = s.Verdict.String()
	data["contradicted"] = r.Status.String()
	data["event_id"] = s.eventID(spec)
	return spec.result(KindConflict, EventID(spec.Type, KindConflict, string(s.Key), r.Status.String()), s.Key, now, data)
}

func (s *State) duplicate(spec Spec, request RequestID, now time.Time) *Result {
	data := map[string]any{}
	put(data, s.Carry)
	data[spec.KeyField] = string(s.Key)
	data["requestId"] = string(request)
	data["first_requestId"] = string(s.RequestID)
	data["state"] = s.word()
	data["event_id"] = s.eventID(spec)
	return spec.result(KindDuplicate, EventID(spec.Type, KindDuplicate, string(s.Key), string(request)), s.Key, now, data)
}

// word is what a duplicate is told about the order: the verdict when there is one, else the phase.
func (s *State) word() string {
	if s.Phase.Final() {
		return s.Verdict.String()
	}
	return s.Phase.String()
}

// data is what every result of an operation says.
func (s *State) data(spec Spec, r Reply) map[string]any {
	data := map[string]any{}
	put(data, s.Seen)
	put(data, r.Fields)
	put(data, r.Extra)
	put(data, s.Carry)
	data[spec.KeyField] = string(s.Key)
	data["requestId"] = string(s.RequestID)
	if r.Code != "" {
		data["code"] = r.Code
	}
	if r.Message != "" {
		data["message"] = r.Message
	}
	return data
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
	data := map[string]any{"reason": r.Reason, "message": r.Detail, "origin": r.Origin}
	id := EventID(s.Type, KindRejected, r.Origin)
	if r.RequestID != "" {
		data["requestId"] = string(r.RequestID)
	}
	if r.Key != "" {
		data[s.KeyField] = string(r.Key)
	}
	if r.RequestID != "" && r.Content != "" {
		id = EventID(s.Type, KindRejected, string(r.RequestID), string(r.Key), r.Content)
	}
	return s.result(KindRejected, id, r.Key, now, data)
}

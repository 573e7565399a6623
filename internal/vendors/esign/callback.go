package esign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"paydispatch/internal/vendors/scrub"
)

// CallbackAnswer is the body that the vendor's documents suggest for HTTP 200; it is not judged.
const CallbackAnswer = `{"code":"200","msg":"success"}`

// What can be wrong with a callback.
var (
	// ErrCallbackSignature: it is not proven to come from the vendor.
	ErrCallbackSignature = errors.New("callback signature does not fit")
	// ErrCallbackUnreadable: it comes from the vendor, and says nothing that is understood.
	ErrCallbackUnreadable = errors.New("unreadable callback")
)

// Callback is the vendor's asynchronous word about a flow. It is a hint: its timestamp has no documented window, so an
// old one may be played again, and its payloads differ from page to page. Ask before anything final is said.
type Callback struct {
	// Account is the name of the account whose secret fits, AppID its id.
	Account, AppID string
	// SentAt is the timestamp that was signed.
	SentAt time.Time
	FlowID string
	// ContextID is what the flow's creator gave as its own id; "" for none.
	ContextID string
	// Action is the kind of event, such as identity_org_end; "" when it came to the flow's own notifyUrl.
	Action string
	// Success is success, or else status; nil when the payload has neither.
	Success *bool
	// Result is PAY_SUCCESS, PAY_FAIL or FAIL of a payment's callback; "" for none.
	Result string
}

// VerifyCallback checks a callback's signature over timestamp, query values and raw body under the secret of the app
// that it names, and then reads it. The body must be bounded by the caller. Its error is one of ErrCallbackSignature
// and ErrCallbackUnreadable.
//
// It does not look at the method: GETs, which flows by face send, carry nothing to verify and are for the shell.
func (c *Client) VerifyCallback(header http.Header, query url.Values, body []byte) (Callback, error) {
	a, sentAt, err := c.verify(header, query, body)
	if err != nil {
		return Callback{}, fmt.Errorf("%w: %w", ErrCallbackSignature, err)
	}
	out, err := readCallback(body)
	if err != nil {
		return Callback{}, fmt.Errorf("%w: %w", ErrCallbackUnreadable, err)
	}
	out.Account, out.AppID, out.SentAt = a.name, a.AppID, sentAt
	return out, nil
}

// millisDigits is the length of the timestamp. It is fixed because nothing separates the timestamp from what is signed
// after it: with another length, digits of the one could be passed off as digits of the other.
const millisDigits = 13

func (c *Client) verify(header http.Header, query url.Values, body []byte) (app, time.Time, error) {
	a, ok := c.byID[header.Get(headerApp)]
	if !ok {
		return app{}, time.Time{}, errors.New("the app id is none of ours")
	}
	// Absent it can only mean the one that is documented, and no other is ever checked.
	if name := header.Get("X-Tsign-Open-Signature-Algorithm"); name != "" && !strings.EqualFold(name, "hmac-sha256") {
		return app{}, time.Time{}, errors.New("the algorithm is not hmac-sha256")
	}
	timestamp := header.Get("X-Tsign-Open-Timestamp")
	millis, err := strconv.ParseUint(timestamp, 10, 63)
	if err != nil || len(timestamp) != millisDigits {
		return app{}, time.Time{}, errors.New("the timestamp is not in milliseconds")
	}
	want := a.callbackSignature(timestamp, query, body)
	if !hmac.Equal([]byte(header.Get("X-Tsign-Open-Signature")), []byte(want)) {
		return app{}, time.Time{}, errors.New("the signature is another one")
	}
	return a, time.UnixMilli(int64(millis)), nil
}

// callbackSignature is the lower-case hex HMAC-SHA256 over the timestamp, the decoded query values in ascending order
// of their keys (the first one of a key), and the body.
func (a Account) callbackSignature(timestamp string, query url.Values, body []byte) string {
	mac := hmac.New(sha256.New, []byte(a.Secret))
	mac.Write([]byte(timestamp))
	for _, key := range slices.Sorted(maps.Keys(query)) {
		mac.Write([]byte(query.Get(key)))
	}
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func readCallback(body []byte) (Callback, error) {
	fields, err := readObject(body)
	if err != nil {
		return Callback{}, err
	}
	flow, service := fields.word("flowId"), fields.word("serviceId")
	if flow == "" {
		flow = service
	}
	switch {
	case !flowPattern.MatchString(flow):
		return Callback{}, errors.New("no usable flowId")
	case service != "" && service != flow:
		return Callback{}, errors.New("flowId and serviceId differ")
	}
	out := Callback{
		FlowID: flow, ContextID: scrub.Bound(fields.word("contextId")), Action: scrub.Bound(fields.word("action")),
		Result: scrub.Bound(fields.word("result")), Success: fields.truth("success"),
	}
	if out.Success == nil {
		out.Success = fields.truth("status")
	}
	return out, nil
}

// truth returns a member that is true or false, also as a string, or nil.
func (o object) truth(name string) *bool {
	switch strings.ToLower(o.word(name)) {
	case "true":
		return new(true)
	case "false":
		return new(false)
	}
	return nil
}

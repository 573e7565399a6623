package commands

import (
	"encoding/json"
	"fmt"
)

// RequestID is the sender's id of one request (`requestId`, seed 001 common parameters).
type RequestID string

// OperationKey names the thing that must happen at most once: `biz_order_no` for money, `requestId` for the rest.
type OperationKey string

// Body is a command's JSON value as it was received. It holds card and identity data, so it masks itself when printed
// or encoded; only a vendor adapter looks inside.
type Body []byte

const masked = "[masked]"

// String implements fmt.Stringer without showing the content.
func (Body) String() string { return masked }

// GoString implements fmt.GoStringer without showing the content.
func (Body) GoString() string { return masked }

// Format implements fmt.Formatter, so that no verb shows the content.
func (Body) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalJSON implements json.Marshaler without showing the content.
func (Body) MarshalJSON() ([]byte, error) { return json.Marshal(masked) }

// Command is one validated command message.
type Command struct {
	// Topic is the command topic that it belongs to, such as "withhold.request", also when it came back through a
	// delay topic.
	Topic string
	// RequestID is `requestId`.
	RequestID RequestID
	// Key is the operation key.
	Key OperationKey
	// Account names the merchant account at the vendor; "" means the default one.
	Account string
	// Body is the whole JSON object.
	Body Body
	// Carry are the fields, none of them personal, that every result of this command repeats (withhold: amount,
	// pay_type, biz_order_no, account).
	Carry map[string]string
	// Fingerprints are the keyed digests of the content (everything but requestId), the current key's first; see
	// [Keyring.Fingerprints].
	Fingerprints []string
}

package withhold

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

const masked = "[masked]"

// Key is an account's AES key, which also goes into the sign, exactly as the vendor gave it. It masks itself when
// printed, logged or encoded; convert it to a string to use it.
type Key string

// String implements fmt.Stringer.
func (Key) String() string { return masked }

// GoString implements fmt.GoStringer.
func (Key) GoString() string { return masked }

// Format implements fmt.Formatter, so that no verb shows the key.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalJSON implements json.Marshaler.
func (Key) MarshalJSON() ([]byte, error) { return json.Marshal(masked) }

// MarshalText implements encoding.TextMarshaler.
func (Key) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(masked) }

// Account is one merchant account at the gateway.
type Account struct {
	// UA identifies us to the gateway (seed 001 `ua`).
	UA string
	// Key encrypts args and goes into the sign.
	Key Key
}

// Personal is a card, identity or phone number, a name, or a protocol number that stands for a card. It masks itself
// like [Key]. Use neither as the key of a map: encoding/json prints string keys past any mask.
type Personal string

// String implements fmt.Stringer.
func (Personal) String() string { return masked }

// GoString implements fmt.GoStringer.
func (Personal) GoString() string { return masked }

// Format implements fmt.Formatter, so that no verb shows the value.
func (Personal) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalJSON implements json.Marshaler.
func (Personal) MarshalJSON() ([]byte, error) { return json.Marshal(masked) }

// MarshalText implements encoding.TextMarshaler.
func (Personal) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue implements slog.LogValuer.
func (Personal) LogValue() slog.Value { return slog.StringValue(masked) }

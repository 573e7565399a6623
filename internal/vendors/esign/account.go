package esign

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

const masked = "[masked]"

// Secret is an app secret or a token, exactly as the vendor gave it. It masks itself when printed, logged or encoded;
// convert it to a string to use it.
type Secret string

// String implements fmt.Stringer.
func (Secret) String() string { return masked }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return masked }

// Format implements fmt.Formatter, so that no verb shows the secret.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(masked) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// Account is one application at the vendor.
type Account struct {
	// AppID identifies us (X-Tsign-Open-App-Id).
	AppID string
	// Secret signs requests, fetches tokens, and verifies callbacks.
	Secret Secret
}

// app is an account with the name that commands use for it.
type app struct {
	name string
	Account
}

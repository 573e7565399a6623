package daxpay

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

const masked = "[masked]"

// Secret is an installation's signing secret, exactly as its administrator set it: blanks count. It masks itself when
// printed, logged or encoded; convert it to a string to use it.
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

// Account is one installation of DaxPay. The secret belongs to the whole installation and no request names a merchant,
// so that a second account is in practice a second installation with an address of its own.
type Account struct {
	// Secret signs requests and answers. Required.
	Secret Secret
	// SignType is the installation's; "" means that of the Config.
	SignType SignType
	// URL is the installation's base address; "" means that of the Config.
	URL string
}

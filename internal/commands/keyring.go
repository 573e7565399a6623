package commands

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// MinKeySize is the shortest secret a Keyring takes, in bytes.
const MinKeySize = 16

// Keyring holds rotating secrets, the newest first: new digests are made with the first, and any of them verifies. It
// masks itself when printed.
type Keyring struct{ keys [][]byte }

// NewKeyring checks that there is a key and that each is at least MinKeySize bytes long.
func NewKeyring(keys ...[]byte) (Keyring, error) {
	if len(keys) == 0 {
		return Keyring{}, fmt.Errorf("keyring: at least one key is needed")
	}
	for i, k := range keys {
		if len(k) < MinKeySize {
			return Keyring{}, fmt.Errorf("keyring: key %d has %d bytes, at least %d are needed", i+1, len(k), MinKeySize)
		}
	}
	return Keyring{keys: keys}, nil
}

// Format implements fmt.Formatter, so that no verb shows a key.
func (Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// Fingerprints returns the keyed digests of content, one a key, the newest first.
func (k Keyring) Fingerprints(content []byte) []string {
	all := make([]string, len(k.keys))
	for i, key := range k.keys {
		all[i] = hex.EncodeToString(digest(key, "content", content))
	}
	return all
}

// Token returns the unguessable word (128 bits, URL-safe) that stands in the callback address of one order.
func (k Keyring) Token(order string) string { return k.sign("callback", []byte(order)) }

// VerifyToken reports, in constant time, whether token belongs to order under any of the keys.
func (k Keyring) VerifyToken(order, token string) bool {
	return k.verify("callback", []byte(order), token)
}

// Seal returns the proof (128 bits, URL-safe) that a holder of the keys wrote content, "" where there is no key. Whoever
// guesses has one try a message, so that 128 bits are enough, as they are for a token.
func (k Keyring) Seal(content []byte) string { return k.sign("parked", content) }

// VerifySeal reports, in constant time, whether seal proves content under any of the keys.
func (k Keyring) VerifySeal(content []byte, seal string) bool {
	return k.verify("parked", content, seal)
}

func (k Keyring) sign(use string, content []byte) string {
	if len(k.keys) == 0 {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(digest(k.keys[0], use, content))
}

// verify compares the encoded words, so that there is one spelling of each.
func (k Keyring) verify(use string, content []byte, word string) bool {
	ok := false
	for _, key := range k.keys {
		ok = hmac.Equal([]byte(word), []byte(base64.RawURLEncoding.EncodeToString(digest(key, use, content)))) || ok
	}
	return ok
}

// digest is HMAC-SHA256 cut to 128 bits; use keeps the digests of one purpose apart from those of another.
func digest(key []byte, use string, content []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(use))
	h.Write([]byte{0})
	h.Write(content)
	return h.Sum(nil)[:16]
}

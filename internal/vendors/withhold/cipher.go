package withhold

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// CipherConfig says how args are encrypted. Seed 001 says "AES" and no more, so each part is a setting; the zero value
// is the most common form, AES-128-ECB with PKCS7 in Base64 (spec row A01).
type CipherConfig struct {
	// Mode is "ecb" (default) or "cbc".
	Mode string
	// KeyBits is 128 (default), 192 or 256. It is a setting of its own because PHP takes the size from the cipher's
	// name and Java from the key's length.
	KeyBits int
	// KeyForm makes the AES key from the account's key: "raw" (default; its bytes, of exactly the right length),
	// "md5hex" (the lower hex md5 of it, 32 bytes, so AES-256; rows A10) or "php" (cut or filled with NUL to the
	// length, as openssl_encrypt does silently; rows A11, A12).
	KeyForm string
	// Padding is "pkcs7" (default), "zero" (row A15) or "none" (whole blocks only).
	Padding string
	// IV is for cbc: "zero" (16 NUL bytes, row A05), "key" (the first 16 bytes of the AES key, A06 to A08), "prefix"
	// (random, sent before the ciphertext, A09) or "text:" and 16 characters.
	IV string
	// Encoding of the ciphertext: "base64" (default), "base64url", "hex" or "HEX" (row A04).
	Encoding string
	// Order is "plain" (default), "double" (the encoded ciphertext is Base64 encoded again, row A13) or "base64first"
	// (the text is Base64 encoded before AES, row A14).
	Order string
}

// Cipher encrypts args for one account. It is safe for concurrent use.
type Cipher struct {
	block  cipher.Block
	config CipherConfig
	iv     []byte
	random io.Reader
}

// Format implements fmt.Formatter: fmt would print the round keys.
func (c *Cipher) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("withhold.Cipher")) }

// NewCipher builds the cipher for one account's key. Its error names the settings, never the key.
func NewCipher(c CipherConfig, key Key) (*Cipher, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	bytes, err := c.key(string(key))
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(bytes)
	if err != nil {
		return nil, errors.New("cipher: the key does not fit AES")
	}
	out := &Cipher{block: block, config: c, random: rand.Reader}
	switch {
	case c.IV == "zero":
		out.iv = make([]byte, aes.BlockSize)
	case c.IV == "key":
		out.iv = bytes[:aes.BlockSize]
	case strings.HasPrefix(c.IV, "text:"):
		out.iv = []byte(strings.TrimPrefix(c.IV, "text:"))
	}
	return out, nil
}

func (c CipherConfig) withDefaults() CipherConfig {
	set := func(s *string, fallback string) {
		if *s == "" {
			*s = fallback
		}
	}
	set(&c.Mode, "ecb")
	set(&c.KeyForm, "raw")
	set(&c.Padding, "pkcs7")
	set(&c.Encoding, "base64")
	set(&c.Order, "plain")
	if c.KeyBits == 0 {
		c.KeyBits = 128
	}
	return c
}

// Validate returns all problems of the settings, joined.
func (c CipherConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	check := func(name, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, fmt.Errorf("cipher %s: %q is not one of %s", name, value, strings.Join(allowed, ", ")))
		}
	}
	check("mode", c.Mode, "ecb", "cbc")
	check("key bits", fmt.Sprint(c.KeyBits), "128", "192", "256")
	check("key form", c.KeyForm, "raw", "md5hex", "php")
	check("padding", c.Padding, "pkcs7", "zero", "none")
	check("encoding", c.Encoding, "base64", "base64url", "hex", "HEX")
	check("order", c.Order, "plain", "double", "base64first")
	switch {
	case c.Mode == "ecb" && c.IV != "":
		errs = append(errs, errors.New("cipher IV: ecb takes none, leave it empty"))
	case c.Mode == "cbc" && strings.HasPrefix(c.IV, "text:"):
		if len(c.IV) != len("text:")+aes.BlockSize {
			errs = append(errs, errors.New("cipher IV: text: must be followed by exactly 16 bytes"))
		}
	case c.Mode == "cbc":
		check("IV", c.IV, "zero", "key", "prefix")
	}
	if c.KeyForm == "md5hex" && c.KeyBits != 256 {
		errs = append(errs, fmt.Errorf("cipher key form: md5hex makes 32 bytes, so key bits must be 256, not %d", c.KeyBits))
	}
	return errors.Join(errs...)
}

// key derives the AES key.
func (c CipherConfig) key(given string) ([]byte, error) {
	size := c.KeyBits / 8
	if given == "" {
		return nil, errors.New("cipher: the key is empty")
	}
	switch c.KeyForm {
	case "md5hex":
		return []byte(md5Hex(given)), nil
	case "php":
		key := make([]byte, size)
		copy(key, given)
		return key, nil
	}
	if len(given) != size {
		return nil, fmt.Errorf("cipher: the key has %d bytes, AES-%d needs exactly %d (key form php cuts or fills it, "+
			"md5hex hashes it; or set key bits to 128, 192 or 256 for 16, 24 or 32 bytes)", len(given), c.KeyBits, size)
	}
	return []byte(given), nil
}

// Seal encrypts and encodes text.
func (c *Cipher) Seal(text []byte) (string, error) {
	if c.config.Order == "base64first" {
		text = []byte(base64.StdEncoding.EncodeToString(text))
	}
	padded, err := c.pad(text)
	if err != nil {
		return "", err
	}
	sealed, err := c.encrypt(padded)
	if err != nil {
		return "", err
	}
	out := c.encode(sealed)
	if c.config.Order == "double" {
		out = base64.StdEncoding.EncodeToString([]byte(out))
	}
	return out, nil
}

// Open reverses Seal. Its errors hold nothing of the text.
func (c *Cipher) Open(text string) ([]byte, error) {
	if c.config.Order == "double" {
		inner, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errors.New("opening args: the outer text is not Base64")
		}
		text = string(inner)
	}
	sealed, err := c.decode(text)
	if err != nil {
		return nil, fmt.Errorf("opening args: the text is not %s", c.config.Encoding)
	}
	padded, err := c.decrypt(sealed)
	if err != nil {
		return nil, err
	}
	plain, err := c.unpad(padded)
	if err != nil {
		return nil, err
	}
	if c.config.Order != "base64first" {
		return plain, nil
	}
	out, err := base64.StdEncoding.DecodeString(string(plain))
	if err != nil {
		return nil, errors.New("opening args: the plain text is not Base64")
	}
	return out, nil
}

func (c *Cipher) encrypt(padded []byte) ([]byte, error) {
	out := make([]byte, len(padded))
	if c.config.Mode == "ecb" {
		for i := 0; i < len(padded); i += aes.BlockSize {
			c.block.Encrypt(out[i:], padded[i:i+aes.BlockSize])
		}
		return out, nil
	}
	iv := c.iv
	if iv == nil {
		iv = make([]byte, aes.BlockSize)
		if _, err := io.ReadFull(c.random, iv); err != nil {
			return nil, fmt.Errorf("sealing args: %w", err)
		}
	}
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(out, padded)
	if c.iv == nil {
		out = append(slices.Clone(iv), out...)
	}
	return out, nil
}

func (c *Cipher) decrypt(sealed []byte) ([]byte, error) {
	iv := c.iv
	if c.config.IV == "prefix" && len(sealed) >= aes.BlockSize {
		iv, sealed = sealed[:aes.BlockSize], sealed[aes.BlockSize:]
	}
	if len(sealed)%aes.BlockSize != 0 || c.config.Mode == "cbc" && iv == nil {
		return nil, errors.New("opening args: not a whole number of blocks")
	}
	out := make([]byte, len(sealed))
	if c.config.Mode == "cbc" {
		cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(out, sealed)
		return out, nil
	}
	for i := 0; i < len(sealed); i += aes.BlockSize {
		c.block.Decrypt(out[i:], sealed[i:i+aes.BlockSize])
	}
	return out, nil
}

func (c *Cipher) pad(text []byte) ([]byte, error) {
	missing := aes.BlockSize - len(text)%aes.BlockSize
	switch {
	case c.config.Padding == "pkcs7":
		return append(slices.Clone(text), bytes.Repeat([]byte{byte(missing)}, missing)...), nil
	case missing == aes.BlockSize:
		return text, nil
	case c.config.Padding == "zero":
		return append(slices.Clone(text), make([]byte, missing)...), nil
	}
	return nil, errors.New("sealing args: without padding the text must fill whole blocks of 16 bytes")
}

func (c *Cipher) unpad(text []byte) ([]byte, error) {
	switch c.config.Padding {
	case "zero":
		return bytes.TrimRight(text, "\x00"), nil
	case "none":
		return text, nil
	}
	if len(text) == 0 {
		return nil, errors.New("opening args: no padding")
	}
	n := int(text[len(text)-1])
	if n < 1 || n > aes.BlockSize || n > len(text) {
		return nil, errors.New("opening args: bad padding (another key or mode?)")
	}
	for _, b := range text[len(text)-n:] {
		if int(b) != n {
			return nil, errors.New("opening args: bad padding (another key or mode?)")
		}
	}
	return text[:len(text)-n], nil
}

func (c *Cipher) encode(sealed []byte) string {
	switch c.config.Encoding {
	case "base64url":
		return base64.URLEncoding.EncodeToString(sealed)
	case "hex":
		return hex.EncodeToString(sealed)
	case "HEX":
		return strings.ToUpper(hex.EncodeToString(sealed))
	}
	return base64.StdEncoding.EncodeToString(sealed)
}

func (c *Cipher) decode(text string) ([]byte, error) {
	switch c.config.Encoding {
	case "base64url":
		return base64.URLEncoding.DecodeString(text)
	case "hex", "HEX":
		return hex.DecodeString(text)
	}
	return base64.StdEncoding.DecodeString(text)
}

// md5Hex is the lower case hex md5 of text; the vendor's choice, not ours.
func md5Hex(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

package redisstore

import (
	"strconv"
	"strings"
)

// stored is a record as it stands in Redis, "<version>|<token>|<value>": one string, so that version and value can only
// change together. The token is unique to the write, which can thus recognise itself when something between client and
// server sent it twice.
type stored struct {
	version uint64
	token   string
	value   []byte
}

// begin is how the stored form of a version begins that a write left; "" for version 0, which is absence.
func begin(version uint64, token string) string {
	if version == 0 {
		return ""
	}
	return strconv.FormatUint(version, 10) + "|" + token + "|"
}

// head is what stands before the value.
func (s stored) head() string { return begin(s.version, s.token) }

// decode accepts only a head and a value. The value is never nil.
func decode(text string) (stored, error) {
	digits, rest, found := strings.Cut(text, "|")
	if !found {
		return stored{}, errMalformed
	}
	token, value, found := strings.Cut(rest, "|")
	if !found || token == "" {
		return stored{}, errMalformed
	}
	version, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || version == 0 || digits[0] == '0' {
		return stored{}, errMalformed
	}
	return stored{version: version, token: token, value: []byte(value)}, nil
}

package daxpay

import (
	"cmp"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// SignType is how an installation signs. The request does not carry it.
type SignType string

// The types that 2.0.x has (spec page, section 1.8).
const (
	HMACSHA256 SignType = "HMAC_SHA256"
	MD5        SignType = "MD5"
)

func (t SignType) validate() error {
	if t != HMACSHA256 && t != MD5 {
		return fmt.Errorf("sign type: %.20q is neither %s nor %s", string(t), HMACSHA256, MD5)
	}
	return nil
}

// maxDepth bounds lists inside lists; the answers of 2.0.x have one level.
const maxDepth = 4

var errUnsignable = errors.New("it holds a value for which the server has no signing rule")

// sign returns the signature of a request or of an answer's data object, lower-case hex: the fields but sign, as
// [linkString] joins them, then "&key=" and the secret; HMAC uses the secret as its key on top.
func sign(fields object, t SignType, secret Secret) (string, error) {
	text, err := linkString(fields)
	if err != nil {
		return "", err
	}
	text += "&key=" + string(secret)
	if t == MD5 {
		sum := md5.Sum([]byte(text))
		return hex.EncodeToString(sum[:]), nil
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// verify reports whether the object's own sign is right. An absent sign, null and upper-case hex are wrong.
func verify(fields object, t SignType, secret Secret) bool {
	given, _ := scalar(fields["sign"])
	want, err := sign(fields, t, secret)
	return err == nil && hmac.Equal([]byte(given), []byte(want))
}

// linkString joins name=value with & in the ascending order of the names, without sign (in any case) and without nulls;
// an empty string stands as "name=". Then every " and \ of the whole is deleted, as the server does.
func linkString(fields object) (string, error) {
	var parts []string
	for _, name := range slices.SortedFunc(maps.Keys(fields), compareUTF16) {
		if strings.EqualFold(name, "sign") {
			continue
		}
		text, signed, err := signedText(fields[name], 0)
		if err != nil {
			return "", err
		}
		if signed {
			parts = append(parts, name+"="+text)
		}
	}
	return strings.NewReplacer(`"`, "", `\`, "").Replace(strings.Join(parts, "&")), nil
}

// signedText is a value as it is signed: text raw, numbers and booleans by their tokens, lists as JSON. Null and the
// empty list are not signed.
func signedText(raw json.RawMessage, depth int) (text string, signed bool, err error) {
	switch kindOf(raw) {
	case isNull:
		return "", false, nil
	case isList:
		return signedList(raw, depth)
	}
	text, ok := scalar(raw)
	if !ok {
		// The server signs a bean in its declared order and a map in sorted order; the JSON does not tell which.
		return "", false, errUnsignable
	}
	return text, true, nil
}

// signedList writes a list of objects: its nulls are dropped, which may leave "[]", names are sorted without regard to
// case, all values are strings.
func signedList(raw json.RawMessage, depth int) (text string, signed bool, err error) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || depth >= maxDepth {
		return "", false, errUnsignable
	}
	if len(items) == 0 {
		return "", false, nil
	}
	var parts []string
	for _, item := range items {
		if kindOf(item) == isNull {
			continue
		}
		fields, err := readObject(item)
		if err != nil {
			return "", false, errUnsignable
		}
		part, err := signedItem(fields, depth)
		if err != nil {
			return "", false, err
		}
		parts = append(parts, part)
	}
	return "[" + strings.Join(parts, ",") + "]", true, nil
}

func signedItem(fields object, depth int) (string, error) {
	var parts []string
	for _, name := range slices.SortedFunc(maps.Keys(fields), compareNoCase) {
		text, signed, err := signedText(fields[name], depth+1)
		if err != nil {
			return "", err
		}
		if signed {
			parts = append(parts, quote(name)+":"+quote(text))
		}
	}
	return "{" + strings.Join(parts, ",") + "}", nil
}

// quote writes a JSON string as the server's library (hutool) does. It matters although the quotes and backslashes are
// deleted later: a newline inside a list is signed as "n", a no-break space as "u00a0".
func quote(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch r {
		case '"', '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case '\b':
			out.WriteString(`\b`)
		case '\t':
			out.WriteString(`\t`)
		case '\n':
			out.WriteString(`\n`)
		case '\f':
			out.WriteString(`\f`)
		case '\r':
			out.WriteString(`\r`)
		default:
			if escaped(r) {
				fmt.Fprintf(&out, `\u%04x`, r)
			} else {
				out.WriteRune(r)
			}
		}
	}
	out.WriteByte('"')
	return out.String()
}

// escaped are the ranges that hutool 5.8 writes as \uXXXX.
func escaped(r rune) bool {
	return r < 0x20 || r >= 0x80 && r <= 0xa0 || r >= 0x2000 && r <= 0x2010 || r >= 0x2028 && r <= 0x202f ||
		r >= 0x2066 && r <= 0x206f
}

// compareUTF16 is Java's String.compareTo.
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// compareNoCase is Java's String.CASE_INSENSITIVE_ORDER.
func compareNoCase(a, b string) int {
	fold := func(text string) []rune {
		out := []rune(text)
		for i, r := range out {
			out[i] = unicode.ToLower(unicode.ToUpper(r))
		}
		return out
	}
	return cmp.Or(slices.Compare(fold(a), fold(b)), strings.Compare(a, b))
}

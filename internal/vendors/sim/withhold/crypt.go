package withhold

import (
	"crypto/aes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// openECB decrypts Base64 of AES-ECB with PKCS7, as Java does: the key's length says which AES.
func openECB(key, args string) ([]byte, error) {
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		return nil, errors.New("the key fits no AES")
	}
	data, err := base64.StdEncoding.DecodeString(args)
	if err != nil || len(data) == 0 || len(data)%block.BlockSize() != 0 {
		return nil, errors.New("not Base64 of whole blocks")
	}
	for rest := data; len(rest) > 0; rest = rest[block.BlockSize():] {
		block.Decrypt(rest, rest[:block.BlockSize()])
	}
	pad := int(data[len(data)-1])
	if pad == 0 || pad > block.BlockSize() {
		return nil, errors.New("bad padding")
	}
	for _, b := range data[len(data)-pad:] {
		if int(b) != pad {
			return nil, errors.New("bad padding")
		}
	}
	return data[:len(data)-pad], nil
}

// phpJSON writes v as PHP's json_encode does: keys sorted here, slashes escaped, and everything beyond ASCII too unless
// the flag JSON_UNESCAPED_UNICODE was given. v is nil, a string, an int or a map of them.
func phpJSON(v any, escapeUnicode bool) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case int:
		return strconv.Itoa(v)
	case string:
		return phpString(v, escapeUnicode)
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, phpString(k, escapeUnicode)+":"+phpJSON(v[k], escapeUnicode))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	panic(fmt.Sprintf("phpJSON: %T is not written by this double", v))
}

func phpString(text string, escapeUnicode bool) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '/':
			out.WriteString(`\/`)
		case r < 0x80:
			// ASCII but the slash is written alike by all; json.Marshal would escape < > &.
			one, _ := json.Marshal(string(r))
			if strings.ContainsRune("<>&", r) {
				one = []byte(`"` + string(r) + `"`)
			}
			out.Write(one[1 : len(one)-1])
		case escapeUnicode:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

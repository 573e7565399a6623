package wire

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestObject(t *testing.T) {
	t.Parallel()
	got, err := Object([]byte(` {"a":1,"A":"x:{\"b\":[","c":{"d":1,"e":[{"f":2}]}} `))
	require.NoError(t, err)
	require.Equal(t, map[string]json.RawMessage{"a": []byte("1"), "A": []byte(`"x:{\"b\":["`), "c": []byte(`{"d":1,"e":[{"f":2}]}`)}, got)
	for text, want := range map[string]error{
		"": ErrNotObject, "null": ErrNotObject, "[]": ErrNotObject, `"a"`: ErrNotObject, `{"a":1`: ErrNotObject,
		"{} {}": ErrNotObject, "{}x": ErrNotObject, `{"a":1,"a":2}`: ErrTwice, `{"a":1,"\u0061":2}`: ErrTwice,
	} {
		_, err := Object([]byte(text))
		require.ErrorIs(t, err, want, text)
	}
}

// FuzzObject compares with a slow reader that sees every name.
func FuzzObject(f *testing.F) {
	f.Add(`{"a":1,"b":{"a":2}}`)
	f.Add(`{"a":1,"a":2}`)
	f.Add(`{"a\"":"\\","b":[":"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Object([]byte(text))
		want, twice, ok := slowly(text)
		switch {
		case !ok:
			require.ErrorIs(t, err, ErrNotObject)
		case twice:
			require.ErrorIs(t, err, ErrTwice)
		default:
			require.NoError(t, err)
			require.Len(t, got, want)
		}
	})
}

func slowly(text string) (names int, twice, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return 0, false, false
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		name, isName := token.(string)
		if err != nil || !isName {
			return 0, false, false
		}
		twice = twice || seen[name]
		seen[name] = true
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return 0, false, false
		}
	}
	if _, err := d.Token(); err != nil {
		return 0, false, false
	}
	_, err := d.Token()
	return len(seen), twice, err == io.EOF
}

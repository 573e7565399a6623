package jsonobject_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/jsonobject"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, raw string
		want      map[string]string
		err       error
	}{
		{"nothing", ``, nil, jsonobject.ErrNotObject},
		{"a word", `null`, nil, jsonobject.ErrNotObject},
		{"a list", `[{"a":1}]`, nil, jsonobject.ErrNotObject},
		{"cut off", `{"a":"1`, nil, jsonobject.ErrNotObject},
		{"text behind", `{"a":1} {}`, nil, jsonobject.ErrNotObject},
		{"empty", " {\t} \n", map[string]string{}, nil},
		{"one", `{"a":1}`, map[string]string{"a": "1"}, nil},
		{"spaces everywhere", " { \"a\" : 1 , \"b\"\t:\r\n[ 1 , 2 ] } ", map[string]string{"a": "1", "b": "[ 1 , 2 ]"}, nil},
		{"values of each kind", `{"s":"x","n":-1.5e3,"t":true,"f":false,"0":null,"o":{"a":[{}]},"l":[]}`, map[string]string{
			"s": `"x"`, "n": "-1.5e3", "t": "true", "f": "false", "0": "null", "o": `{"a":[{}]}`, "l": "[]",
		}, nil},
		{"brackets and quotes in strings", `{"a":"}]\",{","b":{"c":"]"}}`, map[string]string{"a": `"}]\",{"`, "b": `{"c":"]"}`}, nil},
		{"an escaped name", `{"\u0061":1}`, map[string]string{"a": "1"}, nil},
		{"names in two cases", `{"a":1,"A":2}`, map[string]string{"a": "1", "A": "2"}, nil},
		{"twice", `{"a":1,"b":2,"a":3}`, nil, jsonobject.ErrTwice},
		{"twice, once escaped", `{"a":1,"\u0061":1}`, nil, jsonobject.ErrTwice},
		{"twice further down is the caller's", `{"a":{"b":1,"b":2}}`, map[string]string{"a": `{"b":1,"b":2}`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := jsonobject.Read([]byte(c.raw))
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.want, texts(got))
		})
	}
}

func TestRepeated(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"a"`: "", `1`: "", `{}`: "", `["a","a"]`: "", `{"a":"a","b":["a"]}`: "", `[{"a":1},{"a":1}]`: "", `{"a":{"a":{"a":1}}}`: "",
		`{"a":1,"a":2}`: "a", `{"a":[{"b":{"c":1,"d":2,"c":3}}]}`: "c", `{"a" : 1, "\u0061" :2}`: "a", `[[{"b":"}"}],{"c":1,"c":1}]`: "c",
	} {
		name, found := jsonobject.Repeated([]byte(raw))
		require.Equal(t, want, name, raw)
		require.Equal(t, want != "", found, raw)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw, want string
		ok        bool
	}{
		{`"欧阳"`, "欧阳", true}, {`"\u6b27\n"`, "欧\n", true}, {`""`, "", true},
		{"\"a\xffb\"", "a\uFFFDb", true}, {`1`, "", false}, {`null`, "", false}, {``, "", false}, {`"`, "", false}, {`"\x"`, "", false},
	} {
		got, ok := jsonobject.Text([]byte(c.raw))
		require.Equal(t, c.ok, ok, "%q", c.raw)
		require.Equal(t, c.want, got, "%q", c.raw)
	}
}

// FuzzRead compares with encoding/json, which reads the same objects, and takes the last of two values of one name.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, ` { "a" : "\"}" , "b":[1,{}] } `, `{"a":1,"\u0061":2}`, `null`, `{"":{"":[]}}`, "{\"\xff\":0}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := jsonobject.Read(raw)
		var want map[string]json.RawMessage
		valid := json.Unmarshal(raw, &want) == nil && want != nil
		switch {
		case err == nil:
			require.True(t, valid)
			require.Equal(t, texts(want), texts(got))
		case errors.Is(err, jsonobject.ErrTwice):
			require.True(t, valid)
			_, found := jsonobject.Repeated(raw)
			require.True(t, found)
		default:
			require.False(t, valid)
		}
		for _, value := range got {
			var text string
			is := len(value) > 0 && value[0] == '"' && json.Unmarshal(value, &text) == nil
			read, ok := jsonobject.Text(value)
			require.Equal(t, is, ok)
			require.Equal(t, text, read)
		}
	})
}

func texts(fields map[string]json.RawMessage) map[string]string {
	if fields == nil {
		return nil
	}
	out := map[string]string{}
	for name, raw := range fields {
		out[name] = string(raw)
	}
	return out
}

package esign

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vector is a line of testdata/vectors.json: request and callback signatures, reproduced from public ones or computed
// by a port of the vendor's demo; see its "about".
type vector struct {
	ID, Kind, Secret, Method, Path, Accept, Body, Signature, Timestamp string

	Params         [][2]string
	Query          [][2]string
	ContentType    string `json:"content_type"`
	ContentMD5     string `json:"content_md5"`
	PathAndParams  string `json:"path_and_parameters"`
	StringToSign   string `json:"string_to_sign"`
	SignatureHex   string `json:"signature_hex"`
	MustNotEqual   string `json:"must_not_equal"`
	SignedBytes    string `json:"signed_bytes_utf8"`
	SignatureNames string `json:"signature_headers"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	require.NoError(t, err)
	var file struct{ Vectors []vector }
	require.NoError(t, json.Unmarshal(raw, &file))
	return file.Vectors
}

func (v vector) values(pairs [][2]string) url.Values {
	out := url.Values{}
	for _, p := range pairs {
		out.Add(p[0], p[1])
	}
	return out
}

// request is the vector's request as it would stand before it is authorized.
func (v vector) request() *http.Request {
	req := &http.Request{
		Method: v.Method, Header: http.Header{},
		URL: &url.URL{Scheme: "https", Host: "openapi.test", Path: v.Path, RawQuery: v.values(v.Params).Encode()},
	}
	for name, value := range map[string]string{
		"Accept": v.Accept, "Content-Type": v.ContentType, "Content-MD5": v.ContentMD5,
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return req
}

// The kinds but content_md5, which only requests with a body have; the double's tests hold those.
func TestEveryVector(t *testing.T) {
	t.Parallel()
	kinds := map[string]int{}
	for _, v := range vectors(t) {
		kinds[v.Kind]++
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			a := Account{Secret: Secret(v.Secret)}
			switch v.Kind {
			case "request":
				require.Empty(t, v.SignatureNames)
				require.Equal(t, v.PathAndParams, pathAndParameters(v.Path, v.values(v.Params)))
				require.Equal(t, v.StringToSign, stringToSign(v.request()))
				require.Equal(t, v.Signature, a.signature(v.StringToSign))
			case "negative":
				a.Secret = "0123456789abcdef0123456789abcdef"
				require.Equal(t, v.Signature, a.signature(v.StringToSign))
				require.NotEqual(t, v.MustNotEqual, v.Signature)
				require.NotEqual(t, v.StringToSign, stringToSign(seedVector(t).request()))
			case "callback":
				query := v.values(v.Query)
				require.Equal(t, v.SignatureHex, a.callbackSignature(v.Timestamp, query, []byte(v.Body)))
				require.True(t, strings.HasSuffix(v.SignedBytes, v.Body))
			}
		})
	}
	require.Equal(t, map[string]int{"content_md5": 2, "request": 8, "negative": 4, "callback": 2}, kinds)
}

func seedVector(t testing.TB) vector {
	t.Helper()
	for _, v := range vectors(t) {
		if v.ID == "R03-seed-get" {
			return v
		}
	}
	require.Fail(t, "the seed's vector is gone")
	return vector{}
}

func TestPathAndParameters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ query, want string }{
		"none":                {"", "/p"},
		"ascending by bytes":  {"b=2&a=1&B=3", "/p?B=3&a=1&b=2"},
		"empty value":         {"a=&b", "/p?a&b"},
		"first value only":    {"a=1&a=2", "/p?a=1"},
		"first one empty":     {"a=&a=2", "/p?a"},
		"values as they are":  {"a=%E5%85%B3%20%2F%26", "/p?a=关 /&"},
		"plus means a space":  {"a=b+c", "/p?a=b c"},
		"keys as they are":    {"%E5%85%B3=1", "/p?关=1"},
		"nothing but a space": {"a=%20", "/p?a= "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			query, err := url.ParseQuery(c.query)
			require.NoError(t, err)
			require.Equal(t, c.want, pathAndParameters("/p", query))
		})
	}
}

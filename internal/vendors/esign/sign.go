package esign

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Headers of the gateway (seed 000).
const (
	headerApp       = "X-Tsign-Open-App-Id"
	headerMode      = "X-Tsign-Open-Auth-Mode"
	headerTimestamp = "X-Tsign-Open-Ca-Timestamp"
	headerSignature = "X-Tsign-Open-Ca-Signature"
	headerToken     = "X-Tsign-Open-Token"
)

// authorize signs a request that has all its other headers. The timestamp, in milliseconds, is not signed.
func (a Account) authorize(req *http.Request, now time.Time) {
	req.Header.Set(headerApp, a.AppID)
	req.Header.Set(headerMode, "Signature")
	req.Header.Set(headerTimestamp, strconv.FormatInt(now.UnixMilli(), 10))
	req.Header.Set(headerSignature, a.signature(stringToSign(req)))
}

func (a Account) signature(text string) string {
	mac := hmac.New(sha256.New, []byte(a.Secret))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// stringToSign is built from the very headers that are sent; an absent one keeps its empty line. No further headers are
// signed, so the part for them has no line at all.
func stringToSign(req *http.Request) string {
	return strings.Join([]string{
		req.Method, req.Header.Get("Accept"), req.Header.Get("Content-Md5"), req.Header.Get("Content-Type"),
		req.Header.Get("Date"), pathAndParameters(req.URL.EscapedPath(), req.URL.Query()),
	}, "\n")
}

// pathAndParameters is the path and the query in ascending order of its keys: values as they are, not encoded, the
// first one only of a key that stands twice, and no "=" after the key of an empty one.
func pathAndParameters(path string, query url.Values) string {
	var out strings.Builder
	out.WriteString(path)
	separator := "?"
	for _, key := range slices.SortedFunc(maps.Keys(query), cmp.Compare[string]) {
		out.WriteString(separator + key)
		if value := query.Get(key); value != "" {
			out.WriteString("=" + value)
		}
		separator = "&"
	}
	return out.String()
}

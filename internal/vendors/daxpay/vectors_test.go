package daxpay

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
)

// vector is one entry of testdata/vectors.json, whichever of its lists it stands in. All of them are of the seed's
// family (2.0.x): the file holds none of another.
type vector struct {
	ID, Alg, Secret, JSON, Sign, SignString, MD5, HMACSHA256, PostedJSON, DataJSON, BodyJSON string
	Family                                                                                   string `json:"version_family"`
	NegativeJSON                                                                             string `json:"negative_json"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var lists map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &lists))
	var out []vector
	for name, list := range lists {
		if name == "about" {
			continue
		}
		var some []vector
		require.NoError(t, json.Unmarshal(list, &some), name)
		require.NotEmpty(t, some, name)
		out = append(out, some...)
	}
	return out
}

// object is the vector's JSON as it was signed.
func (v vector) object() string {
	for _, text := range []string{v.JSON, v.PostedJSON, v.DataJSON} {
		if text != "" {
			return text
		}
	}
	return ""
}

// sums are the vector's signatures by their types.
func (v vector) sums() map[SignType]string {
	if v.Alg != "" {
		return map[SignType]string{SignType(v.Alg): v.Sign}
	}
	return map[SignType]string{MD5: v.MD5, HMACSHA256: v.HMACSHA256}
}

func parse(t testing.TB, text string) object {
	t.Helper()
	fields, err := readObject([]byte(text))
	require.NoError(t, err)
	return fields
}

// D08 is the transfer query: successTime is sent as a local date and signed as Unix seconds (spec page, section 2).
// The receiver query has no such field, so the adapter has no such rule; the test does the server's conversion.
func undated(t testing.TB, v vector) string {
	t.Helper()
	const date = "2024-06-24 15:29:24"
	if v.ID != "D08" {
		return v.object()
	}
	at, err := time.ParseInLocation(time.DateTime, date, time.FixedZone("GMT+8", 8*3600))
	require.NoError(t, err)
	return strings.Replace(v.object(), `"`+date+`"`, strconv.FormatInt(at.Unix(), 10), 1)
}

func TestVectors(t *testing.T) {
	t.Parallel()
	all := vectors(t)
	require.Len(t, all, 2+37+8+3, "a vector was added or lost")
	for _, v := range all {
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, []string{"", "legacy"}, v.Family, "a vector of another family needs a dialect of its own")
			fields := parse(t, undated(t, v))
			text, err := linkString(fields)
			require.NoError(t, err)
			require.Equal(t, v.SignString, text+"&key="+v.Secret)
			for kind, want := range v.sums() {
				got, err := sign(fields, kind, Secret(v.Secret))
				require.NoError(t, err)
				require.Equal(t, want, got, kind)

				fields["sign"], err = json.Marshal(want)
				require.NoError(t, err)
				require.True(t, verify(fields, kind, Secret(v.Secret)))
				require.False(t, verify(fields, kind, Secret(v.Secret)+" "), "the secret counts as it is")
			}
		})
	}
}

func TestSeedRequestCountsClientIP(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		if v.NegativeJSON != "" {
			require.False(t, verify(parse(t, v.NegativeJSON), SignType(v.Alg), Secret(v.Secret)))
			require.True(t, verify(parse(t, v.JSON), SignType(v.Alg), Secret(v.Secret)))
			return
		}
	}
	require.Fail(t, "the vector is gone")
}

// The bodies that the vendor's own client posts, byte for byte.
func TestPostedBodies(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, v := range vectors(t) {
		if v.PostedJSON == "" || !strings.Contains(v.PostedJSON, `"receiverNo"`) || strings.Contains(v.PostedJSON, "bizAllocNo") {
			continue
		}
		tried++
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			fields := parse(t, v.PostedJSON)
			take := func(name string) *string {
				if fields[name] == nil {
					return nil
				}
				text, ok := scalar(fields[name])
				require.True(t, ok)
				return &text
			}
			var reqTime int64
			require.NoError(t, json.Unmarshal(fields["reqTime"], &reqTime))
			nonce, _ := scalar(fields["nonceStr"])
			q := Query{Channel: take("channel"), ReceiverNo: take("receiverNo"), ClientIP: take("clientIp")}
			body, err := q.seal(HMACSHA256, Secret(v.Secret), reqTime, nonce)
			require.NoError(t, err)
			require.Equal(t, v.PostedJSON, string(body))

			body, err = q.seal(MD5, Secret(v.Secret), reqTime, nonce)
			require.NoError(t, err)
			require.Equal(t, strings.Replace(v.PostedJSON, v.HMACSHA256, v.MD5, 1), string(body))
		})
	}
	require.Equal(t, 4, tried)
}

// The answers that the vendor's own class signed.
func TestAnswerVectors(t *testing.T) {
	t.Parallel()
	channel, receiverNo := "ali_pay", "123"
	for _, v := range vectors(t) {
		if v.BodyJSON == "" {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			a, err := decodeAnswer([]byte(v.BodyJSON))
			require.NoError(t, err)
			valid := func(data object) bool { return verify(data, HMACSHA256, Secret(v.Secret)) }
			plain := func(text string) string { return text }
			reply, err := a.translate(Query{}, valid, plain, true)
			require.NoError(t, err)
			require.Equal(t, commands.StatusSucceeded, reply.Status)
			require.Equal(t, "0", reply.Code)
			want := parse(t, v.DataJSON)["receivers"]
			require.JSONEq(t, strings.ReplaceAll(string(want), `\n`, " "), string(reply.Extra["receivers"]))

			// The same text under a question that it does not answer.
			_, err = a.translate(Query{Channel: &channel, ReceiverNo: &receiverNo}, valid, plain, true)
			require.Equal(t, v.ID == "J11", err != nil)
		})
	}
}

func TestSigningRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ json, want string }{
		"null is not signed":                {`{"b":null,"a":"1"}`, "a=1"},
		"an empty text is":                  {`{"b":"","a":"1"}`, "a=1&b="},
		"numbers by their tokens":           {`{"a":1.50,"b":10000000000000000000001,"c":1E3}`, "a=1.50&b=10000000000000000000001&c=1E3"},
		"a long in a text":                  {`{"a":"9007199254740993"}`, "a=9007199254740993"},
		"booleans":                          {`{"a":true,"b":false}`, "a=true&b=false"},
		"upper case sorts first":            {`{"b":"1","B2":"2","a":"3","_":"4"}`, "B2=2&_=4&a=3&b=1"},
		"sign in any case":                  {`{"SIGN":"x","a":"1"}`, "a=1"},
		"quotes and backslashes go":         {`{"a\"b":"c\\d\"e"}`, "ab=cde"},
		"a newline at the top stays":        {`{"a":"x\ny"}`, "a=x\ny"},
		"an empty list is not signed":       {`{"a":[],"b":"1"}`, "b=1"},
		"a list of nulls is":                {`{"a":[null],"b":"1"}`, "a=[]&b=1"},
		"nulls in a list are dropped":       {`{"a":[null,{"x":1},null]}`, "a=[{x:1}]"},
		"an empty item":                     {`{"a":[{}]}`, "a=[{}]"},
		"items sort without case":           {`{"a":[{"b":1,"C":2,"A":3,"_":4}]}`, "a=[{_:4,A:3,b:1,C:2}]"},
		"nulls in items are dropped":        {`{"a":[{"b":null,"c":""}]}`, "a=[{c:}]"},
		"a newline in an item becomes n":    {`{"a":[{"b":"x\n\t\r\b\fy"}]}`, "a=[{b:xntrbfy}]"},
		"control and format signs":          {`{"a":[{"b":"\u0001\u001f\u007f\u0080\u00a0\u00a1\u2000\u2010\u2011\u2028\u202f\u2066\u206f\u2070"}]}`, "a=[{b:u0001u001f\u007fu0080u00a0\u00a1u2000u2010\u2011u2028u202fu2066u206f\u2070}]"},
		"no HTML escapes in items":          {`{"a":[{"b":"</>&'"}]}`, "a=[{b:</>&'}]"},
		"sign in an item is an item's":      {`{"a":[{"sign":"x"}]}`, "a=[{sign:x}]"},
		"a list in an item":                 {`{"a":[{"b":[{"c":"x\ny"}],"d":[]}]}`, "a=[{b:[{c:xny}]}]"},
		"beyond the basic plane":            {`{"a":"😀","b":[{"c":"😀"}]}`, "a=😀&b=[{c:😀}]"},
		"a name beyond it sorts as in Java": {"{\"\uff5e\":1,\"\U0001F600\":2}", "\U0001F600=2&\uff5e=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := linkString(parse(t, c.json))
			require.NoError(t, err)
			require.Equal(t, c.want, text)
		})
	}
	for name, text := range map[string]string{
		"an object":          `{"a":{}}`,
		"a list of texts":    `{"a":["x"]}`,
		"a list of lists":    `{"a":[[]]}`,
		"an object in items": `{"a":[{"b":{}}]}`,
		"a name twice":       `{"a":[{"b":1,"B":2}]}`,
		"too deep":           `{"a":[{"a":[{"a":[{"a":[{"a":[{}]}]}]}]}]}`,
	} {
		t.Run("no rule for "+name, func(t *testing.T) {
			t.Parallel()
			_, err := linkString(parse(t, text))
			require.ErrorIs(t, err, errUnsignable)
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	const good = `{"code":0,"resTime":1717419940,"sign":"9da78deb3b5915b3cf050486a3040940377d798e622a6ff20288c3ad4d888c9f"}`
	require.True(t, verify(parse(t, good), HMACSHA256, "123456"))
	for name, bad := range map[string]string{
		"no sign":             `{"code":0,"resTime":1717419940}`,
		"null":                `{"code":0,"resTime":1717419940,"sign":null}`,
		"empty":               `{"code":0,"resTime":1717419940,"sign":""}`,
		"a number":            `{"code":0,"resTime":1717419940,"sign":0}`,
		"upper-case hex":      strings.Replace(good, "9da78deb3b59", "9DA78DEB3B59", 1),
		"cut":                 strings.Replace(good, "88c9f", "", 1),
		"another value":       strings.Replace(good, "940,", "941,", 1),
		"another field":       strings.Replace(good, "{", `{"receivers":[{"receiverNo":"1"}],`, 1),
		"an unsignable field": strings.Replace(good, "{", `{"more":{},`, 1),
		"sign in capitals":    strings.Replace(good, `"sign"`, `"Sign"`, 1),
		"the other type":      `{"code":0,"resTime":1717419940,"sign":"838fda9f385b8a4f273dea13e138389c"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.False(t, verify(parse(t, bad), HMACSHA256, "123456"))
		})
	}
}

// FuzzVerify: whatever a stranger sends, only a signature made with the secret is right, and nothing panics.
func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.object()))
		f.Add([]byte(v.BodyJSON))
	}
	f.Add([]byte(`{"a":[{"b":[{"c":[null,{"d":"\u2028\ud800"}]}]}],"sign":"x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		const secret = Secret("a secret that no seed was signed with")
		fields, err := readObject(raw)
		if err != nil {
			return
		}
		for _, kind := range []SignType{MD5, HMACSHA256} {
			require.False(t, verify(fields, kind, secret))
			own, err := sign(fields, kind, secret)
			if err != nil {
				continue
			}
			for name := range fields {
				if strings.EqualFold(name, "sign") {
					delete(fields, name)
				}
			}
			fields["sign"] = json.RawMessage(`"` + own + `"`)
			require.True(t, verify(fields, kind, secret), "the sign of the same fields is the same")
			fields["another"] = json.RawMessage(`"one"`)
			require.False(t, verify(fields, kind, secret), "every field counts")
			delete(fields, "another")
			delete(fields, "sign")
		}
	})
}

// FuzzDecodeAnswer: an answer is believed only with a signature, and its errors repeat nothing of it.
func FuzzDecodeAnswer(f *testing.F) {
	for _, v := range vectors(f) {
		if v.BodyJSON != "" {
			f.Add([]byte(v.BodyJSON))
		}
	}
	f.Add([]byte(`{"msg":"验签失败","code":20052,"data":null,"traceId":"h12UXhTkPmt3"}`))
	f.Add([]byte(`{"code":"0","data":{"code":"1","msg":3}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decodeAnswer(body)
		if err != nil {
			return
		}
		plain := func(string) string { return "" }
		reply, err := a.translate(Query{}, func(object) bool { return false }, plain, false)
		if err != nil {
			require.Zero(t, reply)
			return
		}
		require.Equal(t, commands.StatusFailed, reply.Status, "an unsigned answer can only refuse")
		reply, err = a.translate(Query{}, func(object) bool { return true }, plain, false)
		if err == nil && reply.Status == commands.StatusSucceeded {
			require.True(t, json.Valid(reply.Extra["receivers"]))
		}
	})
}

// FuzzDecodeQuery: what is taken is sent as it stands; what is refused is not repeated.
func FuzzDecodeQuery(f *testing.F) {
	f.Add([]byte(`{"requestId":"R1","channel":"ali_pay","receiverNo":"","clientIp":"::1","account":"main"}`))
	f.Add([]byte(`{"requestId":"R1"}`))
	f.Add([]byte(`{"requestId":"R1","channel":" ","more":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := DecodeQuery(body)
		if err != nil {
			return
		}
		require.NotEmpty(t, q.RequestID)
		require.False(t, blank(q.Channel) && blank(q.ReceiverNo))
		sealed, err := q.seal(HMACSHA256, "s", 1, "")
		require.NoError(t, err)
		require.True(t, verify(parse(t, string(sealed)), HMACSHA256, "s"))
	})
}

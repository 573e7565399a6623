package commands

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testRing(t testing.TB, keys ...string) Keyring {
	t.Helper()
	if len(keys) == 0 {
		keys = []string{"0123456789abcdef0123456789abcdef"}
	}
	var raw [][]byte
	for _, k := range keys {
		raw = append(raw, []byte(k))
	}
	ring, err := NewKeyring(raw...)
	require.NoError(t, err)
	return ring
}

const order = `{"requestId":"R1","biz_order_no":"B1","amount":"1.00","pay_type":"101","name":"张三","bank_card_number":"6222000000000000000"}`

func TestDecode(t *testing.T) {
	t.Parallel()
	c, err := Decode(testPolicy().Spec, testRing(t), []byte(order))
	require.NoError(t, err)
	require.Equal(t, RequestID("R1"), c.RequestID)
	require.Equal(t, OperationKey("B1"), c.Key)
	require.Equal(t, map[string]string{"amount": "1.00", "pay_type": "101"}, c.Carry)
	require.Len(t, c.Fingerprints, 1)
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ value, says string }{
		"nothing":            {"", "not one JSON object"},
		"null":               {"null", "not one JSON object"},
		"an array":           {"[]", "not one JSON object"},
		"half an object":     {`{"requestId":"R1"`, "not one JSON object"},
		"text behind":        {order + "x", "not one JSON object"},
		"a second object":    {order + order, "not one JSON object"},
		"repeated, escaped":  {`{"requestId":"R1","biz_order_no":"B1","amount":"1","\u0061mount":"100"}`, "field amount: stands there twice"},
		"repeated field":     {`{"requestId":"R1","biz_order_no":"B1","amount":"1","amount":"100"}`, "field amount: stands there twice"},
		"repeated inside":    {`{"requestId":"R1","biz_order_no":"B1","biz_data":{"a":"1","a":"2"}}`, "field a: stands there twice"},
		"repeated in a list": {`{"requestId":"R1","biz_order_no":"B1","x":[{"a":"1","a":"2"}]}`, "field a: stands there twice"},
		"no request":         {`{"biz_order_no":"B1"}`, "field requestId: is missing or empty"},
		"no key":             {`{"requestId":"R1"}`, "field biz_order_no: is missing or empty"},
		"request no string":  {`{"requestId":1,"biz_order_no":"B1"}`, "field requestId: must be a string"},
		"carry no string":    {`{"requestId":"R1","biz_order_no":"B1","amount":1}`, "field amount: must be a string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode(testPolicy().Spec, testRing(t), []byte(c.value))
			require.ErrorContains(t, err, c.says)
		})
	}
}

// The fingerprint is of the content alone: not of the requestId, not of the order of fields or of white space.
func TestFingerprintIsOfTheContent(t *testing.T) {
	t.Parallel()
	decode := func(value string) string {
		c, err := Decode(testPolicy().Spec, testRing(t), []byte(value))
		require.NoError(t, err)
		return c.Fingerprints[0]
	}
	was := decode(order)
	require.Equal(t, was, decode(strings.Replace(order, `"R1"`, `"R2"`, 1)))
	require.Equal(t, was, decode(`{ "name":"\u5f20三", "bank_card_number":"6222000000000000000", "pay_type":"101","amount":"1.00","biz_order_no":"B1","requestId":"R1" }`))
	nested := strings.Replace(order, "{", `{"biz_data":{"b":"/<","a":1.50},`, 1)
	require.Equal(t, decode(nested), decode(strings.Replace(order, "{", `{"biz_data": {"a":1.50, "b":"\/\u003c"},`, 1)))
	require.NotEqual(t, decode(nested), decode(strings.Replace(nested, "1.50", "1.5", 1)), "another number is another content")
	require.NotEqual(t, was, decode(strings.Replace(order, "1.00", "1.01", 1)))
	require.NotEqual(t, was, decode(strings.Replace(order, "6222", "6223", 1)))
}

// A key may rotate while operations are under way: the old content is still recognised.
func TestFingerprintSurvivesRotation(t *testing.T) {
	t.Parallel()
	const old, fresh = "old-old-old-old-old-old-", "new-new-new-new-new-new-"
	before, err := Decode(testPolicy().Spec, testRing(t, old), []byte(order))
	require.NoError(t, err)
	after, err := Decode(testPolicy().Spec, testRing(t, fresh, old), []byte(order))
	require.NoError(t, err)
	require.NotEqual(t, before.Fingerprints[0], after.Fingerprints[0])
	require.Contains(t, after.Fingerprints, before.Fingerprints[0])
}

func TestToken(t *testing.T) {
	t.Parallel()
	ring := testRing(t)
	token := ring.Token("B1")
	require.True(t, ring.VerifyToken("B1", token))
	require.False(t, ring.VerifyToken("B2", token), "a token belongs to one order")
	require.False(t, ring.VerifyToken("B1", ""))
	require.False(t, ring.VerifyToken("B1", token[:len(token)-1]))
	require.False(t, ring.VerifyToken("B1", token+"="))
	require.NotEqual(t, ring.Fingerprints([]byte("B1"))[0], token, "one purpose's digest is no other's")
	rotated := testRing(t, "another-key-of-enough-bytes", "0123456789abcdef0123456789abcdef")
	require.True(t, rotated.VerifyToken("B1", token), "tokens out there outlive a rotation")
	require.NotEqual(t, token, rotated.Token("B1"))
	require.False(t, testRing(t, "another-key-of-enough-bytes").VerifyToken("B1", token))
}

func TestKeyringRefusesWeakKeys(t *testing.T) {
	t.Parallel()
	_, err := NewKeyring()
	require.ErrorContains(t, err, "at least one")
	_, err = NewKeyring([]byte("short"))
	require.ErrorContains(t, err, "at least 16")
	require.NotContains(t, err.Error(), "short")
}

// Whatever verb prints them, secrets and bodies stay masked.
func TestMasks(t *testing.T) {
	t.Parallel()
	c, err := Decode(testPolicy().Spec, testRing(t), []byte(order))
	require.NoError(t, err)
	ring := testRing(t)
	raw, err := json.Marshal(c)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %x %q", c, c, c, c.Body, c.Body, c.Body), fmt.Sprintf("%v %+v %#v %x", ring, ring, ring, ring), string(raw)} {
		for _, secret := range []string{"6222000000000000000", "张三", "0123456789abcdef", fmt.Sprintf("%x", "6222"), fmt.Sprintf("%x", "0123456789abcdef")} {
			require.NotContains(t, text, secret)
		}
	}
}

func TestStateSurvivesItsEncoding(t *testing.T) {
	t.Parallel()
	for _, st := range standings() {
		raw, err := st.state.Encode()
		require.NoError(t, err)
		got, err := DecodeState(raw)
		require.NoError(t, err)
		again, err := got.Encode()
		require.NoError(t, err)
		require.JSONEq(t, string(raw), string(again))
		require.Equal(t, marshalled(t, st.state), string(raw))
	}
}

// marshalled is what encoding/json makes of a state.
func marshalled(t *testing.T, s State) string {
	t.Helper()
	s.Schema = stateSchema
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	return string(raw)
}

// Every member is written as encoding/json writes it: a member that Encode leaves out would be forgotten by the store.
func TestEncodeWritesEveryMember(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 8, 0, 0, 123, time.FixedZone("", 8*3600))
	odd := "a\"b\\<&>\u2028\n欧阳\xff"
	s := State{
		Phase: Settled, Topic: "t", Key: OperationKey(odd), RequestID: "r", Account: "a", Fingerprint: "f", Carry: map[string]string{odd: odd, "b": "", "a": "1"},
		Trace: "tr", FirstSeen: at, Sends: 1, SentAt: at.UTC(), NotBefore: at, Owner: "o", Lease: at, Tries: 2, Parks: 3,
		Refusal: &Reply{Status: StatusRefused, Code: "-1", Message: odd}, Seen: map[string]string{"pay_order_no": "P"}, Told: "pending",
		Changes: 4, Verdict: StatusFailed,
		Result: &Result{ID: "i", Type: "t", Source: "s", Subject: odd, Time: at, Data: []byte(`{"a":"1","b":[1,2]}`)},
	}
	members := reflect.TypeFor[State]().NumField()
	for i := range members {
		field := reflect.ValueOf(&s).Elem().Field(i)
		if name := reflect.TypeFor[State]().Field(i).Name; name != "Schema" && name != "unknown" {
			require.False(t, field.IsZero(), "member %s is not filled in by this test", reflect.TypeFor[State]().Field(i).Name)
		}
	}
	raw, err := s.Encode()
	require.NoError(t, err)
	require.Equal(t, marshalled(t, s), string(raw))
	for i := range members { // and each may be absent
		if !reflect.TypeFor[State]().Field(i).IsExported() {
			continue
		}
		less := s
		reflect.ValueOf(&less).Elem().Field(i).SetZero()
		raw, err := less.Encode()
		require.NoError(t, err)
		require.Equal(t, marshalled(t, less), string(raw))
	}
	s.Result.Data = nil
	s.Phase = Phase(99)
	_, err = s.Encode()
	require.ErrorContains(t, err, "phase 99")
	s.Phase, s.Result.Time = New, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err = s.Encode()
	require.ErrorContains(t, err, "time")
	s.Result.Time, s.Result.Data = at, []byte("{")
	_, err = s.Encode()
	require.Error(t, err)
}

func TestDecodeStateRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ value, says string }{
		"no JSON":        {"x", "operation record"},
		"newer schema":   {`{"v":2,"phase":"new","topic":"t","key":"k","request":"r","fp":"","first":"2026-11-22T08:00:00Z"}`, "schema version 2"},
		"no version":     {`{"phase":"new","topic":"t","key":"k"}`, "schema version 0"},
		"no phase":       {`{"v":1,"topic":"t","key":"k"}`, "phase"},
		"a name twice":   {`{"v":1,"phase":"new","topic":"t","key":"k","phase":"settled"}`, "twice"},
		"no text":        {`{"v":1,"phase":"new","topic":"t","key":7}`, "key: not a string"},
		"no count":       {`{"v":1,"phase":"new","topic":"t","key":"k","sends":"1"}`, "sends"},
		"no time":        {`{"v":1,"phase":"new","topic":"t","key":"k","sent":1}`, "sent"},
		"no texts":       {`{"v":1,"phase":"new","topic":"t","key":"k","seen":{"a":1}}`, "seen"},
		"no reply":       {`{"v":1,"phase":"new","topic":"t","key":"k","refusal":[]}`, "refusal"},
		"no result":      {`{"v":1,"phase":"new","topic":"t","key":"k","result":{"time":0}}`, "result: time"},
		"unknown phase":  {`{"v":1,"phase":"paid"}`, "paid"},
		"key is missing": {`{"v":1,"phase":"new","topic":"t"}`, "key or topic missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeState([]byte(c.value))
			require.ErrorContains(t, err, c.says)
			require.Equal(t, name == "newer schema" || name == "unknown phase", errors.Is(err, ErrNewer))
		})
	}
}

// The same verdict has one id whoever reaches it, under whichever request; other events have others.
func TestEventIDs(t *testing.T) {
	t.Parallel()
	spec, s := testPolicy().Spec, base(Sending)
	yes := s.verdict(spec, Reply{Status: StatusSucceeded}, now)
	s.RequestID = "R2"
	require.Equal(t, yes.ID, s.verdict(spec, Reply{Status: StatusSucceeded}, now.Add(time.Hour)).ID)
	require.NotEqual(t, yes.ID, s.verdict(spec, Reply{Status: StatusFailed}, now).ID, "a contrary verdict is not dropped as a duplicate")
	ids := map[string]string{}
	other := s
	other.Key = "B2"
	for name, r := range map[string]*Result{
		"verdict": yes, "verdict of another order": other.verdict(spec, Reply{Status: StatusSucceeded}, now),
		"pending": s.pending(spec, Reply{}, now), "unresolved": s.unresolved(spec, now),
		"conflict": s.conflict(spec, Reply{Status: StatusFailed}, now), "duplicate": s.duplicate(spec, "R2", now), "duplicate 3": s.duplicate(spec, "R3", now),
		"rejected": spec.Rejected(Rejection{Origin: "t/0/1"}, now), "rejected 2": spec.Rejected(Rejection{Origin: "t/0/2"}, now),
	} {
		require.Empty(t, ids[r.ID], "%s and %s share an id", name, ids[r.ID])
		ids[r.ID] = name
	}
	require.NotEqual(t, EventID("a", "bc"), EventID("ab", "c"))
}

func TestPolicyNamesEveryProblem(t *testing.T) {
	t.Parallel()
	err := Policy{Lease: 0, Settle: -1, Deadline: -2, Tiers: []time.Duration{2, 1}}.Validate()
	for _, part := range []string{"lease", "settle delay", "deadline", "max sends", "delay tiers"} {
		require.ErrorContains(t, err, part)
	}
	p := testPolicy()
	require.NoError(t, p.Validate())
	p.BackWindow = 17 * time.Second // lease, settle delay, and a tenth of that for each of two clocks
	require.NoError(t, p.Validate())
	p.BackWindow--
	require.ErrorContains(t, p.Validate(), "window after a step back 16.999999999s: must be at least 17s")
	p.Spec.Effect = EffectOnce // it has no such window
	require.NoError(t, p.Validate())
}

func TestTiers(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	require.Equal(t, 5*time.Second, p.Delay(0))
	require.Equal(t, 5*time.Minute, p.Delay(9))
	require.Equal(t, 0, p.Tier(time.Second))
	require.Equal(t, 1, p.Tier(5*time.Second+1))
	require.Equal(t, 2, p.Tier(time.Hour))
	require.Equal(t, 0, p.Step(time.Second), "there is no shorter one")
	require.Equal(t, 1, p.Step(15*time.Second))
	require.Equal(t, 0, p.Step(15*time.Second-1), "more than twice as long")
	require.Equal(t, 1, p.Step(72*time.Second))
	require.Equal(t, 2, p.Step(time.Hour))
	// The default tiers, the settle delay of a minute with its margin for clocks, and that beside a lease of 8 s.
	p.Tiers = append(p.Tiers, time.Hour)
	require.Equal(t, []time.Duration{30 * time.Second, 30 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second}, steps(p, 72*time.Second))
	require.Equal(t, []time.Duration{30 * time.Second, 30 * time.Second, 30 * time.Second}, steps(p, 80*time.Second))
}

// steps are the tiers in which an operation waits for d.
func steps(p Policy, d time.Duration) (all []time.Duration) {
	for d > 0 {
		all = append(all, p.Tiers[p.Step(d)])
		d -= all[len(all)-1]
	}
	return all
}

// What waits for the settle delay has failed at nothing: the first failure after it is the first.
func TestToWaitForTheSettleDelayIsNoTry(t *testing.T) {
	t.Parallel()
	p, s := testPolicy(), base(Asking)
	s.Tries, s.SentAt = 0, now
	var act Action
	for range 3 {
		var err error
		s, act, err = Advance(s, Answered{Reply: Reply{Status: StatusMissing}, Put: now}, p, now)
		require.NoError(t, err)
		require.Equal(t, DoPark, act.Do)
	}
	require.Equal(t, base(Asking).Parks+3, s.Parks)
	_, act, err := Advance(s, AskFailed{}, p, now)
	require.NoError(t, err)
	require.Equal(t, 0, act.Tier)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(order))
	f.Add([]byte(`{"requestId":"R","biz_order_no":"B","x":[{"a":1}]}`))
	ring := testRing(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := Decode(testPolicy().Spec, ring, value)
		if err != nil {
			return
		}
		require.NotEmpty(t, c.RequestID)
		require.NotEmpty(t, c.Key)
		var once map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(value, &once))
		rewritten, err := json.Marshal(once)
		require.NoError(t, err)
		again, err := Decode(testPolicy().Spec, ring, rewritten)
		require.NoError(t, err)
		require.Equal(t, c.Fingerprints, again.Fingerprints)
	})
}

func FuzzDecodeState(f *testing.F) {
	for _, st := range standings() {
		raw, _ := st.state.Encode()
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := DecodeState(value)
		if err != nil {
			return
		}
		raw, err := s.Encode()
		require.NoError(t, err)
		again, err := DecodeState(raw)
		require.NoError(t, err)
		require.Equal(t, s.Phase, again.Phase)
		twice, err := again.Encode()
		require.NoError(t, err)
		require.Equal(t, string(raw), string(twice))
	})
}

func FuzzVerifyToken(f *testing.F) {
	ring := testRing(f)
	f.Add("B1", ring.Token("B1"))
	f.Fuzz(func(t *testing.T, order, token string) {
		if ring.VerifyToken(order, token) {
			require.Equal(t, ring.Token(order), token)
		}
	})
}

// A digest made for one purpose is none for another: who knows an order's fingerprint cannot make its callback address.
func TestDigestsOfTwoPurposesDiffer(t *testing.T) {
	t.Parallel()
	ring, err := NewKeyring([]byte("0123456789abcdef"))
	require.NoError(t, err)
	raw, err := hex.DecodeString(ring.Fingerprints([]byte("B1"))[0])
	require.NoError(t, err)
	require.False(t, ring.VerifyToken("B1", base64.RawURLEncoding.EncodeToString(raw)))
	require.True(t, ring.VerifyToken("B1", ring.Token("B1")))
}

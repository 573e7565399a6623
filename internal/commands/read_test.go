package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/jsonobject"
)

// withMembers adds members to a state's encoding: to itself, its refusal and its result.
func withMembers(raw []byte, members string) []byte {
	out := append(slices.Clip(bytes.TrimSuffix(raw, []byte("}"))), (members + "}")...)
	for _, inner := range []string{`"refusal":{`, `"result":{`} {
		out = bytes.Replace(out, []byte(inner), []byte(inner+strings.TrimPrefix(members, ",")+","), 1)
	}
	return out
}

// What a newer version wrote is written back byte for byte, whatever was done to the state meanwhile.
func TestUnknownMembersAreCarriedAlong(t *testing.T) {
	t.Parallel()
	const members = `,"later":{ "b" : [1, 2.50, "\u00e9"], "a":null},"Phase":"settled"`
	for _, st := range standings() {
		s := st.state
		s.Refusal = &Reply{Status: StatusRefused, Code: "-1"}
		s.Result = &Result{ID: "i", Data: []byte(`{}`)}
		raw, err := s.Encode()
		require.NoError(t, err)
		newer := withMembers(raw, members)
		got, err := DecodeState(newer)
		require.NoError(t, err)
		require.Equal(t, s.Phase, got.Phase, "names are exact")
		again, err := got.Encode()
		require.NoError(t, err)
		require.Equal(t, 3, bytes.Count(again, []byte(members)), "%s", again)
		require.JSONEq(t, string(newer), string(again))
	}
}

// No decision drops them, nor does joining a record with a memory that lacks them.
func TestDecisionsCarryUnknownMembersAlong(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	for _, st := range standings() {
		st.state.unknown = []byte(`,"later":1`)
		for _, ev := range happenings() {
			next, _, err := Advance(st.state, ev.event(st.state), p, now)
			require.NoError(t, ignoreRefusal(err))
			require.Equal(t, `,"later":1`, string(next.unknown), "%s, %s", st.name, ev.name)
		}
		for _, other := range standings() {
			joined, _ := st.state.Joined(other.state)
			require.Equal(t, `,"later":1`, string(joined.unknown))
			other.state.unknown = []byte(`,"later":2,"more":3`)
			joined, _ = other.state.Joined(st.state)
			require.Contains(t, string(joined.unknown), `,"more":3`)
			require.Equal(t, 1, strings.Count(string(joined.unknown), "later"))
		}
		require.NotEmpty(t, st.state.Forgotten(now).unknown)
		require.NotEmpty(t, st.state.Unsent().unknown)
		require.NotEmpty(t, st.state.Least(p.Spec).unknown)
	}
}

func ignoreRefusal(err error) error {
	if _, ok := errors.AsType[*Refusal](err); ok {
		return nil
	}
	return err
}

// A phase, a verdict or a whole encoding that this program does not know is no damage: it is a newer version's.
func TestWhatOnlyANewerVersionUnderstands(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		`{"v":2}`, `{"v":2,"phase":7,"key":{}}`, `{"v":1,"phase":"held","topic":"t","key":"k"}`,
		`{"v":1,"phase":"settled","topic":"t","key":"k","verdict":7}`,
		`{"v":1,"phase":"refused","topic":"t","key":"k","refusal":{"status":7}}`,
	} {
		_, err := DecodeState([]byte(value))
		require.ErrorIs(t, err, ErrNewer, value)
	}
}

// The decoder by hand reads what encoding/json reads of what Encode wrote.
func TestDecodeStateReadsEveryMember(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 8, 0, 0, 123, time.UTC)
	s := State{
		Schema: stateSchema, Phase: Settled, Topic: "t", Key: "k\"欧", RequestID: "r", Account: "a", Fingerprint: "f",
		Carry: map[string]string{"c\\": "<&>"}, Trace: "tr", FirstSeen: at, Sends: 1, SentAt: at, NotBefore: at, Owner: "o", Lease: at,
		Tries: 2, Parks: 3, Refusal: &Reply{
			Status: StatusRefused, Code: "-1", Message: "m", Fields: map[string]string{"f": "g"}, Extra: map[string]json.RawMessage{"e": []byte(`[1]`)},
		},
		Seen: map[string]string{"pay_order_no": "P"}, Told: "pending", Changes: 4, Verdict: StatusFailed,
		Result: &Result{ID: "i", Type: "t", Source: "s", Subject: "u", Time: at, Data: []byte(`{"a":"1"}`)},
	}
	for i := range reflect.TypeFor[State]().NumField() {
		if f := reflect.TypeFor[State]().Field(i); f.IsExported() {
			require.False(t, reflect.ValueOf(s).Field(i).IsZero(), "member %s is not filled in by this test", f.Name)
		}
	}
	raw, err := s.Encode()
	require.NoError(t, err)
	got, err := DecodeState(raw)
	require.NoError(t, err)
	require.Equal(t, s, got)
	var reflected State
	require.NoError(t, json.Unmarshal(raw, &reflected))
	require.Equal(t, reflected, got)
}

// known reports whether this version writes a member of this name, at any depth.
func known(name string) bool {
	for _, written := range []reflect.Type{reflect.TypeFor[State](), reflect.TypeFor[Reply](), reflect.TypeFor[Result]()} {
		for i := range written.NumField() {
			if tag, _, _ := strings.Cut(written.Field(i).Tag.Get("json"), ","); tag == name {
				return true
			}
		}
	}
	return false
}

func FuzzUnknownMembers(f *testing.F) {
	f.Add("later", []byte(`{"a": [1, 2.50]}`))
	f.Add("v ", []byte(`"\u00e9"`))
	f.Add("Phase", []byte(`null`))
	s := base(Settled)
	s.Refusal, s.Result = &Reply{Status: StatusRefused}, &Result{ID: "i", Data: []byte(`{}`)}
	raw, err := s.Encode()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		quoted, err := json.Marshal(name)
		require.NoError(t, err)
		member := string(quoted) + ":" + string(value)
		newer := withMembers(raw, ","+member)
		members, err := jsonobject.Members([]byte("{" + member + "}"))
		if err != nil || len(members) != 1 {
			return // it is not one member
		}
		if known(members[0].Name) {
			return
		}
		got, err := DecodeState(newer)
		require.NoError(t, err)
		again, err := got.Encode()
		require.NoError(t, err)
		require.Contains(t, string(again), ","+string(members[0].Raw))
		require.JSONEq(t, string(newer), string(again))
	})
}

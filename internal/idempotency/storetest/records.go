package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

func absent(t *testing.T, h Harness) {
	c := prepared(t, h)
	r := load(t, c, "k")
	require.Zero(t, r.Version)
	require.Nil(t, r.Value)
	require.True(t, r.Forgot.IsZero())
	require.Equal(t, r, c.Expect("k"), "what is expected is what an absent record looks like")
}

func create(t *testing.T, h Harness) {
	c := prepared(t, h)
	r := swap(t, c, c.Expect("k"), "one")
	require.Equal(t, uint64(1), r.Version)
	require.True(t, r.Forgot.IsZero())
	require.Equal(t, r, load(t, h.Open(t), "k"), "another process sees the same")
}

func conflict(t *testing.T, h Harness) {
	a, b := prepared(t, h), prepared(t, h)
	first := swap(t, a, a.Expect("k"), "one")
	require.Equal(t, first, refused(t, b, b.Expect("k")))

	second := swap(t, b, first, "two")
	require.Equal(t, second, refused(t, a, first))
	ahead := second
	ahead.Version += 10
	require.Equal(t, second, refused(t, a, ahead))
	missing := a.Expect("never written")
	missing.Version = 1
	require.Zero(t, refused(t, a, missing).Version)
}

func versions(t *testing.T, h Harness) {
	c := prepared(t, h)
	r := c.Expect("k")
	for i := range uint64(120) {
		r = swap(t, c, r, fmt.Sprint("value ", i))
		require.Equal(t, i+1, r.Version)
	}
}

func oldVersion(t *testing.T, h Harness) {
	c := prepared(t, h)
	var held []idempotency.Record
	r := c.Expect("k")
	for range 12 {
		held = append(held, r)
		r = swap(t, c, r, "v")
	}
	for _, was := range held { // 1 and 12 share a digit, 0 is absence
		require.Equal(t, r, refused(t, c, was))
	}
}

func oneCreator(t *testing.T, h Harness) {
	a, b := prepared(t, h), prepared(t, h)
	oneWins(t, []Client{a, b}, func(c Client) idempotency.Record { return c.Expect("k") })
}

func oneWriter(t *testing.T, h Harness) {
	a, b := prepared(t, h), prepared(t, h)
	standing := swap(t, a, a.Expect("k"), "first")
	oneWins(t, []Client{a, b}, func(Client) idempotency.Record { return standing })
}

// oneWins lets many goroutines write from the same record, all with the same bytes: equal bytes prove nothing.
func oneWins(t *testing.T, clients []Client, was func(Client) idempotency.Record) {
	const writers = 64
	var won, lost atomic.Int32
	others := make(chan error, writers)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			c := clients[i%len(clients)]
			_, err := c.Swap(t.Context(), was(c), []byte("same"))
			var conflict *idempotency.Conflict
			switch {
			case err == nil:
				won.Add(1)
			case errors.As(err, &conflict) && string(conflict.Standing.Value) == "same":
				lost.Add(1)
			default:
				others <- err
			}
		})
	}
	group.Wait()
	require.Empty(t, others)
	require.Equal(t, int32(1), won.Load())
	require.Equal(t, int32(writers-1), lost.Load())
}

func manyKeys(t *testing.T, h Harness) {
	c := prepared(t, h)
	const keys = 300
	failed := make(chan error, keys)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			key := fmt.Sprint("key ", i)
			r, err := c.Swap(t.Context(), c.Expect(key), []byte(key))
			if err == nil {
				r, err = c.Load(t.Context(), key)
			}
			if err != nil || r.Version != 1 || r.Key != key || string(r.Value) != key {
				failed <- fmt.Errorf("%s: %+v, %w", key, r, err)
			}
		})
	}
	group.Wait()
	require.Empty(t, failed)
}

func values(t *testing.T, h Harness) {
	c := prepared(t, h)
	var every [256]byte
	for i := range every {
		every[i] = byte(i)
	}
	for name, value := range map[string][]byte{
		"empty":             {},
		"nil":               nil,
		"binary":            every[:],
		"separators":        []byte("|1|2|\r\n"),
		"like an own one":   []byte("7|token|value"),
		"64 KB":             bytes.Repeat(every[:], 256),
		"not UTF-8":         {0xff, 0xfe, 0x00},
		"a number":          []byte("0012"),
		"escaped by no-one": []byte(`{"a":"\u0000"}`),
	} {
		written, err := c.Swap(t.Context(), c.Expect(name), value)
		require.NoError(t, err, name)
		read := load(t, c, name)
		require.NotNil(t, read.Value, "present, however empty: %s", name)
		require.NotNil(t, written.Value, name)
		require.True(t, bytes.Equal(value, read.Value), name)
		require.True(t, bytes.Equal(value, written.Value), name)
		require.True(t, bytes.Equal(value, refused(t, c, c.Expect(name)).Value), name)
	}
}

func ownedValues(t *testing.T, h Harness) {
	c := prepared(t, h)
	swap(t, c, c.Expect("k"), "value")
	load(t, c, "k").Value[2] = 'X'
	refused(t, c, c.Expect("k")).Value[3] = 'X'
	require.Equal(t, "value", string(load(t, c, "k").Value))
}

func keys(t *testing.T, h Harness) {
	c := prepared(t, h)
	all := []string{
		"", "e", "k", "o:1", "r:1", "1", ":1", "o:1 ", "O:1", "{1}", "}", "{", "a}b{c", "*", "a|b", "a\x00b", "a\nb",
		"\xff", "订单", "k:e", "0", "255", strings.Repeat("x", 300), strings.Repeat("x", 301),
	}
	for _, key := range all {
		swap(t, c, c.Expect(key), "of "+key)
	}
	for _, key := range all {
		r := load(t, c, key)
		require.Equal(t, "of "+key, string(r.Value))
		require.Equal(t, uint64(1), r.Version, "key %q", key)
	}
}

func cancelled(t *testing.T, h Harness) {
	c := prepared(t, h)
	swap(t, c, c.Expect("another"), "so that all is set up")
	over, cancel := context.WithCancel(t.Context())
	cancel()

	r, err := c.Load(over, "k")
	unavailable(t, err)
	require.Zero(t, r)
	r, err = c.Swap(over, c.Expect("k"), []byte("v"))
	unavailable(t, err)
	require.Zero(t, r)
	r, err = h.Open(t).Swap(over, idempotency.Record{Key: "k"}, []byte("v"))
	unavailable(t, err)
	require.Zero(t, r)
	unavailable(t, h.Open(t).Prepare(over, false))
	unavailable(t, c.Look(over))
	require.Zero(t, load(t, c, "k").Version, "ctx was over before the call: nothing was sent")
}

func lifetime(t *testing.T, h Harness) {
	if h.Expire == nil {
		return
	}
	c := prepared(t, h)
	nearly := h.Lifetime - h.Lifetime/4
	r := swap(t, c, c.Expect("k"), "one")
	h.Expire(nearly)
	require.Equal(t, r, load(t, c, "k"))
	r = swap(t, c, r, "two")
	h.Expire(nearly)
	require.Equal(t, r, load(t, c, "k"), "a write renews the lifetime")
	require.NoError(t, c.Look(t.Context()))
	h.Expire(h.Lifetime / 4)
	gone := load(t, c, "k")
	require.Zero(t, gone.Version, "a read does not")
	require.True(t, gone.Forgot.IsZero(), "the end of a lifetime is no loss")
	require.Equal(t, gone, refused(t, c, r))
	swap(t, c, c.Expect("k"), "anew")
}

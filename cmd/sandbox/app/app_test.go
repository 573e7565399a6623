package app

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSampleEndsAsPromised(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	err := Run(t.Context(), []string{"--once", "--verbose", "--kafka-port", "0", "--redis-port", "0", "--wait"}, strings.NewReader("\n"), &out, &errs)
	require.NoError(t, err, out.String())
	rows := sample("x")
	require.Equal(t, len(rows), strings.Count(out.String(), "  ok\n"))
	require.Contains(t, out.String(), "32 of 32 as promised")
	require.NotContains(t, out.String(), "services.log", "with --once the log is gone")
	for _, personal := range []string{"Nobody", "000000190001010000", "10000000000", "6200000000000000"} {
		require.NotContains(t, out.String()+errs.String(), personal)
	}
}

func TestABrokenPromiseIsNamed(t *testing.T) {
	t.Parallel()
	rows := sample("x")
	row := func(title string) row {
		i := slices.IndexFunc(rows, func(r row) bool { return r.title == title || r.topic+", "+r.title == title })
		require.GreaterOrEqual(t, i, 0, title)
		return rows[i]
	}
	once := func(word string) event { return event{id: word, word: word, copies: 1} }
	called := event{id: "s", word: "succeeded", code: "callback", copies: 1}
	cases := []struct {
		name, title string
		vendor      string
		seen        []event
		want        string
	}{
		{"kept", "success", "1 × 100.00", []event{once("succeeded")}, ""},
		{"doubled", "success", "2 × 100.00", []event{once("succeeded")}, "the vendor should say 1 × 100.00"},
		{"another amount", "conflict: same order, new amount", "1 × 999.00", []event{once("succeeded"), once("rejected"), once(deadLetter)}, "the vendor should say 1 × 100.00"},
		{"money moved but told failed", "success", "1 × 100.00", []event{once("failed")}, "the events should be succeeded"},
		{"two verdicts", "success", "1 × 100.00", []event{once("succeeded"), once("failed")}, "the events should be succeeded"},
		{"silence", "declined", nothing, nil, "the events should be failed"},
		{"any order of events", "pending, settled by callback", "1 × 100.00", []event{called, once("pending")}, ""},
		{"by another way", "pending, settled by callback", "1 × 100.00", []event{once("pending"), once("succeeded")}, "the verdict should come by callback"},
		{"texted twice", "withhold.card.prebind, reply lost: not sent again", "2 SMS", []event{once("unknown")}, "the vendor should say 1 SMS"},
		{"a guess", "withhold.card.prebind, reply lost: not sent again", "1 SMS", []event{once("failed")}, "the events should be unknown"},
		{"a forged end", "identity.poll, forged callback, then a signed one", "ended: success", []event{once("pending INIT"), once("failed")}, "the events should be pending INIT, answered ORGANFINISHED"},
		{"believed at once", "wrongly signed answer: asked again", "1 question", []event{once("answered 1 receiver")}, "the vendor should say 2 questions"},
		{"not again", "same command again", "1 × 100.00", []event{once("succeeded")}, "the same event should come twice"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, row(c.title).verdict(c.vendor, c.seen))
		})
	}
}

func TestEveryStoryHasItsOwnOrders(t *testing.T) {
	t.Parallel()
	owner := map[string]string{}
	for _, r := range sample("x") {
		require.NotEmpty(t, r.events, r.title)
		for _, k := range r.keys() {
			require.Empty(t, owner[k], "%s and %s share order %s", owner[k], r.title, k)
			owner[k] = r.title
		}
	}
}

func TestNothingIsSentBeforeEnter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := Run(t.Context(), []string{"--wait", "--kafka-port", "0", "--redis-port", "0"}, strings.NewReader(""), &out, io.Discard)
	require.ErrorContains(t, err, "waiting for Enter: EOF")
	require.NotContains(t, out.String(), "success")
}

func TestUnknownFlagsAreRefused(t *testing.T) {
	t.Parallel()
	require.Error(t, Run(t.Context(), []string{"--twice"}, nil, io.Discard, io.Discard))
	require.ErrorContains(t, Run(t.Context(), []string{"now"}, nil, io.Discard, io.Discard), `argument "now" is not known`)
	require.NoError(t, Run(t.Context(), []string{"--help"}, nil, io.Discard, io.Discard))
}

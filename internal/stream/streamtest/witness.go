package streamtest

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// witnesses: a group without offsets is a first start only if no witness was ever written to, by whomever, and all of
// them could be looked at. What waits in the topics that are consumed proves nothing.
func witnesses(t *testing.T, h Harness) {
	empty, other, written := h.NewTopic(t, 2), h.NewTopic(t, 1), h.NewTopic(t, 3)
	missing, denied, deniedMissing := "missing-"+rand.Text(), h.NewTopic(t, 1), "denied-"+rand.Text()
	h.publish(t, written, [2]string{"a", "1"})
	cases := map[string]struct {
		witnesses []string
		seen      bool
	}{
		"no witness is asked":              {nil, false},
		"all are empty":                    {[]string{empty, other}, false},
		"one does not exist":               {[]string{missing}, false},
		"one was written to":               {[]string{written}, true},
		"one of many was written to":       {[]string{empty, missing, other, written}, true},
		"written to, and one is not there": {[]string{written, missing}, true},
	}
	if h.Deny != nil {
		h.Deny(t, denied)
		h.Deny(t, deniedMissing)
		cases["an empty one that may not be looked at"] = struct {
			witnesses []string
			seen      bool
		}{[]string{empty, denied}, true}
		cases["one that may not be looked at, and may not exist"] = struct {
			witnesses []string
			seen      bool
		}{[]string{deniedMissing}, true}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := h.NewTopic(t, 1)
			h.publish(t, topic, [2]string{"a", "a command that waits"})
			prepared := make(chan bool, 1)
			r := &recorder{}
			m := h.start(t, Consumer{
				Group: newGroup(), Topics: []string{topic}, Witnesses: c.witnesses,
				Prepare: func(_ context.Context, seenBefore bool) error {
					prepared <- seenBefore
					return nil
				},
			}, r)
			require.Equal(t, c.seen, receive(t, prepared, "Prepare"))
			r.ended(t, 1)
			m.stop(t)
		})
	}
}

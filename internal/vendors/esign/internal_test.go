package esign

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
)

func TestKeptAnswersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shared{keep: time.Minute}
		ask := func(key string) (called bool) {
			_, err := s.ask(t.Context(), key, func(context.Context) (commands.Reply, error) {
				called = true
				return commands.Reply{Status: commands.StatusPending}, nil
			})
			require.NoError(t, err)
			return called
		}
		for i := range maxKept + 10 {
			require.True(t, ask(fmt.Sprint(i)))
		}
		require.Len(t, s.kept, maxKept)
		require.Len(t, s.order, maxKept)
		require.False(t, ask(fmt.Sprint(maxKept)), "the young stay")
		require.True(t, ask("0"), "the oldest went")
		time.Sleep(time.Minute)
		require.True(t, ask("0"))
		require.Len(t, s.kept, 1, "all others are over")
		require.Len(t, s.order, 1)
	})
}

// A caller that saw no token before another one's fetch ended must not fetch again: it would end the third last one.
func TestATokenJustFetchedServesTheLate(t *testing.T) {
	t.Parallel()
	fetched := 0
	s := &tokens{fetch: func(context.Context, app) (Secret, time.Time, error) {
		fetched++
		return "t", time.Now().Add(time.Hour), nil
	}}
	for range 2 {
		got, err := s.renew(t.Context(), app{name: "a"})
		require.NoError(t, err)
		require.Equal(t, Secret("t"), got.value)
	}
	require.Equal(t, 1, fetched)
}

func TestAPanicDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f flights[int]
		go func() {
			defer func() { _ = recover() }()
			_, _ = f.do(t.Context(), "k", func(context.Context) (int, error) {
				time.Sleep(time.Second)
				panic("oops")
			})
		}()
		synctest.Wait()
		got, err := f.do(t.Context(), "k", func(context.Context) (int, error) { return 7, nil })
		require.NoError(t, err)
		require.Equal(t, 7, got)
	})
}

func TestValuesAreMadeFit(t *testing.T) {
	t.Parallel()
	c := &Client{}
	data := object{"subAccount": json.RawMessage(`"NRA-8812"`), "oppAccountNo": json.RawMessage(`"FTN/77"`)}
	for name, x := range map[string]struct{ field, text, want string }{
		"number":                 {"oppAccountNo", "1105011111111000018", "***0018"},
		"short number":           {"oppAccountNo", "1234567", "***"},
		"eight":                  {"subAccount", "12345678", "***5678"},
		"empty number":           {"subAccount", "", ""},
		"numbers in a text":      {"message", "from FTN/77 to NRA-8812", "from *** to ***"},
		"numbers in an opinion":  {"auditing", "FTN/77?", "***?"},
		"long digits in a text":  {"auditing", "see 1105011111111000018", "see ***"},
		"serial number as it is": {"bizFlowNo", "218540111110042471328", "218540111110042471328"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, x.want, c.present(x.field, x.text, data))
		})
	}
}

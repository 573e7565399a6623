package epoch_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency/epoch"
)

const window = time.Hour

func at(millis int64) time.Time { return time.UnixMilli(millis) }

func TestForgotLastsForTheWindow(t *testing.T) {
	t.Parallel()
	lost := epoch.Epoch{ID: "a", Lost: 1000}
	end := at(1000).Add(window)
	require.True(t, epoch.Epoch{ID: "a"}.Forgot(at(1), window).IsZero(), "fresh")
	require.Equal(t, at(1000), lost.Forgot(at(1000), window))
	require.Equal(t, at(1000), lost.Forgot(at(10), window), "marked by a clock that runs ahead")
	require.Equal(t, at(1000), lost.Forgot(end.Add(-time.Millisecond), window))
	require.True(t, lost.Forgot(end, window).IsZero())
	require.Equal(t, at(1000), lost.Forgot(end.Add(window), 0), "no window: for ever")
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const now = int64(10_000_000)
	none := epoch.Epoch{}
	fresh := func(id string) epoch.Epoch { return epoch.Epoch{ID: id} }
	lost := func(id string, ago int64) epoch.Epoch { return epoch.Epoch{ID: id, Lost: now - ago} }
	old := 2 * window.Milliseconds()
	for name, c := range map[string]struct {
		known, found, replace epoch.Epoch
	}{
		"nothing stands":                           {none, none, lost("new", 0)},
		"nothing stands but one is remembered":     {fresh("a"), none, lost("new", 0)},
		"first sight of a fresh one":               {none, fresh("a"), none},
		"first sight of a lost one":                {none, lost("a", 5), none},
		"the same":                                 {fresh("a"), fresh("a"), none},
		"the same, lost long ago":                  {lost("a", old), lost("a", old), none},
		"marked by another client":                 {fresh("a"), lost("a", 5), none},
		"another one that says lost":               {fresh("a"), lost("b", 5), none},
		"another one, lost in the same moment":     {lost("a", 5), lost("b", 5), none},
		"another one that claims to be fresh":      {fresh("a"), fresh("b"), lost("b", 0)},
		"another one whose loss nobody sees":       {fresh("a"), lost("b", old), lost("b", 0)},
		"a mark that vanished":                     {lost("a", 5), fresh("a"), lost("a", 0)},
		"an older mark":                            {lost("a", 5), lost("a", 9), lost("a", 0)},
		"a mark of a fast clock that vanished":     {lost("a", -7), fresh("a"), lost("a", -7)},
		"marked again":                             {lost("a", 9), lost("a", 5), none},
		"another fresh one after a marked one":     {lost("a", 5), fresh("b"), lost("b", 0)},
		"the same id marked, outside the window":   {fresh("a"), lost("a", old), lost("a", 0)},
		"a fast clock's mark under another id":     {fresh("a"), lost("b", -7), none},
		"another id, lost before what we remember": {lost("a", 5), lost("b", 9), none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newID := func() string { return "new" }
			replace, accept := epoch.Judge(c.known, c.found, newID, at(now), window)
			require.Equal(t, c.replace, replace)
			require.Equal(t, c.replace == none, accept)
			if accept {
				return
			}
			_, accept = epoch.Judge(c.known, replace, newID, at(now), window)
			require.True(t, accept, "a replacement must be acceptable, or the client turns in circles")
		})
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	newID := func() string { return "new" }
	for name, c := range map[string]struct{ found, want epoch.Epoch }{
		"none stands":         {epoch.Epoch{}, epoch.Epoch{ID: "new", Lost: 100}},
		"fresh":               {epoch.Epoch{ID: "a"}, epoch.Epoch{ID: "a", Lost: 100}},
		"lost before":         {epoch.Epoch{ID: "a", Lost: 99}, epoch.Epoch{ID: "a", Lost: 100}},
		"by a clock that ran": {epoch.Epoch{ID: "a", Lost: 101}, epoch.Epoch{ID: "a", Lost: 101}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			marked := epoch.Mark(c.found, newID, at(100))
			require.Equal(t, c.want, marked)
			_, accept := epoch.Judge(c.found, marked, newID, at(100), window)
			require.True(t, accept, "whoever knew the epoch found believes the mark")
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"a|0", "256.x1|1700000000000", "", "|", "a|", "a|-1", "a|01", "a|+1", "|5", "a|b|1", "a|9223372036854775808"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		e, err := epoch.Parse(stored)
		if err != nil {
			require.Zero(t, e)
			return
		}
		require.Equal(t, stored, e.String())
		require.False(t, e.IsZero())
	})
}

func TestFollow(t *testing.T) {
	t.Parallel()
	const now, wrote = int64(10_000), int64(9_000)
	none := epoch.Epoch{}
	on := func(id string, lost int64) epoch.Epoch { return epoch.Epoch{ID: id, Lost: lost} }
	for name, c := range map[string]struct {
		known, found, replace epoch.Epoch
		refused               bool
	}{
		"nothing stands":                            {known: on("a", 0), refused: true},
		"first sight":                               {found: on("a", 0)},
		"first sight of a mark":                     {found: on("a", 5)},
		"the same":                                  {known: on("a", 5), found: on("a", 5)},
		"the same, marked later":                    {known: on("a", 5), found: on("a", 6)},
		"the same, a mark that vanished":            {known: on("a", 5), found: on("a", 0), replace: on("a", now), refused: true},
		"another, marked after the last write":      {known: on("a", 5), found: on("b", wrote)},
		"another, marked before the last write":     {known: on("a", 5), found: on("b", wrote-1), replace: on("b", now), refused: true},
		"another that claims to have lost nothing":  {known: on("a", 0), found: on("b", 0), replace: on("b", now), refused: true},
		"another, marked before what is remembered": {known: on("a", wrote+2), found: on("b", wrote+1), replace: on("b", now), refused: true},
		"another, marked by a fast clock":           {known: on("a", 5), found: on("b", now+7)},
		"what is remembered is of a fast clock":     {known: on("a", now+7), found: on("b", 3), replace: on("b", now+7), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replace, accept := epoch.Follow(c.known, c.found, at(wrote), at(now))
			require.Equal(t, !c.refused, accept)
			require.Equal(t, c.replace, replace)
			if replace != none {
				_, accept = epoch.Follow(c.known, replace, at(wrote), at(now))
				require.True(t, accept, "once is enough")
			}
		})
	}
	_, accept := epoch.Follow(on("a", 0), on("b", 0), time.Time{}, at(now))
	require.False(t, accept, "who never wrote knows all the same that it is another one")
}

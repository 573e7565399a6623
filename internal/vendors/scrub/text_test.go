package scrub

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"plain", "余额不足", "余额不足"},
		{"card", "card 6222000000000000000 refused", "card *** refused"},
		{"identity number", "身份证11010119900307123X错误", "身份证***错误"},
		{"identity number, small x", "11010119900307123x", "***"},
		{"phone", "13800000000", "***"},
		{"ten digits", "1234567890", "1234567890"},
		{"ten digits and x", "1234567890X", "1234567890X"},
		{"spaces", "6222 0000 0000 0000 000.", "***."},
		{"dashes", "138-0000-0000", "***"},
		{"two spaces part runs", "123456  789012", "123456  789012"},
		{"date and time", "2024-01-01 12:00:00", "2024-01-01 12:00:00"},
		{"wide digits", "１３８００００００００", "***"},
		{"two runs", "13800000000,13900000000", "***,***"},
		{"separator at the end", "13800000000 - no", "*** - no"},
		{"a tab between digits", "138000\t00000", "***"},
		{"control characters", "a\r\nb\x00c", "a  b c"},
		{"not text", "a\xffb", "a\uFFFDb"},
		{"empty", "", ""},
	} {
		require.Equal(t, c.want, Text(c.in), c.name)
	}
	require.Equal(t, "dear ***, your *** …", Text("dear 张三, your ab12 …", "张三", "ab12", "", "d"))
	long := Text(strings.Repeat("汉", 300))
	require.Equal(t, MaxText, utf8.RuneCountInString(long))
	require.True(t, strings.HasSuffix(long, "…"))
	require.Equal(t, strings.Repeat("汉", 250), Text(strings.Repeat("汉", 250)))
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "13800000000", "6222 0000-0000 0000", "a\xff\x00", "1234567890X", "１３８００００００００x"} {
		f.Add(s, "张三")
	}
	f.Fuzz(func(t *testing.T, text, known string) {
		out := Text(text, known)
		require.True(t, utf8.ValidString(out))
		require.LessOrEqual(t, utf8.RuneCountInString(out), MaxText)
		digits := 0
		for _, r := range out {
			require.False(t, unicode.IsControl(r))
			if digits++; !unicode.IsDigit(r) {
				digits = 0
			}
			require.Less(t, digits, minRun)
		}
		require.Equal(t, out, Text(out), "scrubbing twice changes the text")
	})
}

package settings_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/idempotency"
)

type sample struct {
	Inner struct {
		Wait time.Duration `env:"WAIT"`
	}
	Tiers []time.Duration `env:"TIERS"`
	Names []string        `env:"NAMES"`
	Count int             `env:"COUNT"`
	On    bool            `env:"ON"`
	Rate  float64         `env:"RATE"`
	Level slog.Level      `env:"LEVEL"`
	_     int
}

func env(pairs ...string) func(string) string {
	found := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		found[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return found[name] }
}

func TestLoadOverwritesWhatIsSet(t *testing.T) {
	t.Parallel()
	c := sample{Count: 3, Names: []string{"default"}, Level: slog.LevelWarn}
	c.Inner.Wait = time.Second
	require.NoError(t, settings.Load(&c, env("WAIT", "5s", "TIERS", "1s,1m", "ON", "true", "RATE", "0.5", "LEVEL", "debug")))
	require.Equal(t, 5*time.Second, c.Inner.Wait)
	require.Equal(t, []time.Duration{time.Second, time.Minute}, c.Tiers)
	require.Equal(t, []string{"default"}, c.Names, "what is not set keeps its default")
	require.Equal(t, 3, c.Count)
	require.InDelta(t, 0.5, c.Rate, 0)
	require.Equal(t, slog.LevelDebug, c.Level)
	require.True(t, c.On)
}

func TestLoadNamesEveryVariableThatCannotBeRead(t *testing.T) {
	t.Parallel()
	c := sample{Count: 3}
	err := settings.Check(settings.Load(&c, env("WAIT", "soon", "TIERS", "1s,x", "COUNT", "many", "ON", "maybe", "RATE", "fast", "LEVEL", "loud")))
	require.EqualError(t, err, `6 settings cannot work:
  WAIT: must be a duration such as 500ms, 30s or 1h
  TIERS: must be durations such as 5s,30s,5m
  COUNT: must be a whole number
  ON: must be true or false
  RATE: must be a number
  LEVEL: must be debug, info, warn or error`)
	require.Equal(t, 3, c.Count, "a default stands, so that it causes no second problem")
}

func TestCheckTakesJoinedProblemsApart(t *testing.T) {
	t.Parallel()
	require.NoError(t, settings.Check(nil, nil))
	err := settings.Check(settings.Kafka{}.Check(), settings.Positive("A", 0), nil, settings.Positive("B", time.Second))
	require.EqualError(t, err, "2 settings cannot work:\n"+
		"  KAFKA_BROKERS: is not set; it lists addresses such as host1:1234,host2:1234\n  A: must be positive")
}

func TestAListingShowsNoCredentials(t *testing.T) {
	t.Parallel()
	c := sample{Names: []string{"host:1", "user:hunter2@host:2"}}
	var out bytes.Buffer
	require.NoError(t, settings.List(c).Print(&out))
	logged := fmt.Sprint(settings.List(&c).LogValue())
	for _, text := range []string{out.String(), logged} {
		require.NotContains(t, text, "hunter2")
		require.Contains(t, text, "host:1,[masked]")
	}
	require.Equal(t, 7, strings.Count(out.String(), "\n"), "every setting stands there")
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "secret")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	secret, err := settings.ReadSecret("X_FILE", file("hunter2\n"))
	require.NoError(t, err)
	require.Equal(t, "hunter2", secret)
	_, err = settings.ReadSecret("X_FILE", file("\n"))
	require.ErrorContains(t, err, "X_FILE: ")
	require.ErrorContains(t, err, "is empty")
	_, err = settings.ReadSecret("X_FILE", "/nowhere/secret")
	require.EqualError(t, err, "X_FILE: /nowhere/secret cannot be read: no such file or directory")

	ring, err := settings.ReadKeys("K_FILE", file("0123456789abcdef-new\n\n  0123456789abcdef-old  \n"))
	require.NoError(t, err)
	require.Len(t, ring.Fingerprints([]byte("x")), 2)
	_, err = settings.ReadKeys("K_FILE", file("hunter2"))
	require.ErrorContains(t, err, "at least 16 are needed")
	require.NotContains(t, err.Error(), "hunter2")

	var into map[string]string
	err = settings.ReadJSON("J_FILE", file(`{"key": hunter2}`), &into)
	require.ErrorContains(t, err, "does not hold the JSON that is expected")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAddressesWithCredentialsAreRefusedUnseen(t *testing.T) {
	t.Parallel()
	r := settings.DefaultRedis()
	r.Addrs = []string{"redis:6379", "redis://:hunter2@other:6379"}
	err := settings.Check(r.Check(), settings.URL("BASE", "https://u:hunter2@host"), settings.URL("BASE", "https://host?token=hunter2"))
	require.ErrorContains(t, err, "REDIS_ADDRS: address 2 must be host:port")
	require.ErrorContains(t, err, "BASE: must not hold a user or password")
	require.ErrorContains(t, err, "BASE: must not hold a query or fragment")
	require.NotContains(t, err.Error(), "hunter2")
}

// TestRefuses: what keeps a loss from being seen stops a start, the rest only where that is asked for.
func TestRefuses(t *testing.T) {
	t.Parallel()
	found := []idempotency.Finding{
		{Weakness: idempotency.WeakIdentity, Text: "hidden"}, {Weakness: idempotency.WeakReplicas, Server: "r:1", Text: "none"},
	}
	require.EqualError(t, settings.Redis{}.Refuses(found), "redis: hidden (or name identity in REDIS_ACCEPT)")
	require.NoError(t, settings.Redis{Accept: []string{idempotency.WeakIdentity}}.Refuses(found))
	require.EqualError(t, settings.Redis{Strict: true, Accept: []string{idempotency.WeakIdentity}}.Refuses(found),
		"redis r:1: none (or name replicas in REDIS_ACCEPT)")
	require.NoError(t, settings.Redis{Strict: true}.Refuses(nil))
}

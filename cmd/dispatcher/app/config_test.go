package app

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/cmd/internal/settings"
)

const hunter2 = "hunter2-hunter2!"

// good are settings that work, with secrets that hold the word hunter2.
func good(t *testing.T) map[string]string {
	t.Helper()
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	return map[string]string{
		"KAFKA_BROKERS": "127.0.0.1:1", "REDIS_ADDRS": "127.0.0.1:1", "REDIS_ACCEPT": "identity", "ADMIN_ADDR": "127.0.0.1:0",
		"FINGERPRINT_KEYS_FILE": file("fingerprints", hunter2), "CALLBACK_TOKEN_KEYS_FILE": file("tokens", hunter2+"\n"+hunter2+"-old\n"),
		"CALLBACK_BASE_URL": "https://pay.example.com/", "WITHHOLD_URL": "https://gateway.example.com/api",
		"WITHHOLD_ACCOUNTS_FILE": file("accounts", `{"default":{"ua":"ua-1","key":"`+hunter2+`"}}`),
		"KAFKA_SASL":             "scram-sha-512", "KAFKA_USER": "dispatcher", "KAFKA_PASSWORD_FILE": file("kafka", hunter2),
		"REDIS_PASSWORD_FILE": file("redis", hunter2), "TOPICS": "withhold.request",
	}
}

// with returns settings changed by pairs; "" takes one away.
func with(base map[string]string, pairs ...string) func(string) string {
	changed := maps.Clone(base)
	for i := 0; i < len(pairs); i += 2 {
		changed[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return changed[name] }
}

func TestGoodSettings(t *testing.T) {
	t.Parallel()
	c, secret, err := load(with(good(t)))
	require.NoError(t, err)
	require.Equal(t, []string{"withhold.request"}, c.Topics.Names)
	address := secret.withhold.NotifyURL("order-1")
	require.True(t, strings.HasPrefix(address, "https://pay.example.com/callbacks/withhold/"), address)
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), fmt.Sprintf("%v %+v", secret.withhold, secret.fingerprints)} {
		require.NotContains(t, shown, hunter2)
	}

	_, secret, err = load(with(good(t), "CALLBACK_BASE_URL", "", "CALLBACK_TOKEN_KEYS_FILE", ""))
	require.NoError(t, err, "without an address nobody calls back, which is allowed")
	require.Nil(t, secret.withhold.NotifyURL)
}

func TestEverythingIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := load(with(nil))
	require.EqualError(t, err, `8 settings cannot work:
  KAFKA_BROKERS: is not set; it lists addresses such as host1:1234,host2:1234
  REDIS_ADDRS: is not set; it lists addresses such as host1:1234,host2:1234
  FINGERPRINT_KEYS_FILE: is not set; it names a file with one secret a line, the newest first
  WITHHOLD_ACCOUNTS_FILE: is not set
  WITHHOLD_URL: must be absolute, with http or https
  ESIGN_ACCOUNTS_FILE: is not set
  ESIGN_URL: must be absolute, with http or https
  DAXPAY_ACCOUNTS_FILE: is not set`)
}

func TestEachSettingThatCannotWorkIsNamed(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		set  []string
		want []string
	}{
		"vendor timeout not below the drain budget": {
			[]string{"WITHHOLD_TIMEOUT", "6s", "DRAIN_BUDGET", "6s"},
			[]string{"WITHHOLD_TIMEOUT: 6s must be shorter than DRAIN_BUDGET, which is 6s"},
		},
		"drain budget not below the rebalance timeout": {
			[]string{"DRAIN_BUDGET", "9s"},
			[]string{"DRAIN_BUDGET and one HEARTBEAT_INTERVAL: 10s must be shorter than REBALANCE_TIMEOUT, which is 10s"},
		},
		"rebalance timeout not below the pod's grace": {
			[]string{"POD_GRACE", "10s"}, []string{"REBALANCE_TIMEOUT: 10s must be shorter than POD_GRACE, which is 10s"},
		},
		"rebalance timeout not below the session": {
			[]string{"SESSION_TIMEOUT", "10s"}, []string{"REBALANCE_TIMEOUT: 10s must be shorter than SESSION_TIMEOUT"},
		},
		"call and write not below the lease": {
			[]string{"WITHHOLD_LEASE", "6s"}, []string{"6s must be shorter than WITHHOLD_LEASE, which is 6s"},
		},
		"lease above the settle delay": {
			[]string{"WITHHOLD_SETTLE", "7s"}, []string{"WITHHOLD_SETTLE: settle delay 7s: must not be shorter than the lease 8s"},
		},
		"records that die before their orders": {
			[]string{"RECORD_LIFETIME", "24h"}, []string{"RECORD_LIFETIME: 24h0m0s must be longer than WITHHOLD_DEADLINE"},
		},
		"a deadline within the settle delay": {
			[]string{"WITHHOLD_DEADLINE", "30s"}, []string{"WITHHOLD_DEADLINE: "},
		},
		"tiers that do not ascend":     {[]string{"PARK_TIERS", "30s,5s"}, []string{"PARK_TIERS: "}},
		"no submission":                {[]string{"WITHHOLD_MAX_SENDS", "0"}, []string{"WITHHOLD_MAX_SENDS: "}},
		"an unknown topic":             {[]string{"TOPICS", "withhold.request,identity.pull"}, []string{`TOPICS: "identity.pull" is not one of withhold.request`}},
		"a topic twice":                {[]string{"TOPICS", "withhold.request,withhold.request"}, []string{"TOPICS: names a topic twice"}},
		"an account file with no JSON": {[]string{"WITHHOLD_ACCOUNTS_FILE", "/dev/null"}, []string{"WITHHOLD_ACCOUNTS_FILE: /dev/null does not hold the JSON"}},
		"another default account":      {[]string{"WITHHOLD_DEFAULT_ACCOUNT", "east"}, []string{`WITHHOLD_DEFAULT_ACCOUNT: "east" is none of the accounts`}},
		"a key of another size":        {[]string{"WITHHOLD_CIPHER_KEY_BITS", "256"}, []string{`WITHHOLD_ACCOUNTS_FILE: account "default": cipher: the key has 16 bytes`}},
		"an unknown cipher":            {[]string{"WITHHOLD_CIPHER_MODE", "rot13", "WITHHOLD_CIPHER_PADDING", "x"}, []string{"WITHHOLD_CIPHER_MODE: ", "WITHHOLD_CIPHER_PADDING: "}},
		"a limit that is no amount":    {[]string{"WITHHOLD_MAX_AMOUNT", "1e5"}, []string{"WITHHOLD_MAX_AMOUNT: "}},
		"a wording that fits all":      {[]string{"WITHHOLD_MISSING_WORDS", "no such order;/.*/"}, []string{"WITHHOLD_MISSING_WORDS: missing wording 2"}},
		"a window below the flight":    {[]string{"IN_FLIGHT", "9000"}, []string{"WINDOW: 8192 must be at least 9000"}},
		"SASL without a user":          {[]string{"KAFKA_USER", "", "KAFKA_PASSWORD_FILE", ""}, []string{"KAFKA_USER: is not set", "KAFKA_PASSWORD_FILE: is not set"}},
		"an unknown SASL mechanism":    {[]string{"KAFKA_SASL", "gssapi"}, []string{"KAFKA_SASL: must be plain"}},
		"a callback address without keys": {
			[]string{"CALLBACK_TOKEN_KEYS_FILE", ""}, []string{"CALLBACK_TOKEN_KEYS_FILE: is not set"},
		},
		"a missing password file": {
			[]string{"REDIS_PASSWORD_FILE", "/nowhere/redis"}, []string{"REDIS_PASSWORD_FILE: /nowhere/redis cannot be read"},
		},
		"a CA without TLS": {[]string{"REDIS_TLS_CA_FILE", "/etc/ca.pem"}, []string{"REDIS_TLS_CA_FILE: is set, but REDIS_TLS is not true"}},
		"several at once": {
			[]string{"WITHHOLD_LEASE", "soon", "REDIS_BUCKETS", "0", "ADMIN_ADDR", "9090", "LOG_LEVEL", "loud"},
			[]string{"4 settings cannot work", "WITHHOLD_LEASE: must be a duration", "REDIS_BUCKETS: 0 must be 1 to 16384", "ADMIN_ADDR: ", "LOG_LEVEL: must be"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(with(good(t), c.set...))
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			if len(c.want) == 1 {
				require.ErrorContains(t, err, "one setting cannot work", "what follows from it is no problem of its own")
			}
			require.NotContains(t, err.Error(), hunter2)
		})
	}
}

func TestRunRefusesBadSettingsAndShowsGoodOnes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := Run(t.Context(), nil, with(good(t), "WITHHOLD_URL", "https://u:"+hunter2+"@gateway"), &out)
	_, invalid := errors.AsType[*settings.Invalid](err)
	require.True(t, invalid, "which is exit code 2")
	require.ErrorContains(t, err, "WITHHOLD_URL: must not hold a user or password")
	require.Empty(t, out.String(), "main says it, once")

	require.NoError(t, Run(t.Context(), []string{"--print-config"}, with(good(t), "WITHHOLD_URL", "https://u:"+hunter2+"@gateway"), &out))
	require.NotContains(t, out.String()+err.Error(), hunter2)
	require.Regexp(t, `(?m)^WITHHOLD_LEASE +8s$`, out.String())
	require.Regexp(t, `(?m)^WITHHOLD_URL +\[masked\]$`, out.String())

	err = Run(t.Context(), []string{"--verbose"}, with(good(t)), &out)
	require.ErrorContains(t, err, "flag provided but not defined")
}

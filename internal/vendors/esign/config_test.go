package esign_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/vendors/esign"
)

func TestConfigProblemsAreNamedTogether(t *testing.T) {
	t.Parallel()
	_, err := esign.New(esign.Config{
		URL:  "ftp://x",
		Mode: "basic",
		Accounts: map[string]esign.Account{
			"a": {AppID: "1"}, "b": {AppID: "1", Secret: testSecret}, "c": {Secret: testSecret}, "": {AppID: "2", Secret: "x"},
		},
		DefaultAccount: "none", ContentType: "application/json ", ShareFor: -1, TokenMargin: -1,
		FailedCodes: []int{30500002, 0, 30500003}, AnswerStatuses: []int{200, 302, 401, 403, 999},
	})
	require.Error(t, err)
	for _, part := range []string{
		"URL: must be absolute", `mode: "basic" is neither signature nor oauth2`, `account "a": the secret is empty`,
		`account "b": has the app id of account "a"`, `account "c": the app id is empty`, "a name is empty",
		`default account: "none"`, "content type:", "sharing time:", "token margin:", "failed codes: 30500002",
		"failed codes: 0", "answer statuses: 302", "answer statuses: 401", "answer statuses: 403",
		"answer statuses: 999", "HTTP timeout",
	} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), testSecret)
	require.NotContains(t, err.Error(), "30500003")
	require.NotContains(t, err.Error(), "answer statuses: 200")
}

func TestConfigURL(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"https://openapi.esign.cn": true, "http://127.0.0.1:1/": true,
		"https://openapi.esign.cn/v1": false, "https://u:p@h": false, "https://h?a=1": false, "https://h#f": false,
		"openapi.esign.cn": false, "": false, "https://": false, "://": false,
	} {
		err := config(text).Validate()
		require.Equal(t, ok, err == nil, "%s: %v", text, err)
	}
	require.ErrorContains(t, esign.Config{URL: "https://h"}.Validate(), "accounts: at least one is needed")
}

func TestConfigAndSecretsMaskThemselves(t *testing.T) {
	t.Parallel()
	c := config("https://openapi.esign.cn")
	require.NoError(t, c.Validate())
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "config", c, "secret", c.Accounts["main"].Secret)
	c.HTTP.DialContext = nil
	encoded, err := json.Marshal(c.Accounts)
	require.NoError(t, err)
	text := fmt.Sprintf("%v %+v %#v %x %s", c, c, c, c.Accounts, c.Accounts) + log.String() + string(encoded) +
		c.Accounts["main"].Secret.String() + c.Accounts["main"].Secret.GoString()
	require.NotContains(t, text, testSecret)
	require.NotContains(t, text, fmt.Sprintf("%x", testSecret))
	require.Contains(t, log.String(), `"mode":"signature"`)
}

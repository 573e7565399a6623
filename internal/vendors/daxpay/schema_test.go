package daxpay_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	sim "paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/schemas"
)

// What the schema lets through the adapter takes, and what the adapter answers the result's schema knows.
func TestSchemasAgree(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	require.NoError(t, err)
	_, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	paths, err := filepath.Glob("../../../schemas/testdata/alloc.receiver.query/valid/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(path)
			require.NoError(t, err)
			var head struct {
				RequestID commands.RequestID `json:"requestId"`
				Account   string             `json:"account"`
			}
			require.NoError(t, json.Unmarshal(body, &head))
			cmd := commands.Command{RequestID: head.RequestID, Account: head.Account, Body: body}
			require.NoError(t, client.Check(cmd))
			reply, err := client.Ask(t.Context(), cmd)
			require.NoError(t, err)
			data, err := json.Marshal(map[string]any{
				"requestId": head.RequestID, "code": reply.Code, "receivers": reply.Extra["receivers"],
			})
			require.NoError(t, err)
			require.NoError(t, set.Validate("alloc.receiver.result", data))
		})
	}
}

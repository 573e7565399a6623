package esign_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	sim "paydispatch/internal/vendors/sim/esign"
	"paydispatch/schemas"
)

// What the adapter answers becomes an event that its schema knows, with a later null over an earlier value.
func TestRepliesMakeValidResults(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	require.NoError(t, err)
	policy := commands.Policy{
		Spec: commands.Spec{
			Topic: "identity.poll", ResultTopic: "identity.result", Type: "identity", Source: "/paydispatch/identity",
			KeyField: "flowId", Effect: commands.EffectRead, CarryFields: []string{"account"},
			ProgressFields: []string{"process", "authLetterAuditStatus"},
		},
		Deadline: time.Hour, Tiers: []time.Duration{time.Minute},
	}
	for name, c := range map[string]struct {
		steps []sim.Step
		kinds []string
		last  map[string]any
	}{
		"succeeds": {
			[]sim.Step{{Queries: 1, Process: "CREATED", AuthLetter: "ING"}, {Queries: 2, Process: "UN_RECEIVED"}, {Queries: 3, Process: "ORGANFINISHED"}},
			[]string{"pending", "pending", "answered"},
			map[string]any{"process": "ORGANFINISHED", "message": nil, "authLetterAuditStatus": nil, "payAmount": "0.01", "code": "0"},
		},
		"fails": {
			[]sim.Step{{Queries: 1, Process: "SOMETHING_NEW"}, {Queries: 2, Code: 30500002, Outline: "FAIL", FailReason: "打款失败"}},
			[]string{"pending", "failed"},
			map[string]any{"process": nil, "flowStatus": "FAIL", "failReason": "打款失败", "code": "30500002", "message": "认证流程已结束"},
		},
		"does not exist": {
			[]sim.Step{{Code: 30500004}}, []string{"failed"}, map[string]any{"code": "30500004", "message": "认证流程不存在"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, cfg := double(t, sim.Config{Script: steps(c.steps...)})
				client := newClient(t, cfg)
				cmd := command(testFlow)
				require.NoError(t, set.Validate("identity.poll", cmd.Body))
				cmd.Key = testFlow
				state := commands.Begin(cmd, "", time.Now())
				state.Phase = commands.Asking
				var kinds []string
				var last map[string]any
				for range c.steps {
					reply, err := client.Ask(t.Context(), cmd)
					require.NoError(t, err)
					next, action, err := commands.Advance(state, commands.Answered{Reply: reply}, policy, time.Now())
					require.NoError(t, err)
					state = next
					result := action.Result
					if result == nil {
						result = state.Result
					}
					require.NotNil(t, result)
					kinds = append(kinds, result.Kind())
					require.NoError(t, set.Validate("identity.result", result.Data), "%s", result.Data)
					last = nil
					require.NoError(t, json.Unmarshal(result.Data, &last))
				}
				require.Equal(t, c.kinds, kinds)
				for name, want := range c.last {
					require.Contains(t, last, name)
					require.Equal(t, want, last[name], name)
				}
			})
		})
	}
}

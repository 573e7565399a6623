package catalog_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/vendors/catalog"
	"paydispatch/schemas"
)

// personal are the fields that no result may repeat.
func personal() []string {
	return []string{"name", "id_card_number", "mobile", "bank_card_number", "protocol_no", "biz_data", "verification_code"}
}

func TestEveryLineIsWhole(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, s := range catalog.Specs() {
		require.False(t, seen[s.Topic], "a topic stands there once")
		seen[s.Topic] = true
		t.Run(s.Topic, func(t *testing.T) {
			t.Parallel()
			require.NotEmpty(t, s.Type)
			require.NotEmpty(t, s.Source)
			require.Contains(t, set.Topics(), s.Topic, "commands have a schema")
			require.Contains(t, set.Topics(), s.ResultTopic, "results have a schema")
			fields := properties(t, s.Topic)
			require.Contains(t, fields, s.KeyField)
			require.Contains(t, fields, "requestId")
			results := properties(t, s.ResultTopic)
			for _, carried := range append(slices.Clone(s.CarryFields), s.MatchFields...) {
				require.Contains(t, results, carried, "what results repeat is in their schema")
				require.NotContains(t, personal(), carried)
			}
		})
	}
	require.Len(t, catalog.Topics(), len(seen))
}

func TestFind(t *testing.T) {
	t.Parallel()
	s, ok := catalog.Find("withhold.request")
	require.True(t, ok)
	require.Equal(t, "withhold.request.dlq", s.DeadLetterTopic())
	_, ok = catalog.Find("withhold.result")
	require.False(t, ok, "a result topic takes no commands")
}

func properties(t *testing.T, topic string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile("../../../schemas/" + topic + ".json")
	require.NoError(t, err)
	var schema struct{ Properties map[string]any }
	require.NoError(t, json.Unmarshal(raw, &schema))
	return schema.Properties
}

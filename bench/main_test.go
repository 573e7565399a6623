package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"paydispatch/bench/load"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-dispatcher", "x", "-scenario", "drain,backlog", "-systems", "pool", "-backlog", "500"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"pool"}, o.systems)
	require.Len(t, o.scenarios, 2)
	require.Equal(t, "drain", o.scenarios[0].name)
	require.Equal(t, 20_000, o.scenarios[0].plan.Commands)
	require.Equal(t, 256, o.scenarios[0].inFlight)
	require.Equal(t, 500, o.scenarios[1].plan.Commands)

	for name, args := range map[string][]string{
		"no program":       {},
		"unknown scenario": {"-dispatcher", "x", "-scenario", "drian"},
		"unknown system":   {"-dispatcher", "x", "-systems", "sarama"},
	} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, name)
	}
}

func TestOnlyTheSystemsRequestsWithMessagesAreCounted(t *testing.T) {
	t.Parallel()
	produce := func(topic string) kmsg.Request {
		r := kmsg.NewPtrProduceRequest()
		r.Topics = []kmsg.ProduceRequestTopic{{Topic: topic}}
		return r
	}
	fetch := func(topic string) kmsg.Request {
		r := kmsg.NewPtrFetchRequest()
		r.Topics = []kmsg.FetchRequestTopic{{Topic: topic}}
		return r
	}
	require.Equal(t, "Produce", requestName(produce(load.Results)))
	require.Empty(t, requestName(produce(load.Commands)), "the bench writes commands")
	require.Empty(t, requestName(produce("")), "by topic id: the bench's own client")
	require.Equal(t, "Fetch", requestName(fetch(load.Commands)))
	require.Empty(t, requestName(fetch(load.Results)), "the bench reads results")
	require.Equal(t, "OffsetCommit", requestName(kmsg.NewPtrOffsetCommitRequest()))
}

func TestWhatIsLeftOfTheMachineBelongsToOthers(t *testing.T) {
	t.Parallel()
	cores := map[string]float64{machineUsage: 1.75, "system": 1, "broker": 0.5}
	require.InDelta(t, 0.25, others(cores), 1e-9)
	require.NotContains(t, cores, machineUsage)
}

package sim

import (
	"fmt"
	"maps"
	"slices"
)

// deployment is the dispatchers of one group, which share the topics that they serve. All deployments share the store.
type deployment struct {
	group  string
	topics []string
}

func (d *deployment) serves(topic string) bool { return slices.Contains(d.topics, topic) }

// deploy makes the dispatchers: of one deployment, or of one for debits and one for everything else.
func (w *world) deploy() {
	var topics []string
	for _, s := range w.scenario.specs {
		topics = append(topics, s.Topic)
	}
	w.deployments = []*deployment{{"dispatcher", topics}}
	n := 2 + w.rng.IntN(2)
	if len(topics) > 1 && w.rng.IntN(3) == 0 {
		w.deployments = []*deployment{{"debits", topics[:1]}, {"others", topics[1:]}}
	}
	for i := range n {
		of := w.deployments[i%len(w.deployments)]
		w.dispatchers = append(w.dispatchers, &process{name: fmt.Sprintf("d%d", i+1), start: w.dispatcher, of: of})
	}
}

// committed are the offsets of all groups; no topic is served by two.
func (w *world) committed() map[string]map[int]int64 {
	all := map[string]map[int]int64{}
	for _, d := range w.deployments {
		maps.Copy(all, w.broker.Committed(d.group))
	}
	return all
}

package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// nodes finds the batcher of the server that a key lives on. Each server has its own, so that a slow or dead node of a
// cluster holds up nothing but its own share.
type nodes struct {
	config Config
	client redis.UniversalClient

	mu     sync.Mutex
	byAddr map[string]*batcher
	closed bool
}

func newNodes(config Config) *nodes {
	return &nodes{config: config, client: redis.NewUniversalClient(config.options()), byAddr: map[string]*batcher{}}
}

// submit queues a call at the server of its keys, which share a slot.
func (n *nodes) submit(ctx context.Context, c call) (*pending, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cluster, clustered := n.client.(*redis.ClusterClient)
	if !clustered {
		single, _ := n.client.(*redis.Client) // by Config.options there is no third kind
		return n.batcher("", single, nil).submit(c), nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.Timeout) // it may have to learn the layout first
	defer cancel()
	node, err := cluster.MasterForKey(ctx, c.keys[0])
	if err != nil {
		return nil, err
	}
	return n.batcher(node.Options().Addr, node, cluster).submit(c), nil
}

func (n *nodes) batcher(addr string, node *redis.Client, cluster *redis.ClusterClient) *batcher {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, found := n.byAddr[addr]
	if found && b.client == pipeliner(node) {
		return b
	}
	b = &batcher{
		client:   node,
		cluster:  cluster,
		timeout:  n.config.roundTrip(),
		replicas: n.config.Replicas,
		patience: n.config.WaitTimeout,
		closed:   n.closed,
	}
	n.byAddr[addr] = b // a node that left and came back has a new client; the old one's last calls end by themselves
	return b
}

func (n *nodes) close() error {
	n.mu.Lock()
	n.closed = true
	batchers := n.byAddr
	n.byAddr = map[string]*batcher{}
	n.mu.Unlock()
	for _, b := range batchers {
		b.close()
	}
	return n.client.Close()
}

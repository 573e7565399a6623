package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics of the withhold commands.
const (
	commandTopic = "withhold.request"
	resultTopic  = "withhold.result"
	deadTopic    = "withhold.request.dlq"
	partitions   = 8
)

// delayTopics are those of the deployment's PARK_TIERS.
func delayTopics() []string {
	var all []string
	for tier := range strings.SplitSeq(parkTiers, ",") {
		all = append(all, commandTopic+".delay."+tier)
	}
	return all
}

func topics() []string { return append(delayTopics(), commandTopic, resultTopic, deadTopic) }

// clients is how many of the dispatchers and of callback-ingest have ways of their own to the brokers.
const clients = 4

// cluster is Apache Kafka: one broker or three, which are controllers too.
type cluster struct {
	brokers []*broker
	admin   *kadm.Client
	client  *kgo.Client
}

// broker is one node. Every client reaches it on a listener and a link of its own, so that a link can be cut for one of
// them alone; the runner's ledger and producer go directly; the other brokers go by a link too.
type broker struct {
	program
	id      int
	process *process
	direct  string
	ways    []*link
	peers   *link
}

// javaOptions suit brokers that live for minutes on few cores: the second compiler would take more than it gives.
func javaOptions() []string {
	return []string{"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"}
}

// startCluster starts n brokers in dir and waits until all answer.
func startCluster(ctx context.Context, p *ports, root, dir string, n int) (c *cluster, err error) {
	libs, err := exec.CommandContext(ctx, filepath.Join(root, "scripts", "kafka-jars")).Output()
	if err != nil {
		return nil, fmt.Errorf("scripts/kafka-jars: %w", err)
	}
	c = &cluster{}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	controllers := make([]int, n)
	for i := range controllers {
		if controllers[i], err = p.free(); err != nil {
			return nil, err
		}
	}
	id := clusterID()
	for i := range n {
		b, err := newBroker(p, dir, i+1, controllers)
		if err != nil {
			return nil, err
		}
		b.program.env = []string{"CLASSPATH=" + strings.TrimSpace(string(libs)) + "/*", "LC_ALL=C"}
		b.program.path = "java"
		logging := "-Dlog4j2.configurationFile=" + filepath.Join(root, "scripts", "kafka", "log4j2.properties")
		config := filepath.Join(b.workingDir, "server.properties")
		b.program.args = append(javaOptions(), logging, "kafka.Kafka", config)
		format := b.program
		format.args = append(javaOptions(), logging, "kafka.tools.StorageTool", "format", "-t", id, "-c", config)
		formatting, err := format.start()
		if err != nil {
			return nil, err
		}
		<-formatting.done
		c.brokers = append(c.brokers, b)
	}
	for _, b := range c.brokers {
		if b.process, err = b.program.start(); err != nil {
			return nil, err
		}
	}
	c.client, err = kgo.NewClient(kgo.SeedBrokers(c.direct()...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	c.admin = kadm.NewClient(c.client)
	err = c.await(ctx)
	return c, err
}

// clusterID is 16 bytes in URL-safe base64; one that begins with '-' would be read as an option.
func clusterID() string {
	for {
		raw := make([]byte, 16)
		_, _ = rand.Read(raw)
		if id := base64.RawURLEncoding.EncodeToString(raw); id[0] != '-' {
			return id
		}
	}
}

// newBroker writes what a broker reads.
func newBroker(p *ports, dir string, id int, controllers []int) (*broker, error) {
	name := fmt.Sprintf("kafka-%d", id)
	home := filepath.Join(dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	b := &broker{program: program{name: name, dir: dir, workingDir: home}, id: id}
	var listeners, advertised, protocols, voters []string
	// listen adds a listener; where it is advertised as a link, the link is returned.
	listen := func(name string, linked bool) (*link, error) {
		port, err := p.free()
		if err != nil {
			return nil, err
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		listeners, protocols = append(listeners, name+"://"+address), append(protocols, name+":PLAINTEXT")
		if !linked {
			b.direct = address
			advertised = append(advertised, name+"://"+address)
			return nil, nil
		}
		way, err := newLink(address)
		if err != nil {
			return nil, err
		}
		advertised = append(advertised, name+"://"+way.address())
		return way, nil
	}
	_, err := listen("DIRECT", false)
	if err != nil {
		return nil, err
	}
	if b.peers, err = listen("PEERS", true); err != nil {
		return nil, err
	}
	for i := range clients {
		way, err := listen(fmt.Sprintf("CLIENT%d", i), true)
		if err != nil {
			return nil, err
		}
		b.ways = append(b.ways, way)
	}
	listeners = append(listeners, fmt.Sprintf("CONTROLLER://127.0.0.1:%d", controllers[id-1]))
	protocols = append(protocols, "CONTROLLER:PLAINTEXT")
	for i, port := range controllers {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, port))
	}
	copies := len(controllers)
	config := map[string]any{
		"process.roles": "broker,controller", "node.id": id, "log.dirs": filepath.Join(home, "data"),
		"controller.quorum.voters": strings.Join(voters, ","), "controller.listener.names": "CONTROLLER",
		"listeners": strings.Join(listeners, ","), "advertised.listeners": strings.Join(advertised, ","),
		"listener.security.protocol.map": strings.Join(protocols, ","), "inter.broker.listener.name": "PEERS",
		"auto.create.topics.enable": false, "group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 1000,
		// A broker that was killed can register again only when its session is over.
		"broker.heartbeat.interval.ms": 500, "broker.session.timeout.ms": 5000, "replica.lag.time.max.ms": 3000,
		// Defaults would have a busy machine elect controllers all the time.
		"controller.quorum.fetch.timeout.ms": 4000, "controller.quorum.request.timeout.ms": 4000,
		"offsets.topic.replication.factor": copies, "offsets.topic.num.partitions": 4,
		"transaction.state.log.replication.factor": copies, "transaction.state.log.min.isr": min(copies, 2),
		"transaction.state.log.num.partitions":             2,
		"share.coordinator.state.topic.replication.factor": copies, "share.coordinator.state.topic.min.isr": min(copies, 2),
		"min.insync.replicas": min(copies, 2), "num.network.threads": 2, "num.io.threads": 4,
		"log.cleaner.dedupe.buffer.size": 16 << 20,
	}
	var lines []string
	for key, value := range config {
		lines = append(lines, fmt.Sprintf("%s=%v\n", key, value))
	}
	slices.Sort(lines)
	return b, os.WriteFile(filepath.Join(home, "server.properties"), []byte(strings.Join(lines, "")), 0o600)
}

// direct are the addresses that no link leads over.
func (c *cluster) direct() []string {
	var all []string
	for _, b := range c.brokers {
		all = append(all, b.direct)
	}
	return all
}

// seen are the addresses that a client is given.
func (c *cluster) seen(client int) []string {
	var all []string
	for _, b := range c.brokers {
		all = append(all, b.ways[client].address())
	}
	return all
}

// ways are a client's links to all brokers.
func (c *cluster) ways(client int) []*link {
	var all []*link
	for _, b := range c.brokers {
		all = append(all, b.ways[client])
	}
	return all
}

// asked makes the client ask the brokers for their metadata: what it has heard of brokers it would believe for ever.
func asked(ctx context.Context) context.Context { return kadm.WithAuthorizedOps(ctx) }

// await waits until every broker is part of the cluster.
func (c *cluster) await(ctx context.Context) error {
	return eventually(ctx, 2*time.Minute, "the brokers", func(ctx context.Context) error {
		for _, b := range c.brokers {
			if !b.process.alive() {
				return fmt.Errorf("%s has ended: see its log in %s", b.name, b.dir)
			}
		}
		meta, err := c.admin.BrokerMetadata(asked(ctx))
		if err == nil && len(meta.Brokers) < len(c.brokers) {
			err = fmt.Errorf("%d of %d answer", len(meta.Brokers), len(c.brokers))
		}
		return err
	})
}

// restore starts the brokers that are not running and opens every link.
func (c *cluster) restore(ctx context.Context) error {
	for _, b := range c.brokers {
		b.peers.heal()
		for _, way := range b.ways {
			way.heal()
		}
		if !b.process.alive() {
			var err error
			if b.process, err = b.program.start(); err != nil {
				return err
			}
		}
	}
	return c.await(ctx)
}

// renew deletes the topics and creates them, so that a row begins with empty ones.
func (c *cluster) renew(ctx context.Context) error {
	// Topics are deleted in the background: they count as gone when no broker names them any more.
	err := eventually(ctx, 3*time.Minute, "the end of the last row's topics", func(ctx context.Context) error {
		found, err := c.admin.ListTopics(asked(ctx))
		if err != nil || len(found) == 0 {
			return err
		}
		_, err = c.admin.DeleteTopics(ctx, found.Names()...)
		return errors.Join(err, fmt.Errorf("%v are not gone yet", found.Names()))
	})
	if err != nil {
		return err
	}
	err = eventually(ctx, 3*time.Minute, "new topics", func(ctx context.Context) error {
		made, err := c.admin.CreateTopics(ctx, partitions, int16(len(c.brokers)), nil, topics()...)
		if err != nil {
			return err
		}
		for _, t := range made {
			if t.Err != nil && !errors.Is(t.Err, kerr.TopicAlreadyExists) {
				return t.Err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return eventually(ctx, 3*time.Minute, "leaders of the new topics", c.led)
}

// led fails until every partition has a leader that answers.
func (c *cluster) led(ctx context.Context) error {
	ends, err := c.admin.ListEndOffsets(ctx, topics()...)
	if err != nil {
		return err
	}
	return ends.Error()
}

// prefer gives every partition back to its first broker.
func (c *cluster) prefer(ctx context.Context) error {
	return eventually(ctx, 2*time.Minute, "the leaders", func(ctx context.Context) error {
		done, err := c.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil)
		if err != nil {
			return err
		}
		for _, parts := range done {
			for _, p := range parts {
				if p.Err != nil && !errors.Is(p.Err, kerr.ElectionNotNeeded) {
					return p.Err
				}
			}
		}
		return nil
	})
}

// behind counts the messages of the command and delay topics that the group has not committed yet.
func (c *cluster) behind(ctx context.Context, group string) (int64, error) {
	names := append(delayTopics(), commandTopic)
	ends, err := c.admin.ListEndOffsets(ctx, names...)
	if err != nil {
		return 0, err
	}
	starts, err := c.admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return 0, err
	}
	committed, err := c.admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(ends.Error(), starts.Error()); err != nil {
		return 0, err
	}
	var left int64
	ends.Each(func(end kadm.ListedOffset) {
		from := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
			from = start.Offset
		}
		if at, ok := committed.Lookup(end.Topic, end.Partition); ok {
			from = max(from, at.At)
		}
		left += max(end.Offset-from, 0)
	})
	return left, nil
}

// forget deletes a group with its offsets; its members must be gone.
func (c *cluster) forget(ctx context.Context, group string) error {
	return eventually(ctx, 20*time.Second, "the end of group "+group, func(ctx context.Context) error {
		deleted, err := c.admin.DeleteGroups(ctx, group)
		if err != nil {
			return err
		}
		return deleted[group].Err
	})
}

// close stops every broker. They lose nothing that anybody needs, so they are killed.
func (c *cluster) close() {
	if c == nil {
		return
	}
	if c.client != nil {
		c.client.Close()
	}
	for _, b := range c.brokers {
		if b.process != nil {
			b.process.kill()
		}
		for _, way := range append(b.ways, b.peers) {
			way.close()
		}
	}
}

// eventually tries until it works; its error is the last one.
func eventually(ctx context.Context, patience time.Duration, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, 5*time.Second)
		err := try(once)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v: %w", what, patience, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

//go:build real

package realparts

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Options say what cluster a test needs.
type Options struct {
	// Brokers is how many there are; 0 means one.
	Brokers int
	// Users may authenticate at the second listener of each broker, by PLAIN; by SCRAM once their credentials are made.
	// They may do everything until an access rule is made for a topic or group. Who comes to the first listener need not
	// authenticate and may do everything.
	Users map[string]string
	// Settings are added to those of every broker.
	Settings map[string]string
}

// Cluster are brokers that know each other.
type Cluster struct {
	Brokers []*Broker
	id      string
	libs    string
}

// Broker is one of them. Its data and ports survive its process.
type Broker struct {
	ID      int
	Address string // where nobody needs to authenticate
	Secured string // where everybody must
	dir     string
	cluster *Cluster
	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
}

// starting bounds how long a broker may take until it answers.
const starting = 2 * time.Minute

// Start starts a cluster, waits until all its brokers know each other, and stops it when the test ends.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(root(t), "scripts", "kafka-jars")).Output()
	require.NoError(t, err, "scripts/install-real installs what Kafka needs")
	c := &Cluster{libs: strings.TrimSpace(string(out)), id: "cGF5ZGlzcGF0Y2gtdGVzdA"}
	var voters []string
	for i := range max(o.Brokers, 1) {
		ports := free(t, 3)
		b := &Broker{ID: i + 1, Address: ports[0], Secured: ports[1], cluster: c, dir: t.TempDir()}
		voters = append(voters, fmt.Sprintf("%d@%s", b.ID, ports[2]))
		c.Brokers = append(c.Brokers, b)
	}
	for i, b := range c.Brokers {
		require.NoError(t, os.WriteFile(b.settings(), b.properties(o, voters, i), 0o600))
	}
	c.format(t)
	t.Cleanup(func() {
		for _, b := range c.Brokers {
			b.Kill()
		}
	})
	for _, b := range c.Brokers {
		b.launch(t)
	}
	for _, b := range c.Brokers {
		b.await(t, len(c.Brokers))
	}
	return c
}

// Addresses are where nobody needs to authenticate.
func (c *Cluster) Addresses() (all []string) {
	for _, b := range c.Brokers {
		all = append(all, b.Address)
	}
	return all
}

// Secured are the addresses where everybody must authenticate.
func (c *Cluster) Secured() (all []string) {
	for _, b := range c.Brokers {
		all = append(all, b.Secured)
	}
	return all
}

// properties are the settings of one broker. Times are short, so that a test need not wait for what takes Kafka longer by
// default: a broker that is gone is missed after two seconds.
func (b *Broker) properties(o Options, voters []string, i int) []byte {
	replicas := fmt.Sprint(min(len(voters), 3))
	_, controller, _ := strings.Cut(voters[i], "@")
	p := map[string]string{
		"process.roles": "broker,controller", "node.id": fmt.Sprint(b.ID), "log.dirs": filepath.Join(b.dir, "data"),
		"controller.quorum.voters": strings.Join(voters, ","), "controller.listener.names": "CONTROLLER",
		"listeners":                                        fmt.Sprintf("OPEN://%s,SECURED://%s,CONTROLLER://%s", b.Address, b.Secured, controller),
		"advertised.listeners":                             fmt.Sprintf("OPEN://%s,SECURED://%s", b.Address, b.Secured),
		"listener.security.protocol.map":                   "OPEN:PLAINTEXT,SECURED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":                       "OPEN",
		"sasl.enabled.mechanisms":                          "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"authorizer.class.name":                            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                                      "User:ANONYMOUS",
		"allow.everyone.if.no.acl.found":                   "true",
		"auto.create.topics.enable":                        "false",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "1000",
		"broker.heartbeat.interval.ms":                     "300",
		"broker.session.timeout.ms":                        "2000",
		"replica.lag.time.max.ms":                          "2000",
		"controller.quorum.election.timeout.ms":            "500",
		"controller.quorum.fetch.timeout.ms":               "1000",
		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 replicas,
		"transaction.state.log.num.partitions":             "2",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": replicas,
		"num.network.threads":                              "2",
		"num.io.threads":                                   "2",
		"log.cleaner.dedupe.buffer.size":                   "4194304",
	}
	var users strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o.Users)) {
		fmt.Fprintf(&users, " user_%s=%q", name, o.Users[name])
	}
	p["listener.name.secured.plain.sasl.jaas.config"] =
		"org.apache.kafka.common.security.plain.PlainLoginModule required" + users.String() + ";"
	for _, m := range []string{"scram-sha-256", "scram-sha-512"} {
		p["listener.name.secured."+m+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	}
	maps.Copy(p, o.Settings)
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", name, p[name])
	}
	return text.Bytes()
}

func (b *Broker) settings() string { return filepath.Join(b.dir, "server.properties") }

// format prepares the brokers' folders. They differ in two names only, so Kafka's own tool, which takes seconds, runs once.
func (c *Cluster) format(t testing.TB) {
	t.Helper()
	first := c.Brokers[0]
	out, err := c.java(t.Context(), "kafka.tools.StorageTool", "format", "-t", c.id, "-c", first.settings()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, b := range c.Brokers[1:] {
		data := filepath.Join(b.dir, "data")
		require.NoError(t, os.CopyFS(data, os.DirFS(filepath.Join(first.dir, "data"))))
		meta := filepath.Join(data, "meta.properties")
		text, err := os.ReadFile(meta)
		require.NoError(t, err)
		var lines []string
		for line := range strings.Lines(string(text)) {
			switch {
			case strings.HasPrefix(line, "node.id="):
				line = fmt.Sprintf("node.id=%d\n", b.ID)
			case strings.HasPrefix(line, "directory.id="):
				line = fmt.Sprintf("directory.id=cGF5ZGlzcGF0Y2gtdGVzd%c\n", "AQgw"[b.ID%4])
			}
			lines = append(lines, line)
		}
		require.NoError(t, os.WriteFile(meta, []byte(strings.Join(lines, "")), 0o600))
	}
}

// java is a command on Kafka's jars.
func (c *Cluster) java(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "java", append([]string{
		"-Xms64m", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dlog4j2.configurationFile=" + filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(c.libs))), "scripts", "kafka", "log4j2.properties"),
		"-cp", c.libs + "/*",
	}, args...)...)
}

// Start starts the process again and waits until it answers.
func (b *Broker) Start(t testing.TB) {
	t.Helper()
	b.launch(t)
	b.await(t, 1)
}

func (b *Broker) launch(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	p := b.cluster.java(context.WithoutCancel(t.Context()), "kafka.Kafka", b.settings())
	p.Stdout, p.Stderr = log, log
	// A Ctrl-C is for the test, which ends the broker; a test that is killed takes it along.
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the system takes the end of the starting thread for that of the test
		err := p.Start()
		started <- err
		if err == nil {
			_ = p.Wait()
		}
		close(ended)
	}()
	require.NoError(t, <-started)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.process, b.ended = p, ended
}

// await waits until the broker sees that many brokers.
func (b *Broker) await(t testing.TB, others int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), starting)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		out, _ := exec.CommandContext(ctx, "kcat", "-b", b.Address, "-L", "-m", "2").CombinedOutput()
		if strings.Count(string(out), "\n  broker ") >= others {
			return
		}
		select {
		case <-b.ended:
			require.FailNow(t, "the broker ended", "%s", b.Log())
		case <-ctx.Done():
			require.FailNow(t, "the broker does not answer", "%s", b.Log())
		case <-tick.C:
		}
	}
}

// Log is what the broker wrote.
func (b *Broker) Log() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop asks the broker to end, which moves its leaderships first, and waits until it has.
func (b *Broker) Stop() { b.signal(syscall.SIGTERM, true) }

// Kill ends the broker at once.
func (b *Broker) Kill() { b.signal(syscall.SIGKILL, true) }

// Freeze keeps the broker from running until Thaw; its connections stay open.
func (b *Broker) Freeze() { b.signal(syscall.SIGSTOP, false) }

// Thaw lets a frozen broker run again.
func (b *Broker) Thaw() { b.signal(syscall.SIGCONT, false) }

func (b *Broker) signal(s syscall.Signal, wait bool) {
	b.mu.Lock()
	process, ended := b.process, b.ended
	b.mu.Unlock()
	if process == nil {
		return
	}
	select {
	case <-ended: // the id may belong to another process by now
		return
	default:
	}
	_ = process.Process.Signal(s)
	if wait {
		<-ended
	}
}

// free returns addresses that nobody listens on, below the range that the system hands out to clients: there a broker
// that is down could lose its port. Each stays taken until all are known, so that no two are the same.
func free(t testing.TB, n int) (addresses []string) {
	t.Helper()
	var taken []net.Listener
	defer func() {
		for _, l := range taken {
			_ = l.Close()
		}
	}()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			continue
		}
		taken = append(taken, l)
		if addresses = append(addresses, address); len(addresses) == n {
			return addresses
		}
	}
	require.FailNow(t, "no ports are free")
	return nil
}

func root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	require.True(t, ok)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

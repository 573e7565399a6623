package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const sigcont = syscall.SIGCONT

// times does something n times, evenly spread over the time in which commands are written. What has begun then ends
// as it would: the context that it gets goes on.
func (s *stage) times(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	for i := range n {
		if !pause(ctx, s.over/time.Duration(n+1)) {
			return nil
		}
		if err := do(context.WithoutCancel(ctx), i); err != nil {
			return err
		}
	}
	return nil
}

// every does something again and again until the commands are written.
func every(ctx context.Context, d time.Duration, do func(ctx context.Context, i int) error) error {
	for i := 0; pause(ctx, d); i++ {
		if err := do(context.WithoutCancel(ctx), i); err != nil {
			return err
		}
	}
	return nil
}

// hold leaves things as they are for a while, whatever else ends.
func hold(d time.Duration) { time.Sleep(d) }

func killing(ctx context.Context, s *stage) error {
	return every(ctx, 2*time.Second, func(ctx context.Context, i int) error {
		d := s.fleet[i%len(s.fleet)]
		s.note("kill -9 %s", d.name)
		d.kill()
		return nil
	})
}

func standing(ctx context.Context, s *stage) error {
	return every(ctx, time.Second, func(ctx context.Context, i int) error {
		d, still := s.fleet[i%len(s.fleet)], lease+500*time.Millisecond
		if i%2 == 1 {
			still = session + time.Second
		}
		s.note("SIGSTOP %s for %v", d.name, still)
		d.signal(syscall.SIGSTOP)
		hold(still)
		d.signal(sigcont)
		return nil
	})
}

func wiping(ctx context.Context, s *stage) error {
	return s.times(ctx, 4, func(ctx context.Context, _ int) error {
		s.note("FLUSHALL")
		return s.redis.primary.do(ctx, "FLUSHALL")
	})
}

func wipingAndKilling(ctx context.Context, s *stage) error {
	return s.times(ctx, 2, func(ctx context.Context, _ int) error {
		s.note("FLUSHALL")
		err := s.redis.primary.do(ctx, "FLUSHALL")
		s.killFleet()
		return err
	})
}

func killingRedis(ctx context.Context, s *stage) error {
	return s.times(ctx, 3, func(ctx context.Context, _ int) error {
		s.note("kill -9 redis")
		s.redis.primary.process.kill()
		hold(300 * time.Millisecond)
		return s.redis.primary.restart(ctx)
	})
}

// snapshotLost kills Redis a while after its last snapshot.
func snapshotLost(all bool) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		return s.times(ctx, 2, func(ctx context.Context, _ int) error {
			if err := s.redis.primary.do(ctx, "SAVE"); err != nil {
				return err
			}
			s.note("snapshot")
			hold(s.over / 8)
			s.note("kill -9 redis")
			s.redis.primary.process.kill()
			if all {
				s.killFleet()
			}
			return s.redis.primary.restart(ctx)
		})
	}
}

func (s *stage) killFleet() {
	s.note("kill -9 of all dispatchers")
	for _, d := range s.fleet {
		d.kill()
	}
}

func powerCut(ctx context.Context, s *stage) error {
	return s.times(ctx, 2, func(ctx context.Context, _ int) error {
		s.note("kill -9 redis, its file cut")
		s.redis.primary.process.kill()
		if err := s.redis.primary.cutFile(100 << 10); err != nil {
			return err
		}
		return s.redis.primary.restart(ctx)
	})
}

// staleFailover promotes a replica that got nothing for a while; the old primary dies.
func staleFailover(all bool) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		if !pause(ctx, s.over/2) {
			return nil
		}
		return s.failOver(context.WithoutCancel(ctx), all)
	}
}

func (s *stage) failOver(ctx context.Context, all bool) error {
	s.redis.follow.freeze()
	s.note("the replica gets nothing any more")
	hold(1500 * time.Millisecond)
	s.redis.primary.process.kill()
	if all {
		s.killFleet()
	}
	s.note("failover")
	if err := s.redis.promote(ctx); err != nil {
		return err
	}
	hold(time.Second)
	return s.redis.addReplica(ctx)
}

func replicaAway(ctx context.Context, s *stage) error {
	return s.times(ctx, 2, func(ctx context.Context, i int) error {
		s.note("the replica is away")
		if i == 0 {
			s.redis.follow.freeze()
			hold(2500 * time.Millisecond)
			s.redis.follow.heal()
			return s.redis.synced(ctx)
		}
		s.redis.replica.process.kill()
		hold(1500 * time.Millisecond)
		return s.redis.replica.restart(ctx)
	})
}

func clusterFailover(ctx context.Context, s *stage) error {
	return s.times(ctx, 3, func(ctx context.Context, i int) error {
		if i == 1 {
			replicas := s.redis.leading(ctx, false)
			if len(replicas) == 0 {
				return errors.New("the cluster has no replica")
			}
			s.note("CLUSTER FAILOVER at %s", replicas[0].name)
			return replicas[0].do(ctx, "CLUSTER", "FAILOVER")
		}
		masters := s.redis.leading(ctx, true)
		if len(masters) < 3 {
			return fmt.Errorf("%d masters answer", len(masters))
		}
		m := masters[s.rand.IntN(len(masters))]
		s.note("kill -9 %s", m.name)
		m.process.kill()
		hold(3500 * time.Millisecond)
		return m.restart(ctx)
	})
}

func sentinelFailover(ctx context.Context, s *stage) error {
	return s.times(ctx, 3, func(ctx context.Context, i int) error {
		master, err := s.master(ctx)
		if err != nil {
			return err
		}
		switch i {
		case 0:
			s.note("kill -9 %s", master.name)
			master.process.kill()
			hold(4 * time.Second)
			return master.restart(ctx)
		case 1:
			s.note("SENTINEL FAILOVER")
			_ = s.redis.more[0].do(ctx, "SENTINEL", "FAILOVER", "payments") // refused while another one goes on
			return nil
		}
		s.note("SIGSTOP %s", master.name)
		master.process.signal(syscall.SIGSTOP)
		hold(4 * time.Second)
		master.process.signal(sigcont)
		return nil
	})
}

// master is the server that the sentinels name.
func (s *stage) master(ctx context.Context) (*server, error) {
	words, err := s.redis.more[0].client.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "payments").StringSlice()
	if err != nil || len(words) != 2 {
		return nil, fmt.Errorf("sentinel names no master: %w", err)
	}
	for _, one := range []*server{s.redis.primary, s.redis.replica} {
		if words[1] == fmt.Sprint(one.port) {
			return one, nil
		}
	}
	return nil, fmt.Errorf("sentinel names an unknown master: %v", words)
}

func killingBrokers(ctx context.Context, s *stage) error {
	return s.times(ctx, 3, func(ctx context.Context, i int) error {
		b := s.kafka.brokers[i%len(s.kafka.brokers)]
		s.note("kill -9 %s", b.name)
		b.process.kill()
		hold(3 * time.Second)
		return s.kafka.restore(ctx)
	})
}

func movingLeaders(ctx context.Context, s *stage) error {
	return s.times(ctx, 3, func(ctx context.Context, i int) error {
		b := s.kafka.brokers[i%len(s.kafka.brokers)]
		s.note("SIGTERM %s", b.name)
		if err := b.process.stop(15 * time.Second); err != nil {
			return err
		}
		if err := s.kafka.restore(ctx); err != nil {
			return err
		}
		s.note("leaders move back")
		return s.kafka.prefer(ctx)
	})
}

func partingBrokers(ctx context.Context, s *stage) error {
	return s.times(ctx, 3, func(ctx context.Context, i int) error {
		for j, b := range s.kafka.brokers {
			if j == i%len(s.kafka.brokers) || i == 2 { // at last all of them: no write has enough replicas
				b.peers.freeze()
			}
		}
		s.note("brokers cannot reach each other")
		hold(4 * time.Second)
		for _, b := range s.kafka.brokers {
			b.peers.heal()
		}
		return nil
	})
}

// pair is two parts, and the links between them.
type pair struct {
	name  string
	links []*link
}

// pairs lists every pair that speaks to each other.
func (s *stage) pairs() []pair {
	all := []pair{{"the vendor and callback-ingest", []*link{s.toIngest}}}
	for i, one := range s.services() {
		client := i
		if one == s.ingest {
			client = clients - 1
		} else {
			all = append(all, pair{one.name + " and the vendor", []*link{s.toVendor[client]}})
		}
		all = append(all, pair{one.name + " and Kafka", s.kafka.ways(client)})
		if s.redis.ways != nil {
			all = append(all, pair{one.name + " and Redis", []*link{s.redis.ways[client]}})
		}
	}
	if s.redis.follow != nil {
		all = append(all, pair{"Redis and its replica", []*link{s.redis.follow}})
	}
	return all
}

// eachPair does something to the links of one pair after another, for as long as a lease.
func eachPair(what func(*link)) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		all := s.pairs()
		s.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i := 0; ctx.Err() == nil || i < len(all); i++ { // each at least once
			p := all[i%len(all)]
			s.note("between %s", p.name)
			for _, l := range p.links {
				what(l)
			}
			hold(lease)
			for _, l := range p.links {
				l.heal()
			}
			hold(300 * time.Millisecond)
		}
		return nil
	}
}

func wrongClocks(s *stage) error {
	return errors.Join(s.setClock(1, 5*time.Minute), s.setClock(2, -5*time.Minute))
}

// settingClocks sets the one right clock wrong and right again while commands are worked on.
func settingClocks(ctx context.Context, s *stage) error {
	return s.times(ctx, 4, func(ctx context.Context, i int) error {
		by := []time.Duration{5 * time.Minute, -5 * time.Minute, 3 * time.Second, -3 * time.Second}[i]
		s.note("the clock of %s is set by %v", s.fleet[0].name, by)
		if err := s.setClock(0, by); err != nil {
			return err
		}
		hold(time.Second)
		return s.setClock(0, 0)
	})
}

// rolling restarts one dispatcher after another.
func rolling(gap time.Duration) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		return every(ctx, gap, func(ctx context.Context, i int) error {
			return s.roll(ctx, s.fleet[i%len(s.fleet)], s.binaries.dispatcher)
		})
	}
}

// roll restarts a dispatcher as another program.
func (s *stage) roll(ctx context.Context, d *service, path string) error {
	began := time.Now()
	if err := d.stop(); err != nil {
		return err
	}
	s.note("%s stopped in %v", d.name, time.Since(began).Round(time.Millisecond))
	d.become(path)
	return d.start()
}

// rollingBack rolls forward, leaves the versions side by side for a while, and rolls back.
func rollingBack(ctx context.Context, s *stage) error {
	steps := []string{s.binaries.newer, s.binaries.newer, s.binaries.dispatcher, s.binaries.dispatcher}
	err := s.times(ctx, len(steps), func(ctx context.Context, i int) error {
		s.note("%s becomes %s", s.fleet[i%2].name, steps[i])
		return s.roll(ctx, s.fleet[i%2], steps[i])
	})
	for _, d := range s.fleet {
		d.become(s.binaries.dispatcher)
	}
	return err
}

// stopFleet stops every dispatcher.
func (s *stage) stopFleet() error {
	var problems []error
	for _, d := range s.fleet {
		problems = append(problems, d.stop())
	}
	return errors.Join(problems...)
}

// groupGone makes the deployment look like a new one: no offsets, no records. Kafka still has the history.
func groupGone(ctx context.Context, s *stage) error {
	s.note("the group is deleted, Redis is emptied")
	if err := s.stopFleet(); err != nil {
		return err
	}
	return errors.Join(s.kafka.forget(ctx, s.group), s.redis.primary.do(ctx, "FLUSHALL"))
}

// otherFirst has a deployment of other topics come first to the empty Redis.
func otherFirst(ctx context.Context, s *stage) error {
	if err := groupGone(ctx, s); err != nil {
		return err
	}
	other, err := s.newDispatcher(clients - 2)
	if err != nil {
		return err
	}
	other.name = "dispatcher-other"
	other.env = append(other.env, "KAFKA_GROUP="+s.group+"-other", "TOPICS=withhold.query", "TOPICS_CREATE=true")
	s.note("another deployment starts")
	defer other.kill()
	if err := other.start(); err != nil {
		return err
	}
	if err := other.ready(ctx); err != nil {
		return err
	}
	hold(2 * time.Second)
	return other.stop()
}

// aborting writes orders in transactions, of which every second one is rolled back. Nobody ordered what is in those.
func aborting(ctx context.Context, s *stage) error {
	producer, err := newLoad(s.kafka.direct(), s.ledger, s.seed, kgo.TransactionalID(s.group))
	if err != nil {
		return err
	}
	defer producer.close()
	const batch = 20
	return s.times(ctx, 12, func(ctx context.Context, i int) error {
		if err := producer.client.BeginTransaction(); err != nil {
			return err
		}
		part, end := fmt.Sprintf("committed-%d", i), kgo.TryCommit
		if i%2 == 0 {
			part, end = fmt.Sprintf("aborted-%d", i), kgo.TryAbort
		}
		for n := range batch {
			name := orderName(part, n)
			if end == kgo.TryCommit {
				s.ledger.write(name)
			}
			producer.produce(context.Background(), name, "r-"+name)
		}
		if err := producer.flush(ctx); err != nil {
			return err
		}
		hold(200 * time.Millisecond)
		return producer.client.EndTransaction(context.Background(), end)
	})
}

// replay writes everything once more, as fast as the brokers take it.
func replay(forgot bool) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		if forgot {
			s.note("FLUSHALL")
			if err := s.redis.primary.do(ctx, "FLUSHALL"); err != nil {
				return err
			}
		}
		var all []writing
		for n := range s.commands {
			name := orderName("a", n)
			all = append(all, writing{0, name, "r-" + name})
		}
		return s.load.write(ctx, all)
	}
}

// fault is one that strikes in a moment.
type fault struct {
	name   string
	strike func(ctx context.Context) error
}

// moments are the faults that row "all" draws from.
func (s *stage) moments() []fault {
	one := func() *service { return s.fleet[s.rand.IntN(len(s.fleet))] }
	pairs := s.pairs()
	return []fault{
		{"kill -9 of a dispatcher", func(context.Context) error { one().kill(); return nil }},
		{"SIGSTOP of a dispatcher", func(context.Context) error {
			d := one()
			d.signal(syscall.SIGSTOP)
			hold(lease + 500*time.Millisecond)
			d.signal(sigcont)
			return nil
		}},
		{"kill -9 of Redis", func(ctx context.Context) error {
			s.redis.primary.process.kill()
			hold(300 * time.Millisecond)
			return s.redis.primary.restart(ctx)
		}},
		{"Redis' file cut", func(ctx context.Context) error {
			s.redis.primary.process.kill()
			if err := s.redis.primary.cutFile(50 << 10); err != nil {
				return err
			}
			return s.redis.primary.restart(ctx)
		}},
		{"failover", func(ctx context.Context) error { return s.failOver(ctx, s.rand.IntN(2) == 0) }},
		{"kill -9 of a broker", func(ctx context.Context) error {
			s.kafka.brokers[s.rand.IntN(len(s.kafka.brokers))].process.kill()
			hold(time.Second)
			return s.kafka.restore(ctx)
		}},
		{"network cut", func(context.Context) error {
			p := pairs[s.rand.IntN(len(pairs))]
			s.note("between %s", p.name)
			for _, l := range p.links {
				l.cut()
			}
			hold(time.Second)
			for _, l := range p.links {
				l.heal()
			}
			return nil
		}},
		{"a clock set", func(context.Context) error {
			place := s.rand.IntN(len(s.fleet))
			err := s.setClock(place, 5*time.Minute)
			hold(time.Second)
			return errors.Join(err, s.setClock(place, 0))
		}},
		{"a rolling restart", func(ctx context.Context) error { return s.roll(ctx, one(), s.binaries.dispatcher) }},
	}
}

// everything lets one fault after another strike, in an order by chance of the seed, again and again. FLUSHALL comes
// late only: the questions that it leads to would hide what the other faults do.
func everything(ctx context.Context, s *stage) error {
	all, began := s.moments(), time.Now()
	s.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return every(ctx, 300*time.Millisecond, func(ctx context.Context, i int) error {
		next := all[i%len(all)]
		if time.Since(began) > s.over*3/4 && i%4 == 0 {
			next = fault{"FLUSHALL", func(ctx context.Context) error { return s.redis.primary.do(ctx, "FLUSHALL") }}
		}
		s.note("%s", next.name)
		return next.strike(ctx)
	})
}

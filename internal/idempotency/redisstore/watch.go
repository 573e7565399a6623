package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"paydispatch/internal/idempotency/clock"
	"paydispatch/internal/idempotency/epoch"
)

const (
	// jumpOf is by how much a server's clock must move against the own ones to count as a jump: clocks that are kept right
	// are moved in small steps, and records that expire a minute early have no one left who would send them again.
	jumpOf = time.Minute
	// keepEvery is the longest time between two renewals of the epochs.
	keepEvery = 5 * time.Minute
)

// Watch looks at the servers again and again until ctx ends, and keeps the epochs alive. What Fit says is told before each
// look, since a step of own clock shows only until the next measurement.
func (s *Store) Watch(ctx context.Context) error {
	tick := time.NewTicker(s.config.Every)
	defer tick.Stop()
	kept := s.turn(ctx, time.Time{})
	s.config.OnLook(s.Fit(), s.skew())
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.config.OnLook(s.Fit(), s.skew())
		kept = s.turn(ctx, kept)
	}
}

// turn looks once, and renews the epochs when it is time to. It returns when they were renewed last. What fails shows in
// Fit, or at the next operation.
func (s *Store) turn(ctx context.Context, kept time.Time) time.Time {
	err := s.measure(ctx)
	if err == nil && time.Since(kept) >= min(keepEvery, s.config.Lifetime/16) {
		if err = s.keep(ctx); err == nil {
			s.report(ctx)
			return time.Now()
		}
	}
	if err != nil && ctx.Err() == nil {
		s.config.Logger.Debug("looking at redis failed", "err", err)
	}
	return kept
}

// report tells what was found of the servers; where they do not answer the next one does.
func (s *Store) report(ctx context.Context) {
	if found, err := s.Findings(ctx); err == nil {
		s.config.OnFindings(found)
	}
}

// Look does what [Store.Watch] does again and again: it reads the servers' clocks, finds losses that no epoch tells,
// probes the replicas, and renews the epochs that this process remembers; one that is missing is a loss. Its only error
// is [idempotency.ErrUnavailable].
func (s *Store) Look(ctx context.Context) error {
	if err := s.measure(ctx); err != nil {
		return err
	}
	return s.keep(ctx)
}

// keep renews the epochs.
func (s *Store) keep(ctx context.Context) error {
	all := make([]int, len(s.known))
	for bucket := range all {
		all[bucket] = bucket
	}
	if err := s.renew(ctx, all); err != nil {
		return unavailable("renewing the epochs", err)
	}
	return nil
}

// renew renews the epochs of buckets, and notes the data that they live on now.
func (s *Store) renew(ctx context.Context, buckets []int) error {
	calls := make([]*pending, len(buckets))
	for i, bucket := range buckets {
		known := s.known[bucket].Load()
		if known == nil {
			continue // whoever does not know it can not tell whether it is missing
		}
		var err error
		if calls[i], err = s.nodes.submit(ctx, s.replace(bucket, noted{of: known.of.String()}, memory{of: known.of})); err != nil {
			return err
		}
	}
	for i, call := range calls {
		if call == nil {
			continue
		}
		stands, err := notedReply(call.wait(ctx))
		if err == nil {
			_, err = s.believe(ctx, buckets[i], stands)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// share is a server and the buckets that live on it.
type share struct {
	client  redis.Cmdable
	buckets []int
}

// shares returns the servers in the order of their first buckets, so that all processes begin with the same one.
func (s *Store) shares(ctx context.Context) ([]share, error) {
	cluster, clustered := s.nodes.client.(*redis.ClusterClient)
	if !clustered {
		all := make([]int, len(s.known))
		for bucket := range all {
			all[bucket] = bucket
		}
		return []share{{s.nodes.client, all}}, nil
	}
	var found []share
	at := map[string]int{}
	for bucket := range s.known {
		node, err := cluster.MasterForKey(ctx, s.epochKey(bucket))
		if err != nil {
			return nil, err
		}
		i, known := at[node.Options().Addr]
		if !known {
			i = len(found)
			at[node.Options().Addr] = i
			found = append(found, share{client: node})
		}
		found[i].buckets = append(found[i].buckets, bucket)
	}
	return found, nil
}

// sight is what one look at one server showed.
type sight struct {
	clock clock.Measurement
	// policy by which the server may evict; "" for none.
	policy string
	// seen is what stands at the watch key next, noted what stood there.
	seen, noted string
	// data is the identity of the data that it serves.
	data string
	err  error
}

// measure looks at every server once.
func (s *Store) measure(ctx context.Context) error {
	s.health.looking.Lock()
	defer s.health.looking.Unlock()
	shares, err := s.shares(ctx)
	if err != nil {
		return unavailable("learning the cluster's layout", err)
	}
	sights := make([]sight, len(shares))
	_ = each(len(shares), func(i int) error { // what failed is in the sights
		sights[i] = s.see(ctx, shares[i])
		return nil
	})
	problems := []error{s.assess(sights)}
	for i, on := range shares {
		if sights[i].err == nil {
			problems = append(problems, s.mark(ctx, on, sights[i]))
		}
	}
	if first(problems) == nil {
		s.noteLoss("")
		problems = append(problems, s.probe(ctx, shares, sights))
	}
	if err := first(problems); err != nil {
		return unavailable("looking at the servers", err)
	}
	return nil
}

// each calls f for 0 to n-1 side by side, and returns the first error in that order.
func each(n int, f func(i int) error) error {
	problems := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { problems[i] = f(i) })
	}
	group.Wait()
	return first(problems)
}

// first returns the first error; only one can be shown without fear of what stands beside it.
func first(problems []error) error {
	for _, err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}

// see reads a server's clock, alone, since what shares its round trip would blur it; then its state.
func (s *Store) see(ctx context.Context, on share) sight {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	var found sight
	found.clock.Before = s.health.read()
	found.clock.Server, found.err = on.client.Time(ctx).Result()
	found.clock.After = s.health.read()
	if found.err != nil {
		return found
	}
	info, err := on.client.Info(ctx).Result()
	if err != nil {
		found.err = err
		return found
	}
	found.policy = evicts(info)
	found.noted, found.err = on.client.Get(ctx, s.watchKey(on)).Result()
	if errors.Is(found.err, redis.Nil) {
		found.err = nil
	}
	if found.data = field(info, "master_replid"); found.data == "" {
		found.data = unseen
	}
	found.seen = field(info, "run_id") + "|" + field(info, "evicted_keys")
	return found
}

// mark marks the buckets of a server as lost whose records may be gone although their epochs stand, and remembers what
// was seen once that is done.
func (s *Store) mark(ctx context.Context, on share, found sight) error {
	why, lost := s.gone(on, found)
	if len(lost) > 0 {
		s.config.Logger.Error("records may be gone: orders without one are asked about before they are sent",
			"why", why, "buckets", len(lost))
		s.noteLoss(why)
	}
	if err := each(len(lost), func(i int) error { return s.markLost(ctx, lost[i]) }); err != nil {
		return err
	}
	// Each write compares the identity of the data by itself. The look notes a change in the buckets without writes too:
	// the sooner it is noted, the fewer orders are asked about.
	if err := s.renew(ctx, s.moved(on, found)); err != nil {
		return err
	}
	if found.noted != found.seen && evictions(found.seen) > 0 {
		// Replicas that do not have it are what the probe tells.
		if err := s.note(ctx, on, found.seen); err != nil && !errors.Is(err, errReplicas) {
			return err
		}
	}
	if found.clock.RoundTrip() <= jumpOf/4 { // a slower one cannot tell when the server read its clock
		for _, bucket := range on.buckets {
			s.health.clocks[bucket] = found.clock
		}
	}
	return nil
}

// moved returns the buckets of a server that are known to live on other data than it serves.
func (s *Store) moved(on share, found sight) (buckets []int) {
	for _, bucket := range on.buckets {
		if known := s.known[bucket].Load(); known != nil && known.on.ID != found.data {
			buckets = append(buckets, bucket)
		}
	}
	return buckets
}

// gone returns the buckets whose records may be gone, and why. A clock that jumps back counts as well: it was ahead
// before, perhaps since a time when no process ran.
func (s *Store) gone(on share, found sight) (why string, lost []int) {
	if n := evictions(found.seen); n > 0 && found.noted != found.seen {
		return fmt.Sprintf("the server evicted keys, %d since its start", n), on.buckets
	}
	if found.clock.RoundTrip() > jumpOf/4 {
		return "", nil
	}
	for _, bucket := range on.buckets {
		earlier := s.health.clocks[bucket]
		if earlier.IsZero() {
			continue
		}
		if moved, jumped := clock.Jump(earlier, found.clock, jumpOf); jumped {
			why, lost = fmt.Sprintf("the server's clock moved by %v", moved.Round(time.Second)), append(lost, bucket)
		}
	}
	return why, lost
}

// markLost marks a bucket as lost now, whatever its epoch is.
func (s *Store) markLost(ctx context.Context, bucket int) error {
	var found noted
	if known := s.known[bucket].Load(); known != nil {
		found = noted{known.of.String(), known.on.String()}
	}
	for range maxTurns {
		stands, err := s.parse(found)
		if err != nil {
			return err
		}
		marked := epoch.Mark(stands.of, s.newID, s.config.Now())
		reply, err := notedReply(s.do(ctx, s.replace(bucket, found, memory{of: marked})))
		if err != nil {
			return err
		}
		if reply.of == marked.String() {
			_, err = s.follow(ctx, bucket, reply, marked)
			return err
		}
		found = reply
	}
	return errUnsettled
}

// probe writes to each server where replicas are asked for, and remembers whether enough have it.
func (s *Store) probe(ctx context.Context, shares []share, sights []sight) error {
	if s.config.Replicas == 0 {
		return nil
	}
	short := false
	for i, on := range shares {
		err := s.note(ctx, on, sights[i].seen)
		if err != nil && !errors.Is(err, errReplicas) {
			return err
		}
		short = short || err != nil
	}
	s.health.short.Store(short)
	return nil
}

// note keeps what was seen of a server. It fails with errReplicas when too few replicas have it.
func (s *Store) note(ctx context.Context, on share, seen string) error {
	reply, err := s.do(ctx, call{
		keys: []string{s.watchKey(on)}, args: []any{"set", seen, "px", s.config.Lifetime.Milliseconds()}, write: true,
	})
	if err != nil {
		return err
	}
	if reply.acked < int64(s.config.Replicas) {
		return errReplicas
	}
	return nil
}

// watchKey lives on the server of a share.
func (s *Store) watchKey(on share) string {
	return s.config.Prefix + ":{" + strconv.Itoa(on.buckets[0]) + "}:w"
}

// evictions reads how many keys a server dropped, 0 if it does not tell.
func evictions(seen string) int64 {
	_, count, _ := strings.Cut(seen, "|")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

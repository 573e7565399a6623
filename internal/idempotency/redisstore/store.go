// Package redisstore is the record store in Redis: one server, or a cluster.
//
// Records live in hash-tagged buckets, so that all keys of a script share a cluster slot:
//
//	<prefix>:{<bucket>}:e        -> <id>|<lost>                the bucket's epoch; expires like a record
//	<prefix>:{<bucket>}:k:<key>  -> <version>|<token>|<value>  a record; expires Lifetime after its last write
//	<prefix>:{<bucket>}:w        -> <run id>|<evicted>         what was last seen of the server; one a server
//	<prefix>:{<bucket>}:d        -> <master_replid>|<back>     the data that the bucket lives on; expires like a record
//	<prefix>:{<bucket>}:n        -> <intents>                  only where INFO is hidden; expires like a record
//
// An epoch is renewed by the writes into its bucket and by [Store.Watch], so it ends only with the last process, or by
// what ends records before their time as well: then it is missing, and that is a loss.
//
// It refuses to repeat a write whose fate is unknown, to evict (see [Store.Check]), to delete, and to show a value in
// an error. Concurrent calls share pipelines.
//
// A server gives its data another identity (master_replid of INFO replication) at each start and each promotion, which may
// have lost the latest writes. The script that writes an intent compares it with what is noted of the bucket and refuses to
// write where they differ; it notes the new one, and when: that is the Back of all records of the bucket that were not
// written since. So no process need have lived through the failover. Where INFO is hidden, each intent is counted instead,
// and a process that knows of more of them than the bucket does has seen it go back: see [Store.Check].
//
// Its callers must call Check and Prepare before their first send, keep Watch running, ask Fit before each send, and
// give all processes the same prefix and buckets.
package redisstore

import (
	"context"
	"crypto/rand"
	"hash/fnv"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/epoch"
)

// maxTurns bounds how often an operation follows an epoch that changes under it.
const maxTurns = 8

// Store is one process' view of the records. It is safe for concurrent use.
type Store struct {
	config Config
	nodes  *nodes
	// self begins the tokens and epoch ids of this store; count makes them unique.
	self  string
	count atomic.Uint64
	// known holds by bucket what this process remembers; nil until it met the bucket.
	known []atomic.Pointer[memory]
	// wrote holds by bucket when this process wrote last, in Unix milliseconds, and counted the highest count of writes that
	// it met, 0 where they are not counted.
	wrote                  []atomic.Int64
	counted                []atomic.Int64
	stepped                atomic.Pointer[string] // the identity that was logged last
	swapRecord, swapEpochs script
	swapIntent             script
	health                 health
}

var _ idempotency.Store = (*Store)(nil)

// New returns a store that has not connected yet and remembers nothing. It fails only by its config.
func New(config Config) (*Store, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	return &Store{
		config:     config,
		health:     newHealth(config),
		nodes:      newNodes(config),
		self:       strings.ToLower(rand.Text()[:13]), // 65 bits
		known:      make([]atomic.Pointer[memory], config.Buckets),
		wrote:      make([]atomic.Int64, config.Buckets),
		counted:    make([]atomic.Int64, config.Buckets),
		swapRecord: newScript(swapSource),
		swapEpochs: newScript(epochSource),
		swapIntent: newScript(intentSource),
	}, nil
}

// Close waits for the calls under way and closes the connections. Calls after it fail.
func (s *Store) Close() error { return s.nodes.close() }

// Expect implements [idempotency.Store].
func (s *Store) Expect(key string) idempotency.Record {
	r := idempotency.Record{Key: key}
	if known := s.known[s.bucket(key)].Load(); known != nil {
		r.Epoch, r.Forgot, r.Back = known.String(), s.told(known.of), s.told(known.on)
	}
	return r
}

// Load implements [idempotency.Store]. Its only error is [idempotency.ErrUnavailable].
func (s *Store) Load(ctx context.Context, key string) (idempotency.Record, error) {
	found, err := s.load(ctx, key)
	if err != nil {
		return idempotency.Record{}, unavailable("loading record "+strconv.Quote(key), err)
	}
	return found, nil
}

// Swap implements [idempotency.Store]. Its errors are a *Conflict or [idempotency.ErrUnavailable].
func (s *Store) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	now, conflict, err := s.swap(ctx, was, value)
	switch {
	case err != nil:
		return idempotency.Record{}, unavailable("writing record "+strconv.Quote(was.Key), err)
	case conflict != nil:
		return idempotency.Record{}, conflict
	}
	return now, nil
}

// Prepare learns every bucket's epoch and creates those that are missing: as fresh, or as lost now if commands may have
// been seen before. Then it looks at the servers for the first time, as [Store.Look] does, so that losses which no
// epoch tells are marked before anything is handled. It must be called before the first send. Its only error is [idempotency.ErrUnavailable].
func (s *Store) Prepare(ctx context.Context, seenBefore bool) error {
	calls := make([]*pending, s.config.Buckets)
	for bucket := range calls {
		// One that is remembered was there: not even for a moment may others take the new one for fresh.
		fresh := !seenBefore && s.known[bucket].Load() == nil
		var err error
		calls[bucket], err = s.nodes.submit(ctx, s.replace(bucket, noted{}, memory{of: epoch.Create(s.newID(), fresh, s.config.Now())}))
		if err != nil {
			return unavailable("learning the epochs", err)
		}
	}
	for bucket, call := range calls {
		stands, err := notedReply(call.wait(ctx))
		if err == nil {
			_, err = s.believe(ctx, bucket, stands)
		}
		if err != nil {
			return unavailable("learning the epochs", err)
		}
	}
	return s.measure(ctx)
}

func (s *Store) load(ctx context.Context, key string) (idempotency.Record, error) {
	bucket := s.bucket(key)
	for range maxTurns {
		keys := []string{s.epochKey(bucket), s.recordKey(bucket, key), s.dataKey(bucket)}
		reply, err := s.do(ctx, call{args: []any{"mget"}, keys: keys})
		if err != nil {
			return idempotency.Record{}, err
		}
		found, record, err := standsReply(reply.value)
		if err != nil {
			return idempotency.Record{}, err
		}
		believed, err := s.believe(ctx, bucket, found)
		if err != nil {
			return idempotency.Record{}, err
		}
		if found.is(believed) {
			return s.standing(key, record, believed)
		}
		// An epoch was replaced after this read, and the record may have been since: read again.
	}
	return idempotency.Record{}, errUnsettled
}

func (s *Store) standing(key, record string, in memory) (idempotency.Record, error) {
	r := idempotency.Record{Key: key, Epoch: in.String(), Forgot: s.told(in.of), Back: s.told(in.on)}
	if record == "" {
		return r, nil
	}
	stands, err := decode(record)
	if err != nil {
		return idempotency.Record{}, err
	}
	r.Version, r.Token, r.Value = stands.version, stands.token, stands.value
	if marked(stands.token) == in.mark() {
		r.Back = time.Time{}
	}
	return r, nil
}

// swap returns the record as written, or a conflict.
func (s *Store) swap(
	ctx context.Context, was idempotency.Record, value []byte,
) (idempotency.Record, *idempotency.Conflict, error) {
	if was.Epoch == "" { // expected before anything was known of the bucket: its holder has to hear of a loss
		found, err := s.load(ctx, was.Key)
		if err != nil {
			return idempotency.Record{}, nil, err
		}
		if found.Version != was.Version || found.Token != was.Token || !found.Forgot.IsZero() || !found.Back.IsZero() {
			return idempotency.Record{}, &idempotency.Conflict{Standing: found}, nil
		}
		was.Epoch = found.Epoch
	}
	in, err := s.held(was.Epoch)
	if err != nil {
		return idempotency.Record{}, nil, err
	}
	if value == nil {
		value = []byte{} // nothing written is something else than nothing there
	}
	next := stored{version: was.Version + 1, token: s.newToken() + "." + in.mark(), value: value}
	stands, err := s.write(ctx, was, in, next)
	if err != nil {
		return idempotency.Record{}, nil, err
	}
	if stands.Token != next.token {
		return idempotency.Record{}, &idempotency.Conflict{Standing: stands}, nil
	}
	return idempotency.Record{
		Key: was.Key, Version: next.version, Token: next.token, Value: value, Epoch: was.Epoch, Forgot: s.told(in.of),
	}, nil, nil
}

// write tries to write next and returns what stands then. If that has the token of next, the write landed, on as many
// servers as are asked for; of the rest of the record only the version is filled in.
func (s *Store) write(ctx context.Context, was idempotency.Record, in memory, next stored) (idempotency.Record, error) {
	bucket, script := s.bucket(was.Key), &s.swapRecord
	if was.Intent {
		script = &s.swapIntent
	}
	reply, err := s.do(ctx, call{
		script: script,
		keys:   []string{s.epochKey(bucket), s.recordKey(bucket, was.Key), s.dataKey(bucket), s.countKey(bucket)},
		args: []any{
			in.of.String(), in.on.String(), begin(was.Version, was.Token), next.head(), next.value, s.config.Lifetime.Milliseconds(),
			s.counted[bucket].Load(),
		},
		write: true,
	})
	if err != nil {
		return idempotency.Record{}, err
	}
	var stands idempotency.Record
	if count, wrote := reply.value.(int64); wrote {
		latest(&s.wrote[bucket], s.config.Now().UnixMilli())
		latest(&s.counted[bucket], count)
		stands = idempotency.Record{Key: was.Key, Version: next.version, Token: next.token}
	} else if stands, err = s.stands(ctx, was.Key, reply.value); err != nil {
		return idempotency.Record{}, err
	}
	if stands.Token == next.token && reply.acked < int64(s.config.Replicas) {
		s.health.short.Store(true)
		return idempotency.Record{}, errReplicas
	}
	return stands, nil
}

// stands reads what a refused write met.
func (s *Store) stands(ctx context.Context, key string, reply any) (idempotency.Record, error) {
	found, record, err := standsReply(reply)
	if err != nil {
		return idempotency.Record{}, err
	}
	believed, err := s.believe(ctx, s.bucket(key), found)
	if err != nil {
		return idempotency.Record{}, err
	}
	if !found.is(believed) {
		return s.load(ctx, key) // an epoch was replaced since, and the record may have been
	}
	return s.standing(key, record, believed)
}

// believe brings what this process remembers in line with the epochs found at a bucket, and returns those that stand then.
func (s *Store) believe(ctx context.Context, bucket int, found noted) (memory, error) {
	return s.follow(ctx, bucket, found, epoch.Epoch{})
}

// follow is believe for a caller that has just written marked, zero for none.
func (s *Store) follow(ctx context.Context, bucket int, found noted, marked epoch.Epoch) (memory, error) {
	for range maxTurns {
		stands, err := s.parse(found)
		if err != nil {
			return memory{}, err
		}
		remembered := s.known[bucket].Load()
		var known memory
		if remembered != nil {
			known = *remembered
		}
		replace, accept := s.judge(bucket, known, stands)
		if accept {
			if stands == known {
				return stands, nil
			}
			if s.known[bucket].CompareAndSwap(remembered, &stands) {
				s.counted[bucket].Store(0) // what was lost is known now
				s.tell(known, stands, marked)
				return stands, nil
			}
			continue // another goroutine learned something in between
		}
		// When it was lost is read by all processes: a mark that is too early hides what was sent just before.
		if err := s.clockIsOff(ctx); err != nil {
			return memory{}, err
		}
		if replace.of != stands.of {
			marked = replace.of
		}
		reply, err := s.do(ctx, s.replace(bucket, found, replace))
		if found, err = notedReply(reply, err); err != nil {
			return memory{}, err
		}
	}
	return memory{}, errUnsettled
}

// judge decides whether what stands may be believed; else it returns what must stand there. What of that is zero the
// server says itself.
func (s *Store) judge(bucket int, known, stands memory) (replace memory, accept bool) {
	now := s.config.Now()
	of, same := epoch.Judge(known.of, stands.of, s.newID, now, s.config.AskWindow)
	if same {
		of = stands.of
	}
	on, followed := epoch.Follow(known.on, stands.on, time.UnixMilli(s.wrote[bucket].Load()), now)
	return memory{of, on}, same && followed
}

// tell tells of what a process learned that knew the first memory and found the next one.
func (s *Store) tell(known, next memory, marked epoch.Epoch) {
	if next.of != known.of && next.of.Lost != 0 && (next.of == marked || s.lost(known.of, next.of)) {
		s.config.OnForgot()
	}
	if known.on.IsZero() || known.on.ID == next.on.ID {
		return
	}
	s.config.OnBack()
	if last := s.stepped.Swap(&next.on.ID); last == nil || *last != next.on.ID {
		s.config.Logger.Warn("redis was started again or a replica was promoted, and may have lost its latest writes: "+
			"orders of before are asked about before they are sent", "before", time.UnixMilli(next.on.Lost))
	}
}

// lost tells whether a bucket that was known as the first epoch, zero when it was not, is found to have lost its memory
// when it stands marked as the next one. A later mark of the same loss, by another process, is none of its own.
func (s *Store) lost(known, next epoch.Epoch) bool {
	if known.IsZero() {
		return strings.HasPrefix(next.ID, strconv.Itoa(s.config.Buckets)+"."+s.self+".") // made here, for want of one
	}
	return known.ID != next.ID || known.Lost == 0
}

// replace is the call that puts the epochs of by where those of found still stand; what of by is zero stays as it is.
func (s *Store) replace(bucket int, found noted, by memory) call {
	return call{
		script: &s.swapEpochs, keys: []string{s.epochKey(bucket), s.dataKey(bucket), s.countKey(bucket)},
		args: []any{found.of, by.of.String(), s.config.Lifetime.Milliseconds(), found.on, by.on.String()},
	}
}

func (s *Store) do(ctx context.Context, c call) (answer, error) {
	p, err := s.nodes.submit(ctx, c)
	if err != nil {
		return answer{}, err
	}
	return p.wait(ctx)
}

// told is when the loss of an epoch was, as long as it is told.
func (s *Store) told(e epoch.Epoch) time.Time { return e.Forgot(s.config.Now(), s.config.AskWindow) }

// newID returns an id for an epoch, which tells the number of buckets that it is laid out for.
func (s *Store) newID() string { return strconv.Itoa(s.config.Buckets) + "." + s.newToken() }

// newToken returns what no other call and no other process returns.
func (s *Store) newToken() string { return s.self + "." + strconv.FormatUint(s.count.Add(1), 36) }

// bucket must never change: records would be looked for where they do not stand, without a loss being noticed.
func (s *Store) bucket(key string) int {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(key)) // never fails
	return int(hash.Sum64() % uint64(len(s.known)))
}

func (s *Store) epochKey(bucket int) string {
	return s.config.Prefix + ":{" + strconv.Itoa(bucket) + "}:e"
}

func (s *Store) dataKey(bucket int) string {
	return s.config.Prefix + ":{" + strconv.Itoa(bucket) + "}:d"
}

func (s *Store) countKey(bucket int) string {
	return s.config.Prefix + ":{" + strconv.Itoa(bucket) + "}:n"
}

func (s *Store) recordKey(bucket int, key string) string {
	return s.config.Prefix + ":{" + strconv.Itoa(bucket) + "}:k:" + key
}

// notedReply reads what epochSource returns.
func notedReply(a answer, err error) (noted, error) {
	if err != nil {
		return noted{}, err
	}
	texts, err := textsReply(a.value, 2)
	if err != nil {
		return noted{}, err
	}
	return noted{texts[0], texts[1]}, nil
}

// standsReply reads {epoch or nil, record or nil, data or nil}; what is nil becomes "".
func standsReply(value any) (found noted, record string, err error) {
	texts, err := textsReply(value, 3)
	if err != nil {
		return noted{}, "", err
	}
	return noted{texts[0], texts[2]}, texts[1], nil
}

func textsReply(value any, n int) ([]string, error) {
	parts, ok := value.([]any)
	if !ok || len(parts) != n {
		return nil, errReply
	}
	texts := make([]string, n)
	for i, part := range parts {
		text, isText := part.(string)
		if part != nil && !isText {
			return nil, errReply
		}
		texts[i] = text
	}
	return texts, nil
}

// latest keeps the higher one of a value and what stands.
func latest(at *atomic.Int64, value int64) {
	for stands := at.Load(); value > stands && !at.CompareAndSwap(stands, value); {
		stands = at.Load()
	}
}

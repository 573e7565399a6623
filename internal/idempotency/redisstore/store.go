// Package redisstore is the record store in Redis: one server, or a cluster.
//
// Records live in hash-tagged buckets, so that all keys of a script share a cluster slot:
//
//	<prefix>:{<bucket>}:e        -> <id>|<lost>                the bucket's epoch; expires like a record
//	<prefix>:{<bucket>}:k:<key>  -> <version>|<token>|<value>  a record; expires Lifetime after its last write
//	<prefix>:{<bucket>}:w        -> <run id>|<evicted>         what was last seen of the server; one a server
//
// An epoch is renewed by the writes into its bucket and by [Store.Watch], so it ends only with the last process, or by
// what ends records before their time as well: then it is missing, and that is a loss.
//
// It refuses to repeat a write whose fate is unknown, to evict (see [Store.Check]), to delete, and to show a value in
// an error. Concurrent calls share pipelines. What it can not see is a failover to a replica that had not received the
// latest writes: set Replicas where that matters.
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
	known                  []atomic.Pointer[epoch.Epoch]
	swapRecord, swapEpochs script
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
		known:      make([]atomic.Pointer[epoch.Epoch], config.Buckets),
		swapRecord: newScript(swapSource),
		swapEpochs: newScript(epochSource),
	}, nil
}

// Close waits for the calls under way and closes the connections. Calls after it fail.
func (s *Store) Close() error { return s.nodes.close() }

// Expect implements [idempotency.Store].
func (s *Store) Expect(key string) idempotency.Record {
	r := idempotency.Record{Key: key}
	if known := s.known[s.bucket(key)].Load(); known != nil {
		r.Epoch, r.Forgot = known.String(), s.forgot(*known)
	}
	return r
}

// Load implements [idempotency.Store]. Its only error is [idempotency.ErrUnavailable].
func (s *Store) Load(ctx context.Context, key string) (idempotency.Record, error) {
	found, err := s.load(ctx, key)
	if err != nil {
		return idempotency.Record{}, unavailable("loading record "+strconv.Quote(key), err)
	}
	return found.Record, nil
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
		calls[bucket], err = s.nodes.submit(ctx, s.replaceEpoch(bucket, "", epoch.Create(s.newID(), fresh, s.config.Now())))
		if err != nil {
			return unavailable("learning the epochs", err)
		}
	}
	for bucket, call := range calls {
		stands, err := epochReply(call.wait(ctx))
		if err == nil {
			_, err = s.believe(ctx, bucket, stands)
		}
		if err != nil {
			return unavailable("learning the epochs", err)
		}
	}
	return s.measure(ctx)
}

// standing is a record with the token of the write that left it.
type standing struct {
	idempotency.Record
	token string
}

func (s *Store) load(ctx context.Context, key string) (standing, error) {
	bucket := s.bucket(key)
	for range maxTurns {
		reply, err := s.do(ctx, call{args: []any{"mget"}, keys: []string{s.epochKey(bucket), s.recordKey(bucket, key)}})
		if err != nil {
			return standing{}, err
		}
		found, record, err := standsReply(reply.value)
		if err != nil {
			return standing{}, err
		}
		believed, err := s.believe(ctx, bucket, found)
		if err != nil {
			return standing{}, err
		}
		if believed.String() == found {
			return s.standing(key, record, believed)
		}
		// The epoch was replaced after this read, and the record may have been since: read again.
	}
	return standing{}, errUnsettled
}

func (s *Store) standing(key, record string, in epoch.Epoch) (standing, error) {
	r := standing{Record: idempotency.Record{Key: key, Epoch: in.String(), Forgot: s.forgot(in)}}
	if record == "" {
		return r, nil
	}
	stands, err := decode(record)
	if err != nil {
		return standing{}, err
	}
	r.Version, r.Value, r.token = stands.version, stands.value, stands.token
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
		if found.Version != was.Version || !found.Forgot.IsZero() {
			return idempotency.Record{}, &idempotency.Conflict{Standing: found.Record}, nil
		}
		was.Epoch = found.Epoch
	}
	in, err := s.parse(was.Epoch)
	if err != nil {
		return idempotency.Record{}, nil, err
	}
	if value == nil {
		value = []byte{} // nothing written is something else than nothing there
	}
	next := stored{version: was.Version + 1, token: s.newToken(), value: value}
	stands, err := s.write(ctx, was, next)
	if err != nil {
		return idempotency.Record{}, nil, err
	}
	if stands.token != next.token {
		return idempotency.Record{}, &idempotency.Conflict{Standing: stands.Record}, nil
	}
	return idempotency.Record{
		Key: was.Key, Version: next.version, Value: value, Epoch: was.Epoch, Forgot: s.forgot(in),
	}, nil, nil
}

// write tries to write next and returns what stands then. If that has the token of next, the write landed, on as many
// servers as are asked for; of the rest of the record only the version is filled in then.
func (s *Store) write(ctx context.Context, was idempotency.Record, next stored) (standing, error) {
	bucket := s.bucket(was.Key)
	reply, err := s.do(ctx, call{
		script: &s.swapRecord,
		keys:   []string{s.epochKey(bucket), s.recordKey(bucket, was.Key)},
		args:   []any{was.Epoch, begin(was.Version), next.head(), next.value, s.config.Lifetime.Milliseconds()},
		write:  true,
	})
	if err != nil {
		return standing{}, err
	}
	var stands standing
	if reply.value == int64(1) {
		stands = standing{Record: idempotency.Record{Key: was.Key, Version: next.version}, token: next.token}
	} else if stands, err = s.stands(ctx, was.Key, reply.value); err != nil {
		return standing{}, err
	}
	if stands.token == next.token && reply.acked < int64(s.config.Replicas) {
		s.health.short.Store(true)
		return standing{}, errReplicas
	}
	return stands, nil
}

// stands reads what a refused write met.
func (s *Store) stands(ctx context.Context, key string, reply any) (standing, error) {
	found, record, err := standsReply(reply)
	if err != nil {
		return standing{}, err
	}
	believed, err := s.believe(ctx, s.bucket(key), found)
	if err != nil {
		return standing{}, err
	}
	if believed.String() != found {
		return s.load(ctx, key) // the epoch was replaced since, and the record may have been
	}
	return s.standing(key, record, believed)
}

// believe brings what this process remembers in line with the epoch found at a bucket, "" for none, and returns the one
// that stands then.
func (s *Store) believe(ctx context.Context, bucket int, found string) (epoch.Epoch, error) {
	return s.follow(ctx, bucket, found, epoch.Epoch{})
}

// follow is believe for a caller that has just written marked, zero for none.
func (s *Store) follow(ctx context.Context, bucket int, found string, marked epoch.Epoch) (epoch.Epoch, error) {
	for range maxTurns {
		stands, err := s.parse(found)
		if err != nil {
			return epoch.Epoch{}, err
		}
		remembered := s.known[bucket].Load()
		var known epoch.Epoch
		if remembered != nil {
			known = *remembered
		}
		replace, accept := epoch.Judge(known, stands, s.newID, s.config.Now(), s.config.AskWindow)
		if accept {
			if stands == known {
				return stands, nil
			}
			if s.known[bucket].CompareAndSwap(remembered, &stands) {
				if stands.Lost != 0 && (stands == marked || s.lost(known, stands)) {
					s.config.OnForgot()
				}
				return stands, nil
			}
			continue // another goroutine learned something in between
		}
		marked = replace
		reply, err := s.do(ctx, s.replaceEpoch(bucket, found, replace))
		if found, err = epochReply(reply, err); err != nil {
			return epoch.Epoch{}, err
		}
	}
	return epoch.Epoch{}, errUnsettled
}

// lost tells whether a bucket that was known as the first epoch, zero when it was not, is found to have lost its memory
// when it stands marked as the next one. A later mark of the same loss, by another process, is none of its own.
func (s *Store) lost(known, next epoch.Epoch) bool {
	if known.IsZero() {
		return strings.HasPrefix(next.ID, strconv.Itoa(s.config.Buckets)+"."+s.self+".") // made here, for want of one
	}
	return known.ID != next.ID || known.Lost == 0
}

// parse reads a stored epoch, whose id tells the number of buckets that it was laid out for.
func (s *Store) parse(found string) (epoch.Epoch, error) {
	if found == "" {
		return epoch.Epoch{}, nil
	}
	stands, err := epoch.Parse(found)
	if err != nil {
		return epoch.Epoch{}, errMalformed
	}
	if !strings.HasPrefix(stands.ID, strconv.Itoa(s.config.Buckets)+".") {
		return epoch.Epoch{}, errBuckets
	}
	return stands, nil
}

func (s *Store) replaceEpoch(bucket int, found string, by epoch.Epoch) call {
	return call{
		script: &s.swapEpochs, keys: []string{s.epochKey(bucket)},
		args: []any{found, by.String(), s.config.Lifetime.Milliseconds()},
	}
}

func (s *Store) do(ctx context.Context, c call) (answer, error) {
	p, err := s.nodes.submit(ctx, c)
	if err != nil {
		return answer{}, err
	}
	return p.wait(ctx)
}

func (s *Store) forgot(e epoch.Epoch) time.Time { return e.Forgot(s.config.Now(), s.config.AskWindow) }

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

func (s *Store) recordKey(bucket int, key string) string {
	return s.config.Prefix + ":{" + strconv.Itoa(bucket) + "}:k:" + key
}

// epochReply reads what epochSource returns; "" if the epoch to replace is gone.
func epochReply(a answer, err error) (string, error) {
	if err != nil {
		return "", err
	}
	stands, ok := a.value.(string)
	if !ok {
		return "", errReply
	}
	return stands, nil
}

// standsReply reads {epoch or nil, record or nil}; what is nil becomes "".
func standsReply(value any) (found, record string, err error) {
	stands, ok := value.([]any)
	if !ok || len(stands) != 2 {
		return "", "", errReply
	}
	var texts [2]string
	for i, part := range stands {
		text, isText := part.(string)
		if part != nil && !isText {
			return "", "", errReply
		}
		texts[i] = text
	}
	return texts[0], texts[1], nil
}

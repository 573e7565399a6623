// Package idempotency is the contract of the record store: one versioned record a key, and the knowledge of when the
// store last forgot.
//
// It is deliberately dumb: what a record means is decided by package commands; here it is bytes. Two implementations
// pass the suite in storetest: redisstore (real) and memstore (the twin for tests).
//
// A store can lie by forgetting (a wiped or replaced Redis). So keys live in buckets, each bucket carries an epoch, and
// every operation checks it. A bucket whose epoch is missing or is not the one remembered has forgotten: from then on
// its records carry Forgot, the time of the discovery, and the caller must ask the vendor before it sends anything. It can
// also go back in time (a failover to a replica that lagged, a restart from a snapshot or a file that was cut): then what
// was not written since carries Back, and a write with Intent is refused until its caller knows.
//
// Callers must treat any error but *Conflict as "our own fault": nothing is known about whether the write landed.
// They load again; the version tells. No process ever deletes a record.
package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Record is what stands at a key.
type Record struct {
	// Key as given by the caller.
	Key string
	// Version counts the writes; 0 means that nothing stands there.
	Version uint64
	// Token names the write that left this version, "" for version 0; opaque to callers. A store that went back in time
	// comes to a version again, by another write.
	Token string
	// Value is the bytes last written; nil when absent.
	Value []byte
	// Forgot is when the key's bucket was found to have lost its memory; zero when it never did, or when the store's
	// window for it (Config.AskWindow of an implementation) has passed. An absent record of a bucket that forgot may
	// have stood there before.
	Forgot time.Time
	// Back is when the bucket's server was found to be another one, or to have started again, so that its latest writes may
	// be lost: this record, or its absence, may be an older state than what was written last. Zero when that never
	// happened, when the same window has passed, and for a record that was written since.
	Back time.Time
	// Intent is set by a caller of Swap that is going to act in the world once the write stands, so that it must not be
	// fooled: only then is the server asked whether it still serves the data that it did, which costs as much as a write.
	// A store never sets it.
	Intent bool
	// Epoch is the bucket's epoch that this record was read under; opaque to callers.
	Epoch string
}

// Lost is the later one of Forgot and Back: until when there may have been what an absent record does not tell of.
func (r Record) Lost() time.Time {
	if r.Back.After(r.Forgot) {
		return r.Back
	}
	return r.Forgot
}

// Store holds the records.
type Store interface {
	// Expect returns the record that stands at key if nothing was ever written there, without any I/O: the way to
	// begin an operation in one round trip, since a Swap from it fails with a *Conflict when something stands there
	// or when the bucket forgot or went back.
	Expect(key string) Record
	// Load reads what stands at key. An absent record is no error: Version is 0.
	Load(ctx context.Context, key string) (Record, error)
	// Swap writes value if the record still stands as was, left by the same write under the same epoch, and returns the record
	// as it stands then. Else it returns a *Conflict and writes nothing. Every write renews the record's lifetime. The
	// caller gives value away: it may be the returned record's, and neither side changes it any more.
	Swap(ctx context.Context, was Record, value []byte) (Record, error)
}

// Conflict says that another writer came first, or that the bucket forgot or went back in between.
type Conflict struct {
	// Standing is the record as it stands now.
	Standing Record
}

// Error implements error.
func (c *Conflict) Error() string {
	return fmt.Sprintf("record %q stands at version %d", c.Standing.Key, c.Standing.Version)
}

// ErrUnavailable marks errors of a store that did not answer, or did not answer in time. Whether a write landed is
// unknown.
var ErrUnavailable = errors.New("idempotency store unavailable")

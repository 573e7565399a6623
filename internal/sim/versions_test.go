package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// versionSeeds are what is played with processes of two versions.
const versionSeeds = 40

// added is a member that only the newer version writes.
const added = `"later":{ "a": [1, 2.50]}`

// versions lets half of the processes be of a newer version, which adds a member to each record. With held it also has a
// phase of its own: what it left pending the older ones do not understand, until all are rolled forward when the faults
// end. An older one must write back what the newer one added, as it stood.
type versions struct {
	idempotency.Store
	w     *world
	newer bool
	held  bool
	// hidden counts the records that were read and not understood.
	hidden *atomic.Int64
}

func mixed(held bool, hidden *atomic.Int64) mutation {
	return mutation{name: "two versions", store: func(w *world, s idempotency.Store) idempotency.Store {
		v := &versions{Store: s, w: w, held: held, hidden: hidden}
		if g, ok := s.(*gatedStore); ok {
			v.newer = w.unit(g.owner.name+" version") < 0.5
		}
		return v
	}}
}

// understands reports whether this process knows the newer phase by now.
func (v *versions) understands() bool {
	return v.newer || !v.held || time.Since(v.w.watch.started) > faultsEnd
}

// seen is a record as this version reads it.
func (v *versions) seen(r idempotency.Record) idempotency.Record {
	pending := []byte(`"phase":"pending"`)
	if strings.HasPrefix(r.Key, "o:withhold:") && !v.understands() && bytes.Contains(r.Value, []byte(added)) && bytes.Contains(r.Value, pending) {
		v.hidden.Add(1)
		r.Value = bytes.Replace(bytes.Clone(r.Value), pending, []byte(`"phase":"held"`), 1)
	}
	return r
}

func (v *versions) Load(ctx context.Context, key string) (idempotency.Record, error) {
	r, err := v.Store.Load(ctx, key)
	return v.seen(r), err
}

func (v *versions) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	carries := bytes.Contains(value, []byte(added))
	switch {
	case !strings.HasPrefix(was.Key, "o:"):
	case v.newer && !carries:
		value = append(bytes.TrimSuffix(bytes.Clone(value), []byte("}")), ("," + added + "}")...)
	case !v.newer && !carries && bytes.Contains(was.Value, []byte(added)):
		v.w.watch.fail("15: an older version took from record %s what a newer one had added", was.Key)
	}
	r, err := v.Store.Swap(ctx, was, value)
	if conflict, ok := errors.AsType[*idempotency.Conflict](err); ok {
		return r, &idempotency.Conflict{Standing: v.seen(conflict.Standing)}
	}
	return r, err
}

// Roll-out, roll-back and both versions side by side: processes of either come and go as the faults will, and all promises
// hold.
func TestMixedVersions(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("new phase %v", held), func(t *testing.T) {
			t.Parallel()
			var hidden atomic.Int64
			for seed := range uint64(versionSeeds) {
				requireKept(t, run(t, seed, mixed(held, &hidden)))
			}
			require.Equal(t, held, hidden.Load() > 0)
			t.Logf("%d records were not understood", hidden.Load())
		})
	}
}

// The simulation sees an older version that drops what it does not know.
func TestMixedVersionsAreToldApart(t *testing.T) {
	t.Parallel()
	forgets := mixed(false, new(atomic.Int64))
	store := forgets.store
	forgets.store = func(w *world, s idempotency.Store) idempotency.Store {
		v := store(w, s)
		return dropping{v}
	}
	for seed := range uint64(versionSeeds) {
		if out := run(t, seed, forgets); strings.HasPrefix(out.violation, "15:") {
			return
		}
	}
	require.Fail(t, "not seen")
}

// dropping writes no member that it does not know.
type dropping struct{ idempotency.Store }

func (d dropping) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	return d.Store.Swap(ctx, was, bytes.Replace(bytes.Clone(value), []byte(","+added), nil, 1))
}

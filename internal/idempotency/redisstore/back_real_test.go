//go:build real

package redisstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// TestAServerThatLostItsLatestWrites: on redis-server itself, whatever way it loses them, the write that would have trusted
// an absence or an older version is refused, by whoever lived through it and by who starts afterwards.
func TestAServerThatLostItsLatestWrites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		// lose has the server lose what write writes, and returns where the data are then.
		lose func(t *testing.T, s *realServer, door *door, write func()) (addr string)
	}{
		"kill -9 with snapshots only": {lose: func(_ *testing.T, s *realServer, _ *door, write func()) string {
			s.do("save")
			write()
			s.kill()
			s.start()
			return s.addr()
		}},
		"a file that was cut": {args: []string{"--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no"},
			lose: func(t *testing.T, s *realServer, _ *door, write func()) string {
				file := appendOnly(t, s)
				before, err := os.Stat(file)
				require.NoError(t, err)
				write()
				s.kill()
				require.NoError(t, os.Truncate(file, before.Size()+5))
				s.start()
				return s.addr()
			}},
		"failover to a replica that lagged": {lose: func(t *testing.T, s *realServer, _ *door, write func()) string {
			replica := startServer(t)
			cut := replica.follow(s)
			cut()
			write()
			s.kill()
			replica.do("replicaof", "no", "one")
			return replica.addr()
		}},
		"failover, and back to the old one": {lose: func(t *testing.T, s *realServer, door *door, write func()) string {
			other := startServer(t)
			other.follow(s)
			other.do("replicaof", "no", "one")
			cut := s.follow(other)
			cut()
			door.leadTo(other.addr())
			write()
			other.kill()
			s.do("replicaof", "no", "one")
			return s.addr()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t, c.args...)
			door := startDoor(t, server.addr())
			config := testConfig(door.addr())
			config.Timeout = 5 * time.Second
			s := prepared(t, config)
			kept := swapped(t, s, s.Expect("kept"), "one")
			absent := s.Expect("lost")
			door.leadTo(c.lose(t, server, door, func() {
				lost := swapped(t, s, again(t, s, "lost"), "one")
				require.EqualValues(t, 1, lost.Version)
				kept = swapped(t, s, again(t, s, "kept"), "two")
			}))

			late := open(t, config)
			var record idempotency.Record
			becomes(t, "the store is reached", func(ctx context.Context) (reached bool) {
				var err error
				record, err = late.Load(ctx, "lost")
				return err == nil
			})
			require.Zero(t, record.Version, "it is lost")
			require.False(t, met(t, late, record).Back.IsZero())
			standing := met(t, s, absent)
			require.Zero(t, standing.Version)
			require.False(t, standing.Back.IsZero())
			standing = met(t, s, kept)
			require.Equal(t, "one", string(standing.Value))
			if standing = again(t, s, "kept"); standing.Back.IsZero() { // what stands says nothing yet
				standing = met(t, s, standing)
			}
			require.False(t, standing.Back.IsZero(), "before anything is written")
			require.True(t, swapped(t, s, again(t, s, "kept"), "two").Back.IsZero())
			require.True(t, again(t, s, "kept").Back.IsZero())
		})
	}
}

// appendOnly is the file that a server appends to now.
func appendOnly(t *testing.T, s *realServer) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "appendonlydir", "*.incr.aof"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

func swapped(t *testing.T, s *Store, was idempotency.Record, value string) idempotency.Record {
	t.Helper()
	for {
		was.Intent = true
		r, err := s.Swap(t.Context(), was, []byte(value))
		if conflict, ok := errors.AsType[*idempotency.Conflict](err); ok && conflict.Standing.Version == was.Version {
			was = conflict.Standing // of data that are other ones
			continue
		}
		require.NoError(t, err)
		return r
	}
}

// again is what stands now.
func again(t *testing.T, s *Store, key string) idempotency.Record {
	t.Helper()
	r, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	return r
}

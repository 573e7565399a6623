package main

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// echo serves connections that say back what they hear, after a greeting.
func echo(t *testing.T, greeting string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, greeting)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func through(t *testing.T, l *link) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn
}

func hear(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func testLink(t *testing.T, target string) *link {
	t.Helper()
	l, err := newLink(target)
	require.NoError(t, err)
	t.Cleanup(l.close)
	return l
}

func TestALinkCarriesAndIsAimedElsewhere(t *testing.T) {
	t.Parallel()
	l := testLink(t, echo(t, "one"))
	conn := through(t, l)
	hear(t, conn, "one")
	_, err := io.WriteString(conn, "hello")
	require.NoError(t, err)
	hear(t, conn, "hello")

	l.aim(echo(t, "two"))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "who was connected must connect anew")
	hear(t, through(t, l), "two")
}

func TestACutLinkClosesAndTakesNothing(t *testing.T) {
	t.Parallel()
	l := testLink(t, echo(t, "one"))
	conn := through(t, l)
	hear(t, conn, "one")
	l.cut()
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = through(t, l).Read(make([]byte, 1))
	require.Error(t, err)
	l.heal()
	hear(t, through(t, l), "one")
}

func TestAFrozenLinkHoldsBackAndDeliversAfterAll(t *testing.T) {
	t.Parallel()
	l := testLink(t, echo(t, "one"))
	conn := through(t, l)
	hear(t, conn, "one")
	l.freeze()
	_, err := io.WriteString(conn, "hello")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorContains(t, err, "timeout")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	l.heal()
	hear(t, conn, "hello")
}

func TestASlowLinkDelaysWhatItCarriesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &link{changed: make(chan struct{}), conns: map[net.Conn]struct{}{}, delay: time.Second}
		near, in := net.Pipe()
		out, far := net.Pipe()
		go l.carry(in, out)
		began := time.Now()
		for _, word := range []string{"hello", "again"} {
			_, err := io.WriteString(near, word)
			require.NoError(t, err)
		}
		hear(t, far, "hello")
		hear(t, far, "again")
		require.Equal(t, time.Second, time.Since(began), "delays do not add up")
		require.NoError(t, near.Close())
		synctest.Wait()
	})
}

package main

import (
	"errors"
	"net"
	"sync"
	"time"
)

// link is the way from one part to another, which can be cut, frozen, delayed, and aimed at another target. Those
// that use it know its address only.
//
// It is written here since the known library for it, toxiproxy, has not had a version that Go modules can fetch since
// 2022, brings five libraries along, and cannot hold bytes back and deliver them after all.
type link struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	state   state
	delay   time.Duration
	changed chan struct{} // closed at each change
	conns   map[net.Conn]struct{}
}

// state is what a link does with what it is given.
type state int

const (
	open state = iota
	// cut closes connections and takes no new ones.
	cut
	// frozen holds all bytes back until the link is open again: nobody is told anything.
	frozen
)

func newLink(target string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &link{listener: l, target: target, changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	go w.accept()
	return w, nil
}

func (l *link) address() string { return l.listener.Addr().String() }

func (l *link) port() int { return l.listener.Addr().(*net.TCPAddr).Port }

// close ends the link and every connection.
func (l *link) close() {
	_ = l.listener.Close()
	l.set(cut, 0)
}

func (l *link) cut()                  { l.set(cut, 0) }
func (l *link) freeze()               { l.set(frozen, 0) }
func (l *link) slow(by time.Duration) { l.set(open, by) }
func (l *link) heal()                 { l.set(open, 0) }

// aim leads to another target from now on; who is connected to the old one has to connect anew.
func (l *link) aim(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
	l.drop()
}

func (l *link) set(s state, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.delay = s, delay
	if s == cut {
		l.drop()
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// drop closes every connection; the lock is held.
func (l *link) drop() {
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
}

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go l.serve(near)
		}
	}
}

func (l *link) serve(near net.Conn) {
	defer func() { _ = near.Close() }()
	l.mu.Lock()
	target, refused := l.target, l.state == cut
	l.mu.Unlock()
	if refused {
		return
	}
	far, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	if !l.hold(target, near, far) {
		return
	}
	defer l.release(near, far)
	var both sync.WaitGroup
	both.Go(func() { l.carry(near, far) })
	both.Go(func() { l.carry(far, near) })
	both.Wait()
}

// hold keeps a pair of connections so that drop finds them; false when the link changed meanwhile.
func (l *link) hold(target string, pair ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == cut || l.target != target {
		return false
	}
	for _, c := range pair {
		l.conns[c] = struct{}{}
	}
	return true
}

func (l *link) release(pair ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range pair {
		delete(l.conns, c)
	}
}

// parcel is what was read at once, and when it may arrive.
type parcel struct {
	bytes []byte
	due   time.Time
}

// carry brings what one end says to the other, until one of them ends. Delays do not add up.
func (l *link) carry(from, to net.Conn) {
	parcels := make(chan parcel, 256)
	go func() {
		defer close(parcels)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				l.mu.Lock()
				delay := l.delay
				l.mu.Unlock()
				parcels <- parcel{buffer[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for p := range parcels { // to the end, so that the reader never waits for a full channel
		if broken = broken || !l.pass(p, to); broken {
			_ = from.Close()
		}
	}
	_ = to.Close()
}

// pass writes a parcel when it is due and the link is open.
func (l *link) pass(p parcel, to net.Conn) bool {
	if wait := time.Until(p.due); wait > 0 {
		time.Sleep(wait)
	}
	for {
		l.mu.Lock()
		s, changed := l.state, l.changed
		l.mu.Unlock()
		switch s {
		case cut:
			return false
		case open:
			_, err := to.Write(p.bytes)
			return err == nil
		case frozen:
			<-changed
		}
	}
}

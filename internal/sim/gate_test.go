package sim

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind says what a parked call is about to do, and so which faults may strike it.
type kind uint8

const (
	kindPlain kind = iota // a call without faults of its own
	kindLoad
	kindSwap
	kindPublish
	kindFetch
	kindCommit
	kindJoin
	kindPrepare
	kindDial
	kindReceive
	kindReply
	kindCallback
	kindAnswer
)

// fault is what happens to a call instead of what it hoped for; the words stand in the trace.
type fault string

const (
	none        fault = ""
	killed      fault = "killed"      // the process is gone: no effect
	unavailable fault = "unavailable" // no effect, an error
	lostReply   fault = "lost reply"  // the effect stands, an error or silence
	late        fault = "late"        // an error now, the effect some time later
	slow        fault = "slow"        // stays parked while time goes on
	stalled     fault = "stalled"     // the effect stands, and the whole process stops for long before it hears so
	wentBack    fault = "went back"   // an error, and the store is back at an earlier moment
	lostRequest fault = "lost request"
	reset       fault = "reset"
	status500   fault = "status 500"
	garbage     fault = "garbage 200"
	crossed     fault = "crossed" // the vendor says something else, about something else
)

// call is one call parked at the gate.
type call struct {
	name string
	kind kind
	// owner is the incarnation that dies with its calls; nil for what goes on without it.
	owner *incarnation
	ctx   context.Context
	wake  chan fault
	// until holds a slow call back; deaf ones do not even notice the end of their ctx.
	until time.Time
	deaf  bool
	held  bool
	// intent marks the write of an intent to send.
	intent bool
}

func (c *call) free(now time.Time) bool {
	return !now.Before(c.until) || !c.deaf && c.ctx.Err() != nil
}

// gate is where every call into a twin waits for the scheduler.
type gate struct {
	mu      sync.Mutex
	parked  []*call
	closed  bool
	arrived chan struct{} // holds a token when something changed
}

func newGate() *gate { return &gate{arrived: make(chan struct{}, 1)} }

// enter parks the caller until the scheduler lets it go, and returns what strikes it. A caller whose ctx ended is let
// go like any other, so that a timer wake-up passes the scheduler too.
func (g *gate) enter(ctx context.Context, owner *incarnation, k kind, name string) fault {
	return g.park(&call{name: name, kind: k, owner: owner, ctx: ctx})
}

func (g *gate) park(c *call) fault {
	c.wake = make(chan fault, 1)
	g.mu.Lock()
	if g.closed || c.owner != nil && c.owner.dead {
		g.mu.Unlock()
		return killed
	}
	g.parked = append(g.parked, c)
	g.mu.Unlock()
	g.signal()
	select {
	case f := <-c.wake:
		return f
	case <-c.ctx.Done():
		g.signal()
		return <-c.wake
	}
}

func (g *gate) signal() {
	select {
	case g.arrived <- struct{}{}:
	default:
	}
}

// free lists the calls that may go on, by name.
func (g *gate) free(now time.Time) []*call {
	g.mu.Lock()
	defer g.mu.Unlock()
	var free []*call
	for _, c := range g.parked {
		if c.free(now) {
			free = append(free, c)
		}
	}
	slices.SortStableFunc(free, func(a, b *call) int { return strings.Compare(a.name, b.name) })
	return free
}

// next is when the first held call comes free by itself.
func (g *gate) next(limit time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.parked {
		if c.until.Before(limit) {
			limit = c.until
		}
	}
	return limit
}

func (g *gate) hold(c *call, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.held, c.until = true, until
}

func (g *gate) release(c *call, f fault) {
	g.mu.Lock()
	g.parked = slices.DeleteFunc(g.parked, func(p *call) bool { return p == c })
	g.mu.Unlock()
	c.wake <- f
}

// kill lets every parked call of an incarnation return without effect, and every later one.
func (g *gate) kill(owner *incarnation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	owner.dead = true
	g.parked = slices.DeleteFunc(g.parked, func(c *call) bool {
		if c.owner != owner {
			return false
		}
		c.wake <- killed
		return true
	})
}

// close ends all calls, for the end of a run.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, c := range g.parked {
		c.wake <- killed
	}
	g.parked = nil
}

// isDead is for callers outside of the scheduler.
func (g *gate) isDead(i *incarnation) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return i.dead
}

// still notes that an incarnation stands still.
func (g *gate) still(i *incarnation, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(i.stillUntil) {
		i.stillUntil = until
	}
}

func (g *gate) stillUntil(i *incarnation) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return i.stillUntil
}

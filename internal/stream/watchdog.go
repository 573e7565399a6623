package stream

import "time"

// watchdog notices lanes that stand still: their first unfinished message has not changed for a while, whatever the
// reason. It only tells; what can be done about it (time out, park) is the handler's.
type watchdog struct {
	cfg   Config
	lanes []*lane
	heads []head
}

// head is where a lane stood when it last moved.
type head struct {
	position int64
	since    time.Time
	warned   time.Time
}

func newWatchdog(cfg Config, lanes []*lane) *watchdog {
	w := &watchdog{cfg: cfg, lanes: lanes, heads: make([]head, len(lanes))}
	for i, l := range lanes {
		w.heads[i] = head{position: l.at.Offset, since: time.Now()}
	}
	return w
}

// look reports how old the head of each lane is and for how long the next message was held back, and warns about those that stand still, once a StuckAfter.
func (w *watchdog) look(now time.Time) {
	for i, l := range w.lanes {
		h := &w.heads[i]
		position, busy := l.head()
		if !busy || position != h.position {
			*h = head{position: position, since: now}
		}
		age := now.Sub(h.since)
		w.cfg.Observe.Head(l.at.Topic, l.at.Partition, age)
		w.cfg.Observe.Held(l.at.Topic, l.at.Partition, l.holding(now))
		if age >= w.cfg.StuckAfter && now.Sub(h.warned) >= w.cfg.StuckAfter {
			h.warned = now
			w.cfg.Logger.Error("lane stands still: its first unfinished message holds back the commit",
				"topic", l.at.Topic, "partition", l.at.Partition, "offset", position, "age", age)
		}
	}
}

// leave tells that the lanes are no longer ours.
func (w *watchdog) leave() {
	for _, l := range w.lanes {
		w.cfg.Observe.Head(l.at.Topic, l.at.Partition, 0)
		w.cfg.Observe.Held(l.at.Topic, l.at.Partition, 0)
	}
}

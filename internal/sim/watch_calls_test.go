package sim

import (
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/catalog"
)

// The promises about what the adapters are asked for (12, 13).

// mostQuestions bounds the questions about an order for each of its messages.
const mostQuestions = 30

// sends sees each submission that an adapter is asked for, by which process and at what time of its clock.
func (w *watch) sends(c commands.Command, by string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	spec, _ := catalog.Find(c.Topic)
	if spec.Effect == commands.EffectRead {
		w.broken("10: %s is sent", c.Topic)
	}
	w.wanted[c.Topic]++
	w.submitted[string(c.Key)] = append(w.submitted[string(c.Key)], c.Carry["amount"])
	if lease := w.leases[by+" "+operation.Key(spec, c.Key)]; !now.Before(lease) {
		w.broken("12: %s is submitted by %s %v after the lease of its intent", c.Key, by, now.Sub(lease))
	}
}

// reaches sees how a submission ended.
func (w *watch) reaches(c commands.Command, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if vendors.ClassOf(err) != commands.ClassRetryable || err == nil {
		w.reaching[string(c.Key)]++
		return
	}
	w.unsent[string(c.Key)]++
}

// costs checks that a submission that is known not to have left costs no attempt, as long as whoever knows lives to tell;
// it needs the lock.
func (w *watch) costs(s commands.State) {
	if s.Topic != commandTopic || w.disturbed || w.forgetful() {
		return
	}
	if s.Phase == commands.Sending {
		w.intents[string(s.Key)]++
	}
	if made := w.intents[string(s.Key)] - w.unsent[string(s.Key)]; s.Phase == commands.Waiting && s.Sends > made {
		w.broken("13: order %s waits after %d submissions, and %d may have been made", s.Key, s.Sends, made)
	}
}

// asks sees each question that an adapter is asked for.
func (w *watch) asks(c commands.Command) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Topic != commandTopic {
		return
	}
	about := 0
	for _, m := range w.messages {
		if m.topic == commandTopic && m.order == string(c.Key) {
			about++
		}
	}
	if w.questions[string(c.Key)]++; w.questions[string(c.Key)] > mostQuestions*max(about, 1) {
		w.broken("13: %d questions about order %s", w.questions[string(c.Key)], c.Key)
	}
}

// leased sees each intent that is stored, and known by its writer to be.
func (w *watch) leased(by, key string, value []byte) {
	s, err := commands.DecodeState(value)
	if err != nil || s.Phase != commands.Sending {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases[by+" "+key] = s.Lease
}

// upset: a process lost what it knew, or the messages that it knew it of.
func (w *watch) upset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disturbed = true
}

// idle checks that no order is given up because of submissions that were counted and never made.
func (w *watch) idle(e event) {
	s, err := commands.DecodeState(w.standing(e.record()))
	if e.spec.Topic == commandTopic && err == nil && s.Sends >= maxSends && w.reaching[e.subject] == 0 && !w.disturbed && !w.forgetful() {
		w.broken("13: order %s is given up after %d submissions, of which none was made", e.subject, s.Sends)
	}
}

package integration

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/sim/esign"
	"paydispatch/internal/vendors/sim/withhold"
)

// open flows wait until they are finished by hand.
func openFlow(string) esign.Plan { return esign.Plan{Steps: []esign.Step{{Process: "INIT"}}} }

// The dispatcher is killed (kill -9) while flows are polled and a card is being tied; the second time Redis forgets
// everything too. The polls go on from Kafka, and the text message that may have been sent is not sent again.
func TestPollsAndCardsAcrossKills(t *testing.T) {
	binary := build(t, "dispatcher")
	h := open(t, stage{
		topics: []string{"identity.poll", "withhold.card.prebind"}, flow: openFlow,
		card: func(string, string, int) withhold.Plan { return withhold.Plan{Slow: 700 * time.Millisecond} },
		// A killed process is missed for as long as its session lasts.
		set: map[string]string{"HEARTBEAT_INTERVAL": "500ms", "DRAIN_BUDGET": "2500ms", "REBALANCE_TIMEOUT": "4s", "SESSION_TIMEOUT": "6s"},
	})
	running := h.launch(binary)
	for i, forget := range []bool{false, true} {
		name := map[bool]string{false: "kill", true: "kill and FLUSHALL"}[forget]
		var flows []string
		for n := range 10 {
			flows = append(flows, fmt.Sprintf("F%d-%d", i, n))
			h.sendTo("identity.poll", poll("R-"+flows[n], flows[n]))
		}
		h.resultsOf("identity.result", 30*time.Second, func(all []event) bool {
			for _, f := range flows {
				if len(of(all, f)) == 0 {
					return false
				}
			}
			return true
		})
		request := fmt.Sprintf("P%d", i)
		h.sendTo("withhold.card.prebind", prebind(request))
		require.Eventually(t, func() bool { return h.double.Submissions("pre-tied-card", request) == 1 }, 30*time.Second, time.Millisecond)
		running.kill()
		if forget {
			h.forget(t)
		}
		for _, f := range flows {
			require.NoError(t, h.esign.Finish(f, true))
		}
		running = h.launch(binary)
		all := h.resultsOf("identity.result", 60*time.Second, settled(flows...))
		for _, f := range flows {
			require.Equal(t, "pending INIT, answered ORGANFINISHED", told(of(all, f)), "%s: %s", name, f)
		}
		cards := h.resultsOf("withhold.card.result", 60*time.Second, settled(request))
		require.Equal(t, "unknown", kinds(of(cards, request)), name)
		require.Contains(t, of(cards, request)[0].Data["message"], "it was not sent again")
		require.Equal(t, 1, h.double.Submissions("pre-tied-card", request), name)
		require.Equal(t, 1, h.double.Messages(request), name)
	}
}

// In OAuth2 mode one token serves all polls of an application, and one that is no longer taken is fetched anew.
func TestOAuth2(t *testing.T) {
	h := open(t, stage{topics: []string{"identity.poll"}, flow: openFlow, set: map[string]string{"ESIGN_AUTH": "oauth2"}})
	h.dispatcher()
	var flows []string
	for n := range 6 {
		flows = append(flows, fmt.Sprintf("F%d", n))
		h.sendTo("identity.poll", poll("R-"+flows[n], flows[n], "account", []string{"default", second}[n%2]))
	}
	h.resultsOf("identity.result", 30*time.Second, func(all []event) bool { return len(all) >= len(flows) })
	require.Equal(t, 2, h.esign.Tokens(), "one for each application")
	require.Empty(t, h.esign.Complaints())

	h.esign.RevokeTokens()
	for _, f := range flows {
		require.NoError(t, h.esign.Finish(f, true))
	}
	all := h.resultsOf("identity.result", 30*time.Second, settled(flows...))
	for _, f := range flows {
		require.Equal(t, "pending INIT, answered ORGANFINISHED", told(of(all, f)), f)
	}
	require.Equal(t, 4, h.esign.Tokens(), "one more for each")
	for _, c := range h.esign.Complaints() {
		require.Equal(t, "401 TOKEN错误", c, "all that was refused is the token that had ended")
	}
	h.requireNothingPersonal(all)
	require.NotContains(t, h.log.String(), "eyJ.", "a token")
}

// A vendor that is down has its commands parked and its breaker opened; the other vendors' topics do not notice, and
// when it is back all of its commands are answered, once.
func TestAVendorThatIsDown(t *testing.T) {
	var up atomic.Bool
	const n = 40
	var receivers []daxpay.Receiver
	for i := range n {
		receivers = append(receivers, daxpay.Receiver{ReceiverNo: fmt.Sprintf("A%d", i), Channel: "ali_pay"})
	}
	h := open(t, stage{
		topics: []string{"withhold.request", "identity.poll", "alloc.receiver.query"}, receivers: receivers,
		receiver: func(int, daxpay.Query) daxpay.Plan { return daxpay.Plan{HangReply: !up.Load()} },
		set: map[string]string{
			"BREAKER_MIN_CALLS": "5", "BREAKER_OPEN": "1s", "DAXPAY_MAX_IN_FLIGHT": "10", "LIMIT_MAX_WAIT": "200ms", "MAX_IN_FLIGHT": "60",
		},
	})
	h.dispatcher()
	var questions, others []string
	for i := range n {
		questions, others = append(questions, fmt.Sprintf("A%d", i)), append(others, fmt.Sprintf("B%d", i))
		h.sendTo("alloc.receiver.query", alloc(questions[i], "receiverNo", questions[i]))
	}
	h.read("alloc.receiver.query.delay.1s", 30*time.Second, func(m []stream.Message) bool { return len(m) >= n })
	for _, name := range others {
		h.send(command("R-"+name, name, "1.00"))
		h.sendTo("identity.poll", poll("R-F-"+name, name))
	}
	h.results(30*time.Second, settled(others...))
	h.resultsOf("identity.result", 30*time.Second, settled(others...))
	h.requireEmpty("alloc.receiver.result", "withhold.request.delay.1s", "withhold.request.dlq", "identity.poll.delay.300ms")
	log := h.log.String()
	require.Contains(t, log, "breaker_open")
	for line := range strings.Lines(log) {
		if strings.Contains(line, "breaker_open") || strings.Contains(line, "vendor_busy") {
			require.Contains(t, line, `"topic":"alloc.receiver.query"`)
		}
	}

	up.Store(true)
	all := h.resultsOf("alloc.receiver.result", 60*time.Second, settled(questions...))
	for _, q := range questions {
		require.Equal(t, "answered", told(of(all, q)), q)
	}
}

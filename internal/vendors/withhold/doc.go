// Package withhold is the adapter of the withhold (代扣) gateway: single-withhold submits a debit, single-order-query
// asks about it, pre-tied-card and confirm-tied-card tie a card in two steps, and the gateway's callbacks are decoded.
//
// It refuses to guess: a reply that does not name our order, an unknown pay_status and any HTTP status but 200 are
// Unknown, and a refusal is never taken for a failure. It refuses to retry and keeps no state. The callback's sign has
// no secret, so a decoded callback proves nothing: callers must authenticate it otherwise (the notify_url token), and
// had better ask.
//
// Callers must run [Client.Check] on a command before they store an intent, and must not log a decoded [Order]'s
// revealed values. What the vendor's document leaves open (AES mode, key size, padding, encoding, the wording of "no
// such order") is configuration.
package withhold

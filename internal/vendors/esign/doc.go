// Package esign is the adapter of e签宝 (eSign): it asks how the reverse payment of an organization's identity flow
// stands (seed 000), and verifies the callbacks that hint at it.
//
// It refuses to guess: PAY_FAILED and "flow already ended" become final only by the outline endpoint's word, an unknown
// process stays pending, and an authorization that the gateway refuses (401, 403) is never taken for an answer about a
// flow. It refuses to send anything: every call is a GET without effect. It refuses to repeat calls, but for one: a
// spent OAuth2 token is fetched anew and the call made once more. Account numbers leave it masked unless the
// configuration says otherwise.
//
// Callers must run [Client.Check] on a command before they take it up, must repeat [Client.Ask] until the reply is
// final, and must treat a verified [Callback] as a reason to ask, not as an answer.
package esign

// Package daxpay is the adapter of DaxPay 2.0.x (cn.daxpay.single): POST /unipay/query/allocationReceiver asks for the
// receivers of a profit share (分账接收方).
//
// It refuses to believe an answer whose signature it cannot make itself from the answer's own bytes, and an answer that
// names another receiver than was asked for; both are Unknown. It refuses to retry and keeps no state. Only errors are
// ever unsigned; what they prove is said at each of them.
//
// Callers should run [Client.Check] on a command before they take it up. Receivers' accounts and names leave masked
// unless [Config.ShowAccounts] is set; the caller must not log a reply then. What the server's installation decides
// (sign type, whether it knows nonceStr, one address for each account) is configuration.
package daxpay

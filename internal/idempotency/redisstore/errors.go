package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"paydispatch/internal/idempotency"
)

// unavailable wraps what kept an operation from an answer. It never matches anything but ErrUnavailable, so that the
// end of one call's context is not taken for the end of its caller.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %s", idempotency.ErrUnavailable, doing, reason(err))
}

// refusals says what to do about a server's error, by its code.
var refusals = map[string]string{
	"NOAUTH":      "the server wants a password",
	"WRONGPASS":   "user name or password is wrong",
	"NOPERM":      "the user may not run this command: it needs MGET, EVALSHA, EVAL, GET, SET, PTTL, PEXPIRE, TIME, INFO, PING and WAIT",
	"OOM":         "the server's memory is full: raise maxmemory",
	"READONLY":    "this server is a replica",
	"LOADING":     "the server is still loading its data",
	"MISCONF":     "the server can not persist: see its log",
	"NOREPLICAS":  "the server has too few replicas to accept writes",
	"CLUSTERDOWN": "a part of the cluster has no primary",
	"MOVED":       "the key's slot is served by another node: are all addresses of one cluster?",
	"ASK":         "the key's slot is moving to another node",
	"TRYAGAIN":    "the key's slot is moving to another node",
	"WRONGTYPE":   "another program uses this prefix",
}

// reason tells about an error without any text that could hold a value: servers quote the arguments of commands that
// they do not know, clients the replies that they can not read.
func reason(err error) string {
	var answer redis.Error
	if errors.As(err, &answer) {
		code, _, _ := strings.Cut(answer.Error(), " ")
		if !isCode(code) {
			return "the server refused"
		}
		if hint, known := refusals[code]; known {
			return code + ": " + hint
		}
		return "the server refused: " + code
	}
	if harmless(err) {
		return err.Error()
	}
	return fmt.Sprintf("%T", err)
}

// harmless reports whether an error comes from the connection, not from what was sent over it.
func harmless(err error) bool {
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, redis.ErrClosed, redis.ErrPoolTimeout,
		redis.ErrPoolExhausted, errClosed, errReply, errMalformed, errUnsettled, errReplicas, errBuckets, errSlow,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	return errors.As(err, &network) || errors.As(err, &certificate) || errors.As(err, &plain)
}

// code returns the first word of a server's error; "" for any other error.
func code(err error) string {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return ""
	}
	word, _, _ := strings.Cut(answer.Error(), " ")
	return word
}

func isCode(word string) bool {
	for _, r := range word {
		if (r < 'A' || r > 'Z') && r != '_' {
			return false
		}
	}
	return word != "" && len(word) <= 24
}

var (
	errClosed    = errors.New("the store is closed")
	errReply     = errors.New("the server's reply has an unexpected shape")
	errMalformed = errors.New("the record was not written by this program: is the prefix shared with another?")
	errUnsettled = errors.New("the bucket's epoch keeps changing: are several systems at work with one prefix?")
	errReplicas  = errors.New("too few replicas have the write")
	errSlow      = errors.New("the servers answer too slowly to compare clocks with them")
	errBuckets   = errors.New("the records were laid out for another number of buckets: set the old one, or another prefix")
)

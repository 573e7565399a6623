package callback

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"paydispatch/internal/commands"
)

// Errors of a Reader, beside faults of reading the body.
var (
	// ErrForged: nothing proves that the vendor sent it.
	ErrForged = errors.New("not proven to come from the vendor")
	// ErrMalformed: it is authentic, and cannot be understood.
	ErrMalformed = errors.New("cannot be read")
)

// Word is what an authentic callback says.
type Word struct {
	// Key is the operation that it speaks of.
	Key commands.OperationKey
	// Event is CalledBack where the callback's own word counts, Nudged where it is a hint to ask.
	Event commands.Event
}

// Reader authenticates and reads one vendor's callbacks. body reads the bounded body, and may be left uncalled; its
// error is returned as it is. Other errors wrap ErrForged or ErrMalformed and carry no values of the body. A returned
// Key besides an error says which operation it was about, once that is authentic.
type Reader interface {
	Read(r *http.Request, body func() ([]byte, error)) (Word, error)
}

// Decoder reads the body of a callback whose address is its proof: the order it speaks of and what it says. Its errors
// carry no values.
type Decoder interface {
	Decode(contentType string, body []byte) (order string, reply commands.Reply, err error)
}

// Tokened reads callbacks that are authenticated by the unguessable token which a single order got in its address
// (Pattern); the token is checked, in constant time, before the body is read.
type Tokened struct {
	// Tokens verify the order's token; the newest key is the one that the dispatcher signs with.
	Tokens  commands.Keyring
	Decoder Decoder
}

// Read implements Reader.
func (t Tokened) Read(r *http.Request, body func() ([]byte, error)) (Word, error) {
	order, err := base64.RawURLEncoding.DecodeString(r.PathValue("order"))
	if err != nil || !t.Tokens.VerifyToken(string(order), r.PathValue("token")) {
		return Word{}, fmt.Errorf("%w: the token does not belong to the order", ErrForged)
	}
	word := Word{Key: commands.OperationKey(order)}
	raw, err := body()
	if err != nil {
		return word, err
	}
	about, reply, err := t.Decoder.Decode(r.Header.Get("Content-Type"), raw)
	if err != nil {
		return word, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if about != string(order) {
		return word, fmt.Errorf("%w: it speaks of another order than its address", ErrMalformed)
	}
	word.Event = commands.CalledBack{Reply: reply}
	return word, nil
}

// Pattern returns the route of callbacks with a token, for http.ServeMux.
func Pattern(vendor string) string { return "/callbacks/" + vendor + "/{order}/{token}" }

// URL returns the address that an order's callback is sent to, below base (such as https://pay.example.com).
func URL(base, vendor string, tokens commands.Keyring, order string) string {
	return base + "/callbacks/" + vendor + "/" + base64.RawURLEncoding.EncodeToString([]byte(order)) + "/" + tokens.Token(order)
}

// Signed reads callbacks that are authenticated by a signature over the raw body. What they say is a hint: a signed
// callback may be played again, so the vendor is asked.
type Signed struct {
	// Verify checks the signature, then reads the operation that the callback speaks of. Its errors wrap ErrForged or
	// ErrMalformed.
	Verify func(header http.Header, query url.Values, body []byte) (commands.OperationKey, error)
}

// Read implements Reader.
func (s Signed) Read(r *http.Request, body func() ([]byte, error)) (Word, error) {
	raw, err := body()
	if err != nil {
		return Word{}, err
	}
	key, err := s.Verify(r.Header, r.URL.Query(), raw)
	return Word{Key: key, Event: commands.Nudged{}}, err
}

// SignedPattern returns the route of signed callbacks, for http.ServeMux.
func SignedPattern(vendor string) string { return "/callbacks/" + vendor }

// question returns the command that puts the question of a recorded operation again: all that an Asker needs.
func question(s commands.State, keyField string) (commands.Command, error) {
	fields := map[string]string{"requestId": string(s.RequestID), keyField: string(s.Key)}
	if s.Account != "" {
		fields["account"] = s.Account
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return commands.Command{}, fmt.Errorf("encode the question about %s: %w", s.Key, err)
	}
	return commands.Command{
		Topic: s.Topic, RequestID: s.RequestID, Key: s.Key, Account: s.Account, Body: body, Carry: s.Carry,
		Fingerprints: []string{s.Fingerprint},
	}, nil
}

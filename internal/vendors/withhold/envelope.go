package withhold

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// The gateway's methods (seed 001).
const (
	methodSend = "single-withhold"
	methodAsk  = "single-order-query"
)

// envelope is the request body (seed 001, common parameters). sign covers ua, key, method and args; requestId and
// timestamp are not signed.
type envelope struct {
	UA        string `json:"ua"`
	Args      string `json:"args"`
	Sign      string `json:"sign"`
	Timestamp string `json:"timestamp"`
	RequestID string `json:"requestId"`
	Method    string `json:"method"`
}

// merchant is an account that is ready for use.
type merchant struct {
	ua     string
	key    string
	cipher *Cipher
}

// seal builds the body of one request. now gives the timestamp, in Unix seconds.
func (m merchant) seal(method string, params map[string]any, requestID string, now time.Time) ([]byte, error) {
	// A map is encoded with its keys in ascending order, at every level, as the vendor asks.
	plain, err := encode(params)
	if err != nil {
		return nil, fmt.Errorf("encoding the parameters: %w", err)
	}
	args, err := m.cipher.Seal(plain)
	if err != nil {
		return nil, err
	}
	return encode(envelope{
		UA:        m.ua,
		Args:      args,
		Sign:      md5Hex(m.ua + m.key + method + args),
		Timestamp: strconv.FormatInt(now.Unix(), 10),
		RequestID: requestID,
		Method:    method,
	})
}

// encode writes JSON with raw UTF-8 and raw slashes, without the line end that an Encoder adds.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

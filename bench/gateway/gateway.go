// Package gateway is the bench's double of the withhold gateway. It is leaner than internal/vendors/sim/withhold, so
// that on a small machine it leaves the processors to what is measured: it checks the envelope's form, the sign and
// that args decrypt to a command, and keeps a ledger of what was charged and how often, of calls of one key that ran at
// once, and of calls of one key that came out of order. It knows no faults, no callbacks, no dialects.
package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"paydispatch/bench/order"
)

// The one account of the bench.
const (
	UA  = "ua-bench"
	Key = "0123456789abcdef"
	// Missing is how the double says that it does not know an order.
	Missing = "order not found"
)

// Behaviour is how long calls take.
type Behaviour struct {
	// Latency of each call, and Spread: up to so much more, evenly.
	Latency time.Duration `json:"latency"`
	Spread  time.Duration `json:"spread"`
	// SlowKeys is how many keys, the first ones, take Slow instead.
	SlowKeys int           `json:"slow_keys"`
	Slow     time.Duration `json:"slow"`
}

// Stats is what the double saw since the last reset.
type Stats struct {
	Calls int `json:"calls"`
	Asks  int `json:"asks"`
	// Charged counts orders, Twice the charges of an order beyond its first.
	Charged int `json:"charged"`
	Twice   int `json:"twice"`
	// Overlaps counts calls that began while another of the same key ran, Reorders those that came after a later one.
	Overlaps int `json:"overlaps"`
	Reorders int `json:"reorders"`
	// AtOnce is the most calls, asks left out, that ran at the same time.
	AtOnce int `json:"at_once"`
	// Cut counts calls whose caller had gone when they were done.
	Cut int `json:"cut"`
	// Complaints counts requests that were not as the document says; Complaint is the first.
	Complaints int    `json:"complaints"`
	Complaint  string `json:"complaint"`
}

// Gateway is the double: POST /reset takes a Behaviour, GET /stats gives Stats, any other path is the vendor's.
type Gateway struct {
	block cipher.Block

	mu        sync.Mutex
	behaviour Behaviour
	stats     Stats
	cards     map[int]*card
	running   int
}

// card is what is known of one key.
type card struct {
	running int
	last    int
	charges []uint8 // by Seq
}

// New returns a double that answers at once.
func New() (*Gateway, error) {
	block, err := aes.NewCipher([]byte(Key))
	if err != nil {
		return nil, err
	}
	return &Gateway{block: block, cards: map[int]*card{}}, nil
}

// Answer takes a request and returns a status of HTTP and a body.
func (g *Gateway) Answer(r Request) (status int, body []byte) {
	switch r.Path {
	case "/reset":
		return g.reset(r.Body)
	case "/stats":
		g.mu.Lock()
		defer g.mu.Unlock()
		body, err := json.Marshal(g.stats)
		if err != nil {
			return http.StatusInternalServerError, nil
		}
		return http.StatusOK, body
	}
	return http.StatusOK, g.serve(r)
}

func (g *Gateway) reset(body []byte) (int, []byte) {
	var b Behaviour
	if err := json.Unmarshal(body, &b); err != nil {
		return http.StatusBadRequest, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.behaviour, g.stats, g.cards, g.running = b, Stats{}, map[int]*card{}, 0
	return http.StatusOK, nil
}

func (g *Gateway) serve(r Request) []byte {
	began := time.Now()
	method, name, err := g.open(r)
	if err != nil {
		g.complain(err)
		return []byte(`{"status":"-4","message":"illegal request","response":null}`)
	}
	if method == "single-order-query" {
		return g.query(name)
	}
	o, counted := order.Parse(name)
	pause := g.enter(o, counted)
	time.Sleep(pause)
	g.leave(o, counted)
	return success(name, time.Since(began))
}

// success is a reply; pay_order_no tells how long the call took at the gateway, in microseconds, so that whoever reads
// the result can take that off.
func success(name string, took time.Duration) []byte {
	out := make([]byte, 0, 256)
	out = append(out, `{"status":1,"message":"success","response":{"biz_order_no":"`...)
	out = append(out, name...)
	out = append(out, `","pay_order_no":"`...)
	out = strconv.AppendInt(out, took.Microseconds(), 10)
	return append(out, `","pay_type":"bank","pay_status":"success","pay_time":"2026-01-02 03:04:05","channel_response":""}}`...)
}

// enter notes the begin of a call and says how long it takes.
func (g *Gateway) enter(o order.Order, counted bool) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	pause := g.behaviour.Latency
	if g.behaviour.Spread > 0 {
		pause += rand.N(g.behaviour.Spread) //nolint:gosec // a vendor's mood is no secret
	}
	if !counted {
		return pause
	}
	if o.Key < g.behaviour.SlowKeys {
		pause = g.behaviour.Slow
	}
	g.stats.Calls++
	c := g.cards[o.Key]
	if c == nil {
		c = &card{last: -1}
		g.cards[o.Key] = c
	}
	if c.running > 0 {
		g.stats.Overlaps++
	}
	if o.Seq < c.last {
		g.stats.Reorders++
	}
	c.last = max(c.last, o.Seq)
	c.running++
	g.running++
	g.stats.AtOnce = max(g.stats.AtOnce, g.running)
	return pause
}

func (g *Gateway) leave(o order.Order, counted bool) {
	if !counted {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.cards[o.Key]
	if c == nil { // a reset came in between
		return
	}
	c.running--
	g.running--
	for len(c.charges) <= o.Seq {
		c.charges = append(c.charges, 0)
	}
	if c.charges[o.Seq]++; c.charges[o.Seq] == 1 {
		g.stats.Charged++
	} else {
		g.stats.Twice++
	}
}

func (g *Gateway) query(name string) []byte {
	o, _ := order.Parse(name)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Asks++
	c := g.cards[o.Key]
	if c != nil && o.Seq < len(c.charges) && c.charges[o.Seq] > 0 {
		return success(name, 0)
	}
	return []byte(`{"status":"-1","message":"` + Missing + `","response":null}`)
}

// cut notes a call that was done when its caller had gone.
func (g *Gateway) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Cut++
}

func (g *Gateway) complain(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stats.Complaints++; g.stats.Complaints == 1 {
		g.stats.Complaint = err.Error()
	}
}

// open checks an envelope and returns its method and order.
func (g *Gateway) open(r Request) (method, name string, err error) {
	if r.Method != http.MethodPost || r.ContentType != "application/json;charset=UTF-8" {
		return "", "", errors.New("not a POST of application/json;charset=UTF-8")
	}
	var env struct {
		UA        string `json:"ua"`
		Args      string `json:"args"`
		Sign      string `json:"sign"`
		Timestamp string `json:"timestamp"`
		RequestID string `json:"requestId"`
		Method    string `json:"method"`
	}
	if err := json.Unmarshal(r.Body, &env); err != nil {
		return "", "", errors.New("the body is no JSON")
	}
	if env.UA != UA || env.Args == "" || env.Timestamp == "" || env.RequestID == "" {
		return "", "", errors.New("ua, args, timestamp or requestId are missing or wrong")
	}
	if env.Method != "single-withhold" && env.Method != "single-order-query" {
		return "", "", errors.New("no such method")
	}
	sum := md5.Sum([]byte(env.UA + Key + env.Method + env.Args))
	if env.Sign != hex.EncodeToString(sum[:]) {
		return "", "", errors.New("the sign is wrong")
	}
	plain, err := g.decrypt(env.Args)
	if err != nil {
		return "", "", err
	}
	var args struct {
		BizOrderNo string `json:"biz_order_no"`
		Amount     string `json:"amount"`
		Card       string `json:"bank_card_number"`
	}
	if err := json.Unmarshal(plain, &args); err != nil || args.BizOrderNo == "" {
		return "", "", errors.New("args hold no order")
	}
	if env.Method == "single-withhold" && (args.Amount == "" || args.Card == "") {
		return "", "", errors.New("args hold no amount or no card")
	}
	return env.Method, args.BizOrderNo, nil
}

// decrypt reverses AES-128-ECB with PKCS7 in Base64.
func (g *Gateway) decrypt(args string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(args)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, errors.New("args are not Base64 of whole blocks")
	}
	for rest := data; len(rest) > 0; rest = rest[aes.BlockSize:] {
		g.block.Decrypt(rest, rest[:aes.BlockSize])
	}
	pad := int(data[len(data)-1])
	if pad == 0 || pad > aes.BlockSize {
		return nil, errors.New("args have a bad padding")
	}
	return data[:len(data)-pad], nil
}

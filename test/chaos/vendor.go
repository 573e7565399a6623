package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// The one account at the double, and its wording of "no such order".
const (
	vendorUA      = "ua-chaos"
	vendorKey     = "0123456789abcdef"
	vendorMissing = "order not found"
)

// behaviour is how the vendor treats what it is sent. Shares are of all submissions, or of all orders where it says so.
type behaviour struct {
	// Latency of each call, and Spread: up to so much more.
	Latency, Spread time.Duration
	// LostRequests never arrive; LostReplies are charged and then nothing comes back; Errors are charged and answered
	// with a 503; Resets are charged, and the reply breaks off in the middle; Refusals are charged, and the envelope says
	// that the submission was not accepted.
	LostRequests, LostReplies, Errors, Resets, Refusals float64
	// Slow submissions take SlowFor, longer than any caller waits; half of them are charged only at the end of it.
	Slow    float64
	SlowFor time.Duration
	// QueryLag is how long an order is unknown to questions after it was charged.
	QueryLag time.Duration
	// Declined orders are refused by the bank: no money moves. Pending ones have their verdict after PendingFor.
	Declined, Pending float64
	PendingFor        time.Duration
	// Called orders are called back. Of those, Early ones before the submission is answered, Late ones LateFor after the
	// verdict, Doubled ones three times; Contrary ones have another callback, with the opposite word, after the true one
	// was taken.
	Called, Early, Late, Doubled, Contrary float64
	LateFor                                time.Duration
}

// order is what the double knows of one.
type order struct {
	// Submissions and Charges: each submission of an order that is not declined is a charge.
	Submissions int  `json:"submissions"`
	Charges     int  `json:"charges"`
	Declined    bool `json:"declined,omitempty"`

	payType string
	visible time.Time // when questions find it
	verdict time.Time // when it is known
	called  bool
}

// journal is what the double has seen.
type journal struct {
	Orders    map[string]*order `json:"orders"`
	Questions int               `json:"questions"`
	// Cut counts submissions whose caller went away before it was answered, those that got no answer left out.
	Cut int `json:"cut"`
	// Running is how many submissions are being worked on.
	Running    int    `json:"running"`
	Complaints int    `json:"complaints"`
	Complaint  string `json:"complaint,omitempty"`
}

// vendor is the double of the withhold gateway. It charges every submission, so that nothing but the dispatcher
// prevents a second charge, and it believes nothing that it did not see itself. It shares no code with the product.
type vendor struct {
	seed  uint64
	file  io.Writer // a line a submission
	calls *http.Client

	mu      sync.Mutex
	how     behaviour
	journal journal
	tries   map[string]int // submissions of each order, those that were lost too
	// away ends what still runs when the double stops.
	away context.Context
}

// vendorRole is the double as a process: `chaos vendor`.
func vendorRole(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("vendor", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address")
	file := flags.String("file", "", "where each submission is written to")
	seed := flags.Uint64("seed", 1, "of its moods")
	if err := flags.Parse(args); err != nil {
		return err
	}
	out, err := os.OpenFile(*file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	v := &vendor{
		seed: *seed, file: out, away: ctx, calls: &http.Client{Timeout: 5 * time.Second},
		journal: journal{Orders: map[string]*order{}}, tries: map[string]int{},
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /gateway", v.gateway)
	mux.HandleFunc("POST /behaviour", v.behave)
	mux.HandleFunc("GET /journal", v.tell)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (v *vendor) behave(w http.ResponseWriter, r *http.Request) {
	var how behaviour
	if err := json.NewDecoder(r.Body).Decode(&how); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.how = how
}

func (v *vendor) tell(w http.ResponseWriter, _ *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = json.NewEncoder(w).Encode(v.journal)
}

// dice are the same for an order, whoever else is served, so that a seed means the same run as far as it can.
func (v *vendor) dice(words ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, words...)
	return rand.New(rand.NewPCG(v.seed, h.Sum64()))
}

// arguments are what the envelope holds.
type arguments struct {
	BizOrderNo string `json:"biz_order_no"`
	Amount     string `json:"amount"`
	PayType    string `json:"pay_type"`
	NotifyURL  string `json:"notify_url"`
}

func (v *vendor) gateway(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the caller went away before all had arrived
	}
	method, args, err := unseal(body)
	if err != nil {
		v.complain(err)
		write(w, `{"status":"-4","message":"illegal request","response":null}`)
		return
	}
	if method == "single-order-query" {
		v.question(w, args)
		return
	}
	v.submit(w, r, args)
}

func (v *vendor) complain(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.journal.Complaints++; v.journal.Complaints == 1 {
		v.journal.Complaint = err.Error()
	}
}

// question answers by what was charged.
func (v *vendor) question(w http.ResponseWriter, args arguments) {
	v.pause(v.current().Latency)
	v.mu.Lock()
	v.journal.Questions++
	o := v.journal.Orders[args.BizOrderNo]
	known := o != nil && !time.Now().Before(o.visible)
	answer := ""
	if known {
		answer = reply(args.BizOrderNo, o)
	}
	v.mu.Unlock()
	if !known {
		answer = `{"status":"-1","message":"` + vendorMissing + `","response":null}`
	}
	write(w, answer)
}

// submit charges, whatever came before, and then answers, or does not.
func (v *vendor) submit(w http.ResponseWriter, r *http.Request, args arguments) {
	how := v.current()
	v.mu.Lock()
	v.journal.Running++
	v.tries[args.BizOrderNo]++
	tries := v.tries[args.BizOrderNo]
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.journal.Running--
	}()
	dice := v.dice("submission", args.BizOrderNo, tries)
	fate := dice.Float64()
	takes := how.Latency + time.Duration(dice.Float64()*float64(how.Spread))
	within := func(share float64) bool { fate -= share; return fate < 0 }
	switch {
	case within(how.LostRequests):
		v.note(args.BizOrderNo, "lost before it was charged")
		hangUp(w, false)
		return
	case within(how.LostReplies):
		v.charge(args, how)
		v.pause(takes)
		hangUp(w, false)
		return
	case within(how.Errors):
		v.charge(args, how)
		v.pause(takes)
		http.Error(w, "try again later", http.StatusServiceUnavailable)
		return
	case within(how.Resets):
		v.charge(args, how)
		v.pause(takes)
		hangUp(w, true)
		return
	case within(how.Refusals):
		v.charge(args, how)
		v.pause(takes)
		write(w, `{"status":"-1","message":"system busy","response":null}`)
		return
	case within(how.Slow):
		late := dice.Float64() < 0.5
		if !late {
			v.charge(args, how)
		}
		v.pause(how.SlowFor)
		if late {
			v.charge(args, how)
		}
		return
	}
	answer := v.charge(args, how)
	v.pause(takes)
	if r.Context().Err() != nil {
		v.note(args.BizOrderNo, "cut while it was worked on")
		v.mu.Lock()
		v.journal.Cut++
		v.mu.Unlock()
		return
	}
	write(w, answer)
}

// charge moves the money once more and returns what there is to say.
func (v *vendor) charge(args arguments, how behaviour) string {
	name := args.BizOrderNo
	dice := v.dice("order", name)
	declined, pending, called := dice.Float64() < how.Declined, dice.Float64() < how.Pending, dice.Float64() < how.Called
	v.mu.Lock()
	defer v.mu.Unlock()
	o := v.journal.Orders[name]
	now := time.Now()
	if o == nil {
		o = &order{Declined: declined, payType: args.PayType, visible: now.Add(how.QueryLag), verdict: now}
		if pending {
			o.verdict = now.Add(how.PendingFor)
		}
		v.journal.Orders[name] = o
	}
	o.Submissions++
	if !o.Declined {
		o.Charges++
	}
	at := now.UTC().Format(time.RFC3339Nano)
	fmt.Fprintf(v.file, "%s %s submission %d, charge %d\n", at, name, o.Submissions, o.Charges)
	if args.NotifyURL != "" && called && !o.called {
		o.called = true
		go v.callBack(args, o, how)
	}
	return reply(name, o)
}

func (v *vendor) note(name, what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprintf(v.file, "%s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), name, what)
}

func (v *vendor) current() behaviour {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.how
}

func (v *vendor) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-v.away.Done():
	}
}

// words are an order's status, and its opposite.
func (o *order) words() (status, opposite string) {
	switch {
	case time.Now().Before(o.verdict):
		return "pending", "pending"
	case o.Declined:
		return "fail", "success"
	}
	return "success", "fail"
}

// reply is what the gateway says of an order; the lock is held.
func reply(name string, o *order) string {
	status, _ := o.words()
	return fmt.Sprintf(`{"status":1,"message":"success","response":{"biz_order_no":"%s","pay_order_no":"P%s","pay_type":"%s",`+
		`"pay_status":"%s","pay_time":"2026-01-02 03:04:05","channel_response":""}}`, name, name, o.payType, status)
}

// callBack tells the order's verdict to its notify_url, as often as it takes to be heard, 20 times at most.
func (v *vendor) callBack(args arguments, o *order, how behaviour) {
	dice := v.dice("callback", args.BizOrderNo)
	early, late := dice.Float64() < how.Early, dice.Float64() < how.Late
	doubled, contrary := dice.Float64() < how.Doubled, dice.Float64() < how.Contrary
	v.mu.Lock()
	wait := time.Until(o.verdict)
	v.mu.Unlock()
	switch {
	case late:
		wait += how.LateFor
	case !early:
		wait += how.Latency + how.Spread
	}
	v.pause(wait)
	times := 1
	if doubled {
		times = 3
	}
	status, opposite := o.words()
	heard := false
	var all sync.WaitGroup
	for range times {
		all.Go(func() {
			for try := 0; try < 20 && v.away.Err() == nil; try++ {
				if v.post(args, status) {
					v.mu.Lock()
					heard = true
					v.mu.Unlock()
					return
				}
				v.pause(500 * time.Millisecond)
			}
		})
	}
	all.Wait()
	if heard && contrary {
		v.post(args, opposite)
	}
}

// post makes one callback; true when it was taken.
func (v *vendor) post(args arguments, status string) bool {
	fields := map[string]string{
		"biz_order_no": args.BizOrderNo, "pay_order_no": "P" + args.BizOrderNo, "pay_type": args.PayType, "pay_status": status,
		"pay_time": "2026-01-02 03:04:05", "channel_response": "", "order_type": "single_withhold",
	}
	signed, err := json.Marshal(fields) // keys in order
	if err != nil {
		return false
	}
	sum := md5.Sum(signed)
	fields["sign"] = hex.EncodeToString(sum[:])
	body, err := json.Marshal(fields)
	if err != nil {
		return false
	}
	req, err := http.NewRequestWithContext(v.away, http.MethodPost, args.NotifyURL, bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := v.calls.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
}

func write(w http.ResponseWriter, answer string) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, _ = io.WriteString(w, answer)
}

// hangUp ends the connection without a reply, or in the middle of one.
func hangUp(w http.ResponseWriter, midway bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if midway {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"status\":1,")
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	_ = conn.Close()
}

// unseal checks an envelope as the gateway's document describes it.
func unseal(body []byte) (method string, args arguments, err error) {
	var env struct {
		UA        string `json:"ua"`
		Args      string `json:"args"`
		Sign      string `json:"sign"`
		Timestamp string `json:"timestamp"`
		RequestID string `json:"requestId"`
		Method    string `json:"method"`
	}
	if err := json.Unmarshal(body, &env); err != nil {
		return "", args, errors.New("the body is no JSON")
	}
	if env.UA != vendorUA || env.RequestID == "" || env.Timestamp == "" {
		return "", args, errors.New("ua, timestamp or requestId are missing or wrong")
	}
	if env.Method != "single-withhold" && env.Method != "single-order-query" {
		return "", args, fmt.Errorf("no such method: %.40q", env.Method)
	}
	sum := md5.Sum([]byte(env.UA + vendorKey + env.Method + env.Args))
	if env.Sign != hex.EncodeToString(sum[:]) {
		return "", args, errors.New("the sign is wrong")
	}
	plain, err := decrypt(env.Args)
	if err != nil {
		return "", args, err
	}
	if err := json.Unmarshal(plain, &args); err != nil || args.BizOrderNo == "" {
		return "", args, errors.New("args hold no order")
	}
	if env.Method == "single-withhold" && args.Amount == "" {
		return "", args, errors.New("args hold no amount")
	}
	return env.Method, args, nil
}

// decrypt reverses AES-128-ECB with PKCS7 in Base64.
func decrypt(text string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, errors.New("args are not Base64 of whole blocks")
	}
	block, err := aes.NewCipher([]byte(vendorKey))
	if err != nil {
		return nil, err
	}
	for rest := data; len(rest) > 0; rest = rest[aes.BlockSize:] {
		block.Decrypt(rest, rest[:aes.BlockSize])
	}
	pad := int(data[len(data)-1])
	if pad == 0 || pad > aes.BlockSize {
		return nil, errors.New("args have a bad padding")
	}
	return data[:len(data)-pad], nil
}

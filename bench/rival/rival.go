// Package rival holds what people use today instead of the dispatcher: a plain kafka-go loop, and an unsafe pool. Both
// do the same work for a command (decode, encrypt, sign, POST, decode, publish with acks=all), both as lean as such
// programs can be: no schema, no fingerprints, no records, no log line, no metrics.
package rival

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"paydispatch/bench/gateway"
)

// Config of a rival.
type Config struct {
	Brokers    []string
	Group      string
	Redis      string
	URL        string
	Partitions int
	Workers    int
}

// Topics of commands and results.
const (
	Commands = "withhold.request"
	Results  = "withhold.result"
)

// command is what a rival reads of a command.
type command struct {
	RequestID string `json:"requestId"`
	Order     string `json:"biz_order_no"`
	Amount    string `json:"amount"`
	Card      string `json:"bank_card_number"`
	Name      string `json:"name"`
	IDCard    string `json:"id_card_number"`
	Mobile    string `json:"mobile"`
	PayType   string `json:"pay_type"`
}

// params are the args of single-withhold in ascending order of their names, as the document asks.
type params struct {
	Amount  string   `json:"amount"`
	Card    string   `json:"bank_card_number"`
	BizData struct{} `json:"biz_data"`
	Order   string   `json:"biz_order_no"`
	IDCard  string   `json:"id_card_number"`
	Mobile  string   `json:"mobile"`
	Name    string   `json:"name"`
	PayType string   `json:"pay_type"`
}

type envelope struct {
	UA        string `json:"ua"`
	Args      string `json:"args"`
	Sign      string `json:"sign"`
	Timestamp string `json:"timestamp"`
	RequestID string `json:"requestId"`
	Method    string `json:"method"`
}

type reply struct {
	Status   int    `json:"status"`
	Message  string `json:"message"`
	Response struct {
		Order      string `json:"biz_order_no"`
		PayOrderNo string `json:"pay_order_no"`
		PayType    string `json:"pay_type"`
		PayStatus  string `json:"pay_status"`
		PayTime    string `json:"pay_time"`
	} `json:"response"`
}

// shop executes commands; it is shared by all workers of a process.
type shop struct {
	url    string
	block  cipher.Block
	http   *http.Client
	writer *kafka.Writer
}

func newShop(c Config, batch int, linger time.Duration) (*shop, error) {
	block, err := aes.NewCipher([]byte(gateway.Key))
	if err != nil {
		return nil, err
	}
	return &shop{
		url: c.URL, block: block,
		http: &http.Client{
			Timeout:   5 * time.Second,
			Transport: &http.Transport{MaxConnsPerHost: c.Workers, MaxIdleConns: c.Workers, MaxIdleConnsPerHost: c.Workers},
		},
		writer: &kafka.Writer{
			Addr: kafka.TCP(c.Brokers...), Topic: Results, Balancer: kafka.Murmur2Balancer{},
			RequiredAcks: kafka.RequireAll, BatchSize: batch, BatchTimeout: linger,
		},
	}, nil
}

// execute does all the work for one command but the commit.
func (s *shop) execute(ctx context.Context, c command) error {
	r, err := s.withhold(ctx, c)
	if err != nil {
		return err
	}
	if r.Status != 1 || r.Response.PayStatus != "success" {
		return errors.New("the gateway did not accept the order")
	}
	return s.publish(ctx, c, r)
}

func (s *shop) withhold(ctx context.Context, c command) (reply, error) {
	plain, err := json.Marshal(params{
		Amount: c.Amount, Card: c.Card, Order: c.Order, IDCard: c.IDCard, Mobile: c.Mobile, Name: c.Name, PayType: c.PayType,
	})
	if err != nil {
		return reply{}, err
	}
	const method = "single-withhold"
	args := s.encrypt(plain)
	sum := md5.Sum([]byte(gateway.UA + gateway.Key + method + args))
	body, err := json.Marshal(envelope{
		UA: gateway.UA, Args: args, Sign: hex.EncodeToString(sum[:]), Timestamp: strconv.FormatInt(time.Now().Unix(), 10),
		RequestID: c.RequestID, Method: method,
	})
	if err != nil {
		return reply{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json;charset=UTF-8")
	res, err := s.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	var r reply
	if err := json.Unmarshal(text, &r); err != nil {
		return reply{}, fmt.Errorf("the reply: %w", err)
	}
	return r, nil
}

// encrypt is AES-128-ECB with PKCS7 in Base64.
func (s *shop) encrypt(plain []byte) string {
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	plain = append(plain, bytes.Repeat([]byte{byte(pad)}, pad)...)
	for rest := plain; len(rest) > 0; rest = rest[aes.BlockSize:] {
		s.block.Encrypt(rest, rest[:aes.BlockSize])
	}
	return base64.StdEncoding.EncodeToString(plain)
}

// publish writes the same kind of event as the dispatcher does.
func (s *shop) publish(ctx context.Context, c command, r reply) error {
	data, err := json.Marshal(map[string]string{
		"requestId": c.RequestID, "biz_order_no": c.Order, "amount": c.Amount, "pay_type": c.PayType,
		"pay_order_no": r.Response.PayOrderNo, "pay_status": r.Response.PayStatus, "pay_time": r.Response.PayTime,
		"code": strconv.Itoa(r.Status), "message": r.Message,
	})
	if err != nil {
		return err
	}
	header := func(name, value string) kafka.Header { return kafka.Header{Key: name, Value: []byte(value)} }
	return s.writer.WriteMessages(ctx, kafka.Message{Key: []byte(c.Order), Value: data, Headers: []kafka.Header{
		header("ce_specversion", "1.0"), header("ce_id", "e-"+c.Order), header("ce_type", "withhold.succeeded.v1"),
		header("ce_source", "bench"), header("ce_subject", c.Order),
		header("ce_time", time.Now().UTC().Format(time.RFC3339Nano)), header("content-type", "application/json"),
	}})
}

// reader joins the group with the timings that the dispatcher has by default. queue is how many messages it fetches
// ahead.
func reader(c Config, queue int, commitEvery time.Duration) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers: c.Brokers, GroupID: c.Group, Topic: Commands, StartOffset: kafka.FirstOffset, QueueCapacity: queue,
		MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 500 * time.Millisecond, CommitInterval: commitEvery,
		HeartbeatInterval: time.Second, SessionTimeout: 15 * time.Second, RebalanceTimeout: 10 * time.Second,
		JoinGroupBackoff: 500 * time.Millisecond,
	})
}

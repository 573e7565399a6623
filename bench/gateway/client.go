package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Client speaks to the double beside its vendor interface.
type Client struct {
	// URL of the double, such as http://127.0.0.1:1234.
	URL string
}

// Reset makes the double forget everything and behave so from now on. No call may be under way.
func (c Client) Reset(ctx context.Context, b Behaviour) error {
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, "/reset", body, nil)
}

// Stats returns what the double saw since the last reset.
func (c Client) Stats(ctx context.Context) (s Stats, err error) {
	err = c.do(ctx, http.MethodGet, "/stats", nil, &s)
	return s, err
}

func (c Client) do(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		return fmt.Errorf("vendor double: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("vendor double: %s %s: %s", method, path, res.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

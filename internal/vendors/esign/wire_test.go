package esign_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/vendors/esign"
)

var update = flag.Bool("update", false, "write the golden files anew")

// recorder answers each request with the next of its replies, and keeps what was sent, byte for byte.
type recorder struct {
	replies []string
	sent    []string
}

func (r *recorder) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer func() { _ = theirs.Close() }()
		for {
			var raw bytes.Buffer
			req, err := http.ReadRequest(bufio.NewReaderSize(io.TeeReader(theirs, &raw), 1))
			if err != nil {
				return
			}
			if _, err := io.ReadAll(req.Body); err != nil {
				return
			}
			body := r.replies[len(r.sent)]
			r.sent = append(r.sent, raw.String())
			_ = (&http.Response{
				StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)),
				Body: io.NopCloser(strings.NewReader(body)),
			}).Write(theirs)
		}
	}()
	return ours, nil
}

// The bubble's clock stands at 2000-01-01, so a request's bytes do not change from run to run.
func TestGoldenRequests(t *testing.T) {
	t.Parallel()
	const done = `{"code":0,"message":"成功","data":{"process":"PAY_FAILED"}}`
	const outline = `{"code":0,"message":"成功","data":{"flowStatus":"FAIL"}}`
	const token = `{"code":0,"message":"成功","data":{"token":"eyJ0.tok","expiresIn":"946692000000","refreshToken":"r"}}`
	for name, c := range map[string]struct {
		change  func(*esign.Config)
		replies []string
	}{
		"signature":          {func(*esign.Config) {}, []string{done, outline}},
		"signature-ct-space": {func(c *esign.Config) { c.ContentType = "application/json; charset=UTF-8" }, []string{done, outline}},
		"oauth2":             {func(c *esign.Config) { c.Mode = esign.ModeOAuth2 }, []string{token, done, outline}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{replies: c.replies}
				cfg := config("https://openapi.test")
				cfg.URL, cfg.HTTP.DialContext = "http://openapi.test", r.dial
				c.change(&cfg)
				client := newClient(t, cfg)
				_, err := client.Ask(t.Context(), command(testFlow))
				require.NoError(t, err)
				client.Close()
				synctest.Wait()

				got := strings.Join(r.sent, "")
				path := filepath.Join("testdata", name+".golden")
				if *update {
					require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
				}
				want, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, string(want), got)
			})
		})
	}
}

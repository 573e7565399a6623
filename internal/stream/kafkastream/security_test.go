package kafkastream_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"paydispatch/internal/stream/kafkastream"
)

func TestEveryConnectionIsEncryptedAndAuthenticated(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{kafkastream.Plain, kafkastream.ScramSHA256, kafkastream.ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			server, clients := certificates(t)
			_, addresses := fake(t, kfake.TLS(server), kfake.EnableSASL(), kfake.Superuser(mechanism, "svc", "s3cret"), kfake.SeedTopics(1, "t"))
			conn := kafkastream.Config{
				Brokers: addresses, TLS: func() (*tls.Config, error) { return clients, nil },
				SASL: kafkastream.SASL{Mechanism: mechanism, User: "svc", Password: known("s3cret")},
			}
			p := publisher(t, kafkastream.PublisherConfig{Config: conn})
			require.NoError(t, p.Publish(t.Context(), message("t", "k", "v")))
			cfg := consumerConfig(addresses, "g")
			cfg.Config = conn
			all := &collector{}
			stop := consume(t, consumer(t, cfg), all, "t")
			all.await(t, 1)
			require.NoError(t, stop())
		})
	}
}

// certificates returns a server's settings and those of clients that trust it.
func certificates(t *testing.T) (server, clients *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

func known(password kafkastream.Password) func() (kafkastream.Password, error) {
	return func() (kafkastream.Password, error) { return password, nil }
}

// TestASecretThatIsRenewedCounts: a password and a certificate that were read once are of no use when they are replaced.
func TestASecretThatIsRenewedCounts(t *testing.T) {
	t.Parallel()
	server, trusted := certificates(t)
	_, others := certificates(t)
	_, addresses := fake(t, kfake.TLS(server), kfake.EnableSASL(), kfake.Superuser(kafkastream.Plain, "svc", "new"), kfake.SeedTopics(1, "t"))
	password, clients := &atomic.Value{}, &atomic.Value{}
	password.Store(kafkastream.Password("old"))
	clients.Store(others)
	a, err := kafkastream.NewAdmin(kafkastream.Config{
		Brokers: addresses, TLS: func() (*tls.Config, error) { return clients.Load().(*tls.Config), nil },
		SASL: kafkastream.SASL{Mechanism: kafkastream.Plain, User: "svc", Password: func() (kafkastream.Password, error) {
			return password.Load().(kafkastream.Password), nil
		}},
	})
	require.NoError(t, err)
	defer a.Close()
	check := func() error { return a.CheckTopics(t.Context(), []string{"t"}) }
	require.ErrorContains(t, check(), "certificate signed by unknown authority")
	clients.Store(trusted)
	require.ErrorContains(t, check(), "EOF", "this broker hangs up; real ones say why")
	password.Store(kafkastream.Password("new"))
	require.NoError(t, check())
}

func TestUnknownMechanismIsRefused(t *testing.T) {
	t.Parallel()
	_, err := kafkastream.NewAdmin(kafkastream.Config{Brokers: []string{"x:1"}, SASL: kafkastream.SASL{Mechanism: "GSSAPI"}})
	require.ErrorContains(t, err, "GSSAPI")
	_, err = kafkastream.NewAdmin(kafkastream.Config{})
	require.ErrorContains(t, err, "no broker addresses")
}

func TestPasswordMasksItself(t *testing.T) {
	t.Parallel()
	s := struct{ Password kafkastream.Password }{"s3cret"}
	encoded, err := json.Marshal(s)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("settings", "sasl", s, "password", s.Password)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %s %q", s, s, s.Password, s.Password), string(encoded), log.String()} {
		require.NotContains(t, text, "s3cret")
	}
}

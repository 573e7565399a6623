package rival

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/bench/gateway"
	"paydispatch/bench/order"
)

func TestTheRivalsSpeakAsTheVendorsDocumentAsks(t *testing.T) {
	t.Parallel()
	double, err := gateway.New()
	require.NoError(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- double.Serve(ctx, l) }()
	url := "http://" + l.Addr().String()
	s, err := newShop(Config{Brokers: []string{"127.0.0.1:1"}, URL: url, Workers: 1}, 1, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		cancel()
		require.NoError(t, <-done)
	})

	name := order.Order{Key: 1, Seq: 2, Index: 3}.Name()
	r, err := s.withhold(t.Context(), command{
		RequestID: "r-1", Order: name, Amount: "12.34", Card: "6222021234567890123", Name: "张三",
		IDCard: "11010119900307123X", Mobile: "13800000000", PayType: "bank",
	})
	require.NoError(t, err)
	require.Equal(t, 1, r.Status)
	require.Equal(t, "success", r.Response.PayStatus)
	require.Equal(t, name, r.Response.Order)
	stats, err := gateway.Client{URL: url}.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, gateway.Stats{Calls: 1, Charged: 1, AtOnce: 1}, stats)
}

package kafkastream

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
)

// heartbeat is a request of its own, in version 1 of the protocol: kafka-go's is sent to any broker instead of the
// group's coordinator, and its answer is decoded with the fields in the wrong order, so that no error is ever seen.
type heartbeat struct {
	group      string
	generation int32
	member     string
	client     string
}

var (
	_ protocol.GroupMessage = (*heartbeat)(nil)
	_ protocol.RawExchanger = (*heartbeat)(nil)
)

type heartbeatAnswer struct{ code int16 }

// ApiKey implements [protocol.Message].
func (*heartbeat) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

// ApiKey implements [protocol.Message].
func (*heartbeatAnswer) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

// Group implements [protocol.GroupMessage]: the request goes to this group's coordinator.
func (h *heartbeat) Group() string { return h.group }

// Required implements [protocol.RawExchanger].
func (*heartbeat) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements [protocol.RawExchanger]. Nothing else is on the way on the connection.
func (h *heartbeat) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	text := func(b []byte, s string) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	req := make([]byte, 4, 256)
	req = binary.BigEndian.AppendUint16(req, uint16(protocol.Heartbeat))
	req = binary.BigEndian.AppendUint16(req, 1)
	req = binary.BigEndian.AppendUint32(req, 0) // what tells answers apart
	req = text(req, h.client)
	req = text(req, h.group)
	req = binary.BigEndian.AppendUint32(req, uint32(h.generation))
	req = text(req, h.member)
	binary.BigEndian.PutUint32(req, uint32(len(req)-4))
	if _, err := rw.Write(req); err != nil {
		return nil, err
	}
	var res struct {
		Size, Correlation, Throttle int32
		Code                        int16
	}
	if err := binary.Read(rw, binary.BigEndian, &res); err != nil {
		return nil, err
	}
	if size := int32(binary.Size(res)) - 4; res.Size != size {
		return nil, fmt.Errorf("heartbeat: the answer has %d bytes, not %d", res.Size, size)
	}
	return &heartbeatAnswer{code: res.Code}, nil
}

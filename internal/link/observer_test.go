package link

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// observed is a socket that somebody watches: it remembers what was sent.
type observed struct {
	net.PacketConn
	mu   sync.Mutex
	sent [][]byte
}

// WriteTo implements net.PacketConn.
func (o *observed) WriteTo(p []byte, to net.Addr) (int, error) {
	o.mu.Lock()
	o.sent = append(o.sent, append([]byte(nil), p...))
	o.mu.Unlock()
	return o.PacketConn.WriteTo(p, to)
}

// seen returns the datagrams since the last take.
func (o *observed) seen() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([][]byte(nil), o.sent...)
}

// take returns the datagrams since the last call.
func (o *observed) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	sent := o.sent
	o.sent = nil
	return sent
}

// A run of runSize bytes in two connections would join them, unless bytes that
// everybody sends are in it: gramSize of them in a row.
const (
	runSize  = 16
	gramSize = 8
)

// pieces returns all runs of size bytes in the texts.
func pieces(size int, texts ...[]byte) map[string]bool {
	out := make(map[string]bool)
	for _, t := range texts {
		for i := 0; i+size <= len(t); i++ {
			out[string(t[i:i+size])] = true
		}
	}
	return out
}

// shared returns a run that joins two visits.
func shared(a, b [][]byte, constant map[string]bool) string {
	first := pieces(runSize, a...)
	for run := range pieces(runSize, b...) {
		if !first[run] {
			continue
		}
		own := true
		for gram := range pieces(gramSize, []byte(run)) {
			own = own && !constant[gram]
		}
		if own {
			return run
		}
	}
	return ""
}

// Whoever watches a client's socket, and opens the Initial packets as everybody
// can, finds nothing in two visits to one guard that other clients' visits do
// not show as well (spec/link.md §7).
func TestObserverCannotJoinVisits(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		b, node := w.node(1)
		defer closeAll(t, b)
		client := func() (*Endpoint, *observed) {
			tap := &observed{PacketConn: w.socket(clientAddr)}
			e, err := NewEndpoint(tap, Config{})
			if err != nil {
				t.Fatal(err)
			}
			return e, tap
		}
		a, tap := client()
		other, otherTap := client()
		defer closeAll(t, a, other)
		// What is seen of a visit, raw and opened.
		see := func(e *Endpoint, tap *observed, resumes bool) [][]byte {
			if visit(t, e, node).DidResume != resumes {
				t.Fatalf("resumed: %v", !resumes)
			}
			raw := tap.take()
			return append(raw, openInitials(t, raw))
		}
		constant := pieces(gramSize, see(other, otherTap, false)...)
		maps.Copy(constant, pieces(gramSize, see(other, otherTap, true)...))
		var visits [][][]byte
		for i := range 4 {
			visits = append(visits, see(a, tap, i > 0))
			for j := range visits[:i] {
				if run := shared(visits[j], visits[i], constant); run != "" {
					t.Fatalf("visits %d and %d share %x", j, i, run)
				}
			}
		}
		hello := visits[3][len(visits[3])-1]
		if len(hello) < 1300 || hello[0] != 1 {
			t.Fatalf("what was opened is no ClientHello: %d bytes", len(hello))
		}
		// A ticket that is used twice is seen.
		key := ticketFor{node.ID, ProtocolCells, netip.Addr{}}
		twice := a.tickets.kept[key]
		first := see(a, tap, true)
		a.tickets.kept[key] = twice
		if shared(first, see(a, tap, true), constant) == "" {
			t.Error("the observer misses a ticket that is used twice")
		}
	})
}

// openInitials returns the client's CRYPTO stream from its Initial packets,
// whose keys follow from the first packet's destination (RFC 9001 §5.2).
func openInitials(t *testing.T, datagrams [][]byte) []byte {
	t.Helper()
	var hello []byte
	var keys *initialKeys
	for _, d := range datagrams {
		if d[0]&0xf0 != 0xc0 { // no Initial packet
			continue
		}
		if keys == nil {
			keys = newInitialKeys(t, d[6:6+int(d[5])])
		}
		payload, ok := keys.open(d)
		if !ok {
			continue // to the connection id that the server chose: no hello in it
		}
		hello = appendCrypto(t, hello, payload)
	}
	return hello
}

// initialKeys are a client's.
type initialKeys struct {
	aead   cipher.AEAD
	iv     []byte
	header cipher.Block
}

var initialSalt = []byte{
	0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
	0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
}

func newInitialKeys(t *testing.T, dst []byte) *initialKeys {
	t.Helper()
	secret, err := hkdf.Extract(sha256.New, dst, initialSalt)
	if err != nil {
		t.Fatal(err)
	}
	expand := func(secret []byte, label string, n int) []byte {
		full := "tls13 " + label
		info := string(binary.BigEndian.AppendUint16(nil, uint16(n))) + string(rune(len(full))) + full + "\x00"
		out, err := hkdf.Expand(sha256.New, secret, info, n)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	secret = expand(secret, "client in", 32)
	block, err := aes.NewCipher(expand(secret, "quic key", 16))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	header, err := aes.NewCipher(expand(secret, "quic hp", 16))
	if err != nil {
		t.Fatal(err)
	}
	return &initialKeys{aead, expand(secret, "quic iv", 12), header}
}

// open opens the Initial packet at the start of a datagram.
func (k *initialKeys) open(datagram []byte) ([]byte, bool) {
	p := append([]byte(nil), datagram...)
	at := 5
	at += 1 + int(p[at]) // destination
	at += 1 + int(p[at]) // source
	token, at := varint(p, at)
	at += int(token)
	length, at := varint(p, at)
	end := at + int(length)
	var mask [16]byte
	k.header.Encrypt(mask[:], p[at+4:at+20])
	p[0] ^= mask[0] & 0x0f
	numberLen := int(p[0]&3) + 1
	nonce := append([]byte(nil), k.iv...)
	for i := range numberLen {
		p[at+i] ^= mask[1+i]
		nonce[len(nonce)-numberLen+i] ^= p[at+i]
	}
	payload, err := k.aead.Open(nil, nonce, p[at+numberLen:end], p[:at+numberLen])
	return payload, err == nil
}

func varint(p []byte, at int) (uint64, int) {
	n := 1 << (p[at] >> 6)
	v := uint64(p[at] & 0x3f)
	for i := 1; i < n; i++ {
		v = v<<8 | uint64(p[at+i])
	}
	return v, at + n
}

// appendCrypto puts the CRYPTO frames of a payload into the stream.
func appendCrypto(t *testing.T, stream, payload []byte) []byte {
	t.Helper()
	for at := 0; at < len(payload); {
		switch payload[at] {
		case 0, 1: // PADDING, PING
			at++
		case 6: // CRYPTO
			offset, next := varint(payload, at+1)
			n, data := varint(payload, next)
			if need := int(offset + n); need > len(stream) {
				stream = append(stream, make([]byte, need-len(stream))...)
			}
			copy(stream[offset:], payload[data:data+int(n)])
			at = data + int(n)
		default: // an ACK: the hello has arrived
			return stream
		}
	}
	return stream
}

package mailbox

import (
	"crypto/hpke"
	"fmt"
	"io"
	"math"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Received is a request that OpenRequest opened, with the stamp that it came
// under. Whether the stamp is fresh is ReplayCache's to say.
type Received struct {
	Request Request
	Stamp   Stamp
}

// SealRequest seals a request under a fresh stamp. A Fetch is signed for the
// stamp that it travels under, so it is refused here: SealStamped seals it.
func SealRequest(rand io.Reader, cert *RequestKeyCert, now time.Time, req Request) ([]byte, *ReplyOpener, error) {
	if _, ok := req.(*Fetch); ok {
		return nil, nil, fmt.Errorf("fetch sealed without its stamp: %w", ErrFormat)
	}
	stamp, err := NewStamp(rand, cert.Node, now)
	if err != nil {
		return nil, nil, err
	}
	return SealStamped(cert, stamp, req)
}

// SealStamped seals a request to a certified key, which the caller has
// verified, under the stamp that the request was signed for. It returns the
// frame and what opens the replies to it.
func SealStamped(cert *RequestKeyCert, stamp Stamp, req Request) ([]byte, *ReplyOpener, error) {
	if err := checkRequest(req); err != nil {
		return nil, nil, err
	}
	if stamp.Node != cert.Node {
		return nil, nil, fmt.Errorf("stamp for another node: %w", ErrFormat)
	}
	pub, err := hpke.MLKEM768X25519().NewPublicKey(cert.Public)
	if err != nil {
		return nil, nil, fmt.Errorf("request key: %w: %w", ErrFormat, err)
	}
	head := wire.AppendUint64([]byte{FrameSealed, version}, cert.Epoch)
	enc, s, err := hpke.NewSender(pub, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), sealInfo(cert.Node, cert.Epoch))
	if err != nil {
		return nil, nil, fmt.Errorf("mailbox: seal: %w", err)
	}
	plain := wire.AppendUint64(nil, stamp.Time)
	plain = append(plain, stamp.Nonce[:]...)
	ct, err := s.Seal(head, pad(plain, EncodeRequest(req)))
	if err != nil {
		return nil, nil, fmt.Errorf("mailbox: seal: %w", err)
	}
	o := &ReplyOpener{}
	if o.reply, o.next, err = directions(s.Export); err != nil {
		return nil, nil, err
	}
	return append(append(head, enc...), ct...), o, nil
}

// OpenRequest opens a frame that SealRequest made for this key, and returns
// what seals the replies to it.
func (k *RequestKey) OpenRequest(frame []byte) (*Received, *ReplySealer, error) {
	body, err := frameBody(frame, FrameSealed)
	if err != nil {
		return nil, nil, err
	}
	r := wire.NewReader(body)
	epoch, enc, ct := r.Uint64(), r.Bytes(encSize), r.Rest()
	if err := finish(r, "sealed request"); err != nil {
		return nil, nil, err
	}
	if k.key == nil || epoch != k.cert.Epoch {
		return nil, nil, ErrUnknownKey
	}
	rc, err := hpke.NewRecipient(enc, k.key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), sealInfo(k.cert.Node, epoch))
	if err != nil {
		return nil, nil, ErrOpen
	}
	plain, err := rc.Open(frame[:sealedHead], ct)
	if err != nil {
		return nil, nil, ErrOpen
	}
	got, err := readReceived(k.cert.Node, plain)
	if err != nil {
		return nil, nil, err
	}
	s := &ReplySealer{}
	if s.reply, s.next, err = directions(rc.Export); err != nil {
		return nil, nil, err
	}
	return got, s, nil
}

func readReceived(node identity.NodeID, plain []byte) (*Received, error) {
	r := wire.NewReader(plain)
	got := &Received{Stamp: Stamp{Node: node, Time: r.Uint64()}}
	r.Fixed(got.Stamp.Nonce[:])
	content, err := unpad(r)
	if err != nil {
		return nil, err
	}
	got.Request, err = ParseRequest(content)
	return got, err
}

// sealInfo binds a sealed request to the node and the epoch it is for.
func sealInfo(node identity.NodeID, epoch uint64) []byte {
	h := suite.Hash(labelSeal, node[:], wire.AppendUint64(nil, epoch))
	return h[:]
}

// directions derives the keys of both directions from the HPKE context.
func directions(export func(string, int) ([]byte, error)) (reply, next direction, err error) {
	if reply, err = newDirection(export, labelReplyKey); err != nil {
		return reply, next, err
	}
	next, err = newDirection(export, labelNextKey)
	return reply, next, err
}

// direction is one way of a context: a key that encrypts, one that makes
// nonces, and the number of the next frame.
//
// A frame's nonce follows from its content, because a node can be made to open
// a request twice and answer differently: whoever carries the request can send
// it again and is refused, in the same context. Counters would then encrypt
// both answers with one keystream (spec/mailbox.md §5.1).
type direction struct {
	key, nonces suite.Key
	counter     uint64
}

func newDirection(export func(string, int) ([]byte, error), label suite.Label) (d direction, err error) {
	b, err := export(string(label), 2*suite.KeySize)
	if err != nil {
		return d, fmt.Errorf("mailbox: seal: %w", err)
	}
	defer clear(b)
	if d.key, err = suite.KeyFrom(b[:suite.KeySize]); err != nil {
		return d, err
	}
	d.nonces, err = suite.KeyFrom(b[suite.KeySize:])
	return d, err
}

// ad is what a frame authenticates: its head and its number.
func (d *direction) ad(head []byte) []byte {
	return wire.AppendUint64(append(make([]byte, 0, frameHead+8), head...), d.counter)
}

func (d *direction) seal(frameType uint8, content []byte) ([]byte, error) {
	if d.counter == math.MaxUint64 {
		return nil, ErrBusy
	}
	head := []byte{frameType, version}
	plain, ad := pad(nil, content), d.ad(head)
	nonce := suite.Derive(d.nonces.Bytes(), labelNonce, suite.NonceSize, ad, plain)
	out := make([]byte, 0, frameHead+suite.NonceSize+len(plain)+suite.TagSize)
	out = suite.Seal(append(append(out, head...), nonce...), d.key, nonce, plain, ad)
	d.counter++
	return out, nil
}

// open leaves the counter as it is when the frame does not open.
func (d *direction) open(frameType uint8, frame []byte) ([]byte, error) {
	body, err := frameBody(frame, frameType)
	if err != nil {
		return nil, err
	}
	plain, err := suite.OpenRandom(d.key, body, d.ad(frame[:frameHead]))
	if err != nil {
		return nil, ErrOpen
	}
	d.counter++
	r := wire.NewReader(plain)
	return unpad(r)
}

// ReplyOpener is a client's end of a context. One goroutine at a time may call
// Open, and one SealNext.
type ReplyOpener struct{ reply, next direction }

// Format hides the keys from every verb.
func (ReplyOpener) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[reply keys]") }

// Open opens the next reply, in the order in which they were sealed.
func (o *ReplyOpener) Open(frame []byte) (Response, error) {
	b, err := o.reply.open(FrameReply, frame)
	if err != nil {
		return nil, err
	}
	return ParseResponse(b)
}

// SealNext seals a further request in the context.
func (o *ReplyOpener) SealNext(req Request) ([]byte, error) {
	return o.next.seal(FrameNext, EncodeRequest(req))
}

// ReplySealer is a node's end of a context. One goroutine at a time may call
// Seal, and one OpenNext.
type ReplySealer struct{ reply, next direction }

// Format hides the keys from every verb.
func (ReplySealer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[reply keys]") }

// Seal seals the next reply; frames must leave in the order of the calls.
func (s *ReplySealer) Seal(resp Response) ([]byte, error) {
	b, err := EncodeResponse(resp)
	if err != nil {
		return nil, err
	}
	return s.reply.seal(FrameReply, b)
}

// OpenNext opens a further request of the context.
func (s *ReplySealer) OpenNext(frame []byte) (Request, error) {
	b, err := s.next.open(FrameNext, frame)
	if err != nil {
		return nil, err
	}
	return ParseRequest(b)
}

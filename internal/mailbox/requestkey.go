package mailbox

import (
	"crypto/hpke"
	"fmt"
	"io"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// RequestPublicSize is the size of an MLKEM768X25519 public key in bytes.
	RequestPublicSize = suite.KEMPublicSize + suite.DHSize
	// RequestKeyCertSize is the size of an encoded RequestKeyCert in bytes.
	RequestKeyCertSize = requestKeyBody + suite.SignatureSize
	requestKeyBody     = 1 + identity.NodeIDSize + 3*8 + RequestPublicSize
	// MaxRequestKeyLife bounds an epoch: what is sealed to a key can be read
	// by whoever takes the node before the key is erased.
	MaxRequestKeyLife = 24 * time.Hour

	requestSeedSize = 32
)

// RequestKeyCert is a node's word for the key that requests are sealed to
// during one epoch (spec/mailbox.md §4.6).
type RequestKeyCert struct {
	Node      identity.NodeID
	Epoch     uint64
	NotBefore uint64
	NotAfter  uint64
	Public    []byte // RequestPublicSize bytes
	Signature suite.Signature
}

// Verify checks that the certificate is node's and counts at now.
func (c *RequestKeyCert) Verify(node identity.NodeID, now time.Time) error {
	if c.Node != node || len(c.Public) != RequestPublicSize {
		return fmt.Errorf("request key of another node: %w", ErrBadSignature)
	}
	t, skew := unix(now), seconds(MaxClockSkew)
	if t+skew < c.NotBefore || t > c.NotAfter {
		return fmt.Errorf("request key: %w", ErrExpired)
	}
	if c.NotAfter < c.NotBefore || c.NotAfter-c.NotBefore > seconds(MaxRequestKeyLife) {
		return fmt.Errorf("request key lives too long: %w", ErrExpired)
	}
	if !suite.VerifyKey(node).Verify(labelRequestKey, c.body(), c.Signature) {
		return fmt.Errorf("request key: %w", ErrBadSignature)
	}
	return nil
}

func (c *RequestKeyCert) body() []byte {
	b := append(make([]byte, 0, RequestKeyCertSize), version)
	b = append(b, c.Node[:]...)
	b = wire.AppendUint64(b, c.Epoch)
	b = wire.AppendUint64(b, c.NotBefore)
	b = wire.AppendUint64(b, c.NotAfter)
	return append(b, c.Public...)
}

// Encode returns the certificate's RequestKeyCertSize bytes.
func (c *RequestKeyCert) Encode() []byte { return append(c.body(), c.Signature[:]...) }

// ParseRequestKeyCert reads what Encode writes; it verifies nothing.
func ParseRequestKeyCert(b []byte) (*RequestKeyCert, error) {
	r := wire.NewReader(b)
	if err := readVersion(r, "request key"); err != nil {
		return nil, err
	}
	c := &RequestKeyCert{}
	r.Fixed(c.Node[:])
	c.Epoch, c.NotBefore, c.NotAfter = r.Uint64(), r.Uint64(), r.Uint64()
	c.Public = append([]byte(nil), r.Bytes(RequestPublicSize)...)
	r.Fixed(c.Signature[:])
	if err := finish(r, "request key"); err != nil {
		return nil, err
	}
	return c, nil
}

// RequestKey is a node's secret for one epoch. It is never stored: a node that
// restarts makes another, so that its replay cache may start empty too.
type RequestKey struct {
	cert *RequestKeyCert
	key  hpke.PrivateKey
}

// NewRequestKey makes a fresh key and has the node certify it.
func NewRequestKey(rand io.Reader, node suite.Signer, epoch uint64, notBefore, notAfter time.Time) (*RequestKey, error) {
	seed := make([]byte, requestSeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, err
	}
	key, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	clear(seed)
	if err != nil {
		return nil, fmt.Errorf("mailbox: request key: %w", err)
	}
	c := &RequestKeyCert{
		Node:      identity.NodeID(node.Public()),
		Epoch:     epoch,
		NotBefore: unix(notBefore),
		NotAfter:  unix(notAfter),
		Public:    key.PublicKey().Bytes(),
	}
	c.Signature = node.Sign(labelRequestKey, c.body())
	return &RequestKey{cert: c, key: key}, nil
}

// Cert returns the key's certificate.
func (k *RequestKey) Cert() *RequestKeyCert { return k.cert }

// Erase forgets the secret; OpenRequest then returns ErrUnknownKey. No other
// method may run at the same time.
func (k *RequestKey) Erase() { k.key = nil }

// String hides the key from formatted output.
func (RequestKey) String() string { return "[request key]" }

// Format hides the key from every verb.
func (RequestKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[request key]") }

package link

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

var (
	// ErrIdentity is returned when a peer is not the node that was dialled, or
	// presents a certificate that is no node's.
	ErrIdentity = errors.New("link: peer is not the expected node")
	// ErrNoIdentity is returned when an endpoint without an identity asks for
	// what only nodes may do.
	ErrNoIdentity = errors.New("link: a client has no identity to present")
)

// The validity of node certificates says nothing on purpose: the directory
// decides which keys are nodes', and a clock must not show on the wire.
var (
	certNotBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	certNotAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// selfSigned returns the certificate that a node presents: its identity key
// and nothing else (spec/link.md §4.1). Equal keys give equal certificates.
func selfSigned(key suite.SigningKey) (tls.Certificate, error) {
	priv := key.Ed25519()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    certNotBefore,
		NotAfter:     certNotAfter,
	}
	// Ed25519 signatures need no randomness.
	der, err := x509.CreateCertificate(nil, template, template, priv.Public(), priv)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, nil
}

// certifiedNode returns the identity key in the certificates that a peer
// presented. TLS has already proved that the peer holds the private key
// (CertificateVerify), so nothing else in the certificate counts.
func certifiedNode(certs []*x509.Certificate) (identity.NodeID, error) {
	if len(certs) != 1 {
		return identity.NodeID{}, ErrIdentity
	}
	key, ok := certs[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != identity.NodeIDSize {
		return identity.NodeID{}, ErrIdentity
	}
	return identity.NodeID(key), nil
}

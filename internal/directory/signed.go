package directory

import (
	"fmt"

	"sotto/internal/suite"
)

// MaxSigned bounds a signed document: MaxNodes entries of at most 150 bytes,
// with room.
const MaxSigned = 640 << 10

// Signed returns the document with its signature, as nodes and clients pass it
// on (spec/directory.md §4.3).
func (d *Directory) Signed() []byte {
	return append(append(make([]byte, 0, len(d.signature)+len(d.document)), d.signature[:]...), d.document...)
}

// ParseSigned reads what Signed returns and verifies that key signed it. The
// errors wrap ErrVersion, ErrInvalid or ErrSignature.
func ParseSigned(key suite.VerifyKey, b []byte) (*Network, error) {
	n := &Network{Key: key}
	if len(b) < len(n.Signature) || len(b) > MaxSigned {
		return nil, fmt.Errorf("%w: signed document of %d bytes", ErrInvalid, len(b))
	}
	document := b[copy(n.Signature[:], b):]
	// The signature first: what the key did not sign is not parsed at all.
	if !key.Verify(labelDocument, document, n.Signature) {
		return nil, ErrSignature
	}
	doc, err := ParseDocument(document)
	if err != nil {
		return nil, err
	}
	n.Document = *doc
	return n, nil
}

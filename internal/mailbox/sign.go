package mailbox

import (
	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// What signatures cover (spec/mailbox.md §5.2): under a label of the request's
// own, the version, the address, every field, and for what must be fresh the
// stamp or the challenge. The label names the request, the address the kind.

// Sign signs a put with the mailbox's shared key, or for a card with the
// device's period key and its certificate.
func (p *Put) Sign(key suite.Signer, cert *identity.Certificate) {
	p.Authorization = Authorization{key.Sign(labelPut, p.signed()), cert}
}

func (p *Put) signed() []byte {
	addr := p.Address()
	d := EnvelopeDigest(addr, p.Envelope)
	b := append([]byte{version}, addr[:]...)
	return append(wire.AppendUint64(b, p.Expiry), d[:]...)
}

// Sign signs a fetch under the stamp that it will be sealed with: with the
// owner key, a front door's period key and its certificate, or for a card with
// the shared key.
func (f *Fetch) Sign(key suite.Signer, cert *identity.Certificate, s Stamp) {
	f.Authorization = Authorization{key.Sign(labelFetch, f.signed(s)), cert}
}

func (f *Fetch) signed(s Stamp) []byte {
	addr := f.Address()
	b := f.Cursor.append(append([]byte{version}, addr[:]...))
	return s.append(wire.AppendUint16(b, f.Limit))
}

// Prove answers a challenge to the subscription, with the key that Fetch needs.
func (s *Subscribe) Prove(key suite.Signer, cert *identity.Certificate, node identity.NodeID, c *Challenge) *Prove {
	return &Prove{Authorization{key.Sign(labelProve, s.proved(node, c)), cert}}
}

func (s *Subscribe) proved(node identity.NodeID, c *Challenge) []byte {
	addr := s.Address()
	b := s.Cursor.append(append([]byte{version}, addr[:]...))
	return append(append(b, node[:]...), c.Nonce[:]...)
}

// Sign signs a delete with the owner key, or with a period key and its
// certificate.
func (d *Delete) Sign(key suite.Signer, cert *identity.Certificate) {
	d.Authorization = Authorization{key.Sign(labelDelete, d.signed()), cert}
}

func (d *Delete) signed() []byte {
	addr := d.Address()
	b := wire.AppendUint64(append([]byte{version}, addr[:]...), d.Expiry)
	b = wire.AppendUint16(b, uint16(len(d.Digests)))
	for _, x := range d.Digests {
		b = append(b, x[:]...)
	}
	return b
}

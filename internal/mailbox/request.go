package mailbox

import (
	"fmt"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Tag is the first byte of a request or response and names its type.
type Tag uint8

// Tags of requests (spec/mailbox.md §4.4).
const (
	TagQuote     Tag = 1
	TagOpen      Tag = 2
	TagPut       Tag = 3
	TagFetch     Tag = 4
	TagSubscribe Tag = 5
	TagProve     Tag = 6
	TagDelete    Tag = 7
	TagDirectory Tag = 8
)

// Request is one of *Quote, *Open, *Put, *Fetch, *Subscribe, *Prove, *Delete,
// *Directory.
type Request interface {
	Tag() Tag
	append(b []byte) []byte
}

// Authorization shows the right to a request: a signature by the key that has
// it. Where the owner is a period's blinded key, a device signs with its period
// key and shows the certificate for it.
type Authorization struct {
	Signature   suite.Signature
	Certificate *identity.Certificate // nil for a conversation
}

// Quote asks for a price.
type Quote struct{}

// Open opens a mailbox for its period, or extends it. Anyone may, for work.
type Open struct {
	Locator
	Bytes uint32
	Days  uint16
	Work  Work
}

// Put leaves an envelope until Expiry. Its signature stands alone, without
// time or nonce, because members copy it to one another; putting the same
// envelope twice changes nothing.
type Put struct {
	Locator
	Expiry   uint64
	Envelope []byte
	Authorization
	Work *Work // at a front door only
}

// Fetch asks for what came after Cursor.
type Fetch struct {
	Locator
	Cursor Cursor
	Limit  uint16
	Authorization
}

// Subscribe asks to be told of what comes after Cursor. The node answers with
// a Challenge, and with pushes once a Prove has answered it.
type Subscribe struct {
	Locator
	Cursor Cursor
}

// Prove answers a Challenge on the stream of its Subscribe.
type Prove struct {
	Authorization
}

// Delete removes envelopes. Expiry is when the tombstone may be forgotten; it
// lies no earlier than the latest expiry of what it removes. Its signature
// stands alone like Put's.
type Delete struct {
	Locator
	Digests []Digest
	Expiry  uint64
	Authorization
}

// Directory asks for a directory that is newer than the one of Serial.
type Directory struct{ Serial uint64 }

// Tag implements Request.
func (*Directory) Tag() Tag { return TagDirectory }

// Tag implements Request.
func (*Quote) Tag() Tag { return TagQuote }

// Tag implements Request.
func (*Open) Tag() Tag { return TagOpen }

// Tag implements Request.
func (*Put) Tag() Tag { return TagPut }

// Tag implements Request.
func (*Fetch) Tag() Tag { return TagFetch }

// Tag implements Request.
func (*Subscribe) Tag() Tag { return TagSubscribe }

// Tag implements Request.
func (*Prove) Tag() Tag { return TagProve }

// Tag implements Request.
func (*Delete) Tag() Tag { return TagDelete }

// checkRequest refuses what ParseRequest would not read back.
func checkRequest(req Request) error {
	switch r := req.(type) {
	case *Put:
		if len(r.Envelope) > MaxEnvelope {
			return fmt.Errorf("envelope of %d bytes: %w", len(r.Envelope), ErrTooLarge)
		}
	case *Delete:
		if len(r.Digests) > MaxDigests {
			return fmt.Errorf("delete of %d: %w", len(r.Digests), ErrTooLarge)
		}
	}
	return nil
}

// Until is when the mailbox closes that an Open opens. It follows from the
// request alone, so that all members agree and a repetition changes nothing.
func (o *Open) Until() uint64 { return o.Work.Quote.Issued + uint64(o.Days)*24*60*60 }

// EncodeRequest returns tag, version and fields of a request.
func EncodeRequest(req Request) []byte {
	return req.append([]byte{byte(req.Tag()), version})
}

// ParseRequest reads what EncodeRequest writes. Byte slices alias b.
func ParseRequest(b []byte) (Request, error) {
	r := wire.NewReader(b)
	tag := Tag(r.Uint8())
	if err := readVersion(r, "request"); err != nil {
		return nil, err
	}
	req, err := readRequest(r, tag)
	if err != nil {
		return nil, err
	}
	if err := finish(r, "request"); err != nil {
		return nil, err
	}
	return req, nil
}

func readRequest(r *wire.Reader, tag Tag) (Request, error) {
	switch tag {
	case TagQuote:
		return &Quote{}, nil
	case TagOpen:
		return &Open{Locator: readLocator(r), Bytes: r.Uint32(), Days: r.Uint16(), Work: readWork(r)}, nil
	case TagPut:
		return readPut(r)
	case TagFetch:
		f := &Fetch{Locator: readLocator(r), Cursor: readCursor(r), Limit: r.Uint16()}
		return f, readAuthorization(r, &f.Authorization)
	case TagSubscribe:
		return &Subscribe{Locator: readLocator(r), Cursor: readCursor(r)}, nil
	case TagProve:
		p := &Prove{}
		return p, readAuthorization(r, &p.Authorization)
	case TagDelete:
		return readDelete(r)
	case TagDirectory:
		return &Directory{Serial: r.Uint64()}, nil
	default:
		return nil, fmt.Errorf("request of unknown type %d: %w", tag, ErrFormat)
	}
}

func (*Quote) append(b []byte) []byte { return b }

func (d *Directory) append(b []byte) []byte { return wire.AppendUint64(b, d.Serial) }

func (o *Open) append(b []byte) []byte {
	b = wire.AppendUint16(wire.AppendUint32(o.Locator.append(b), o.Bytes), o.Days)
	return o.Work.append(b)
}

func (p *Put) append(b []byte) []byte {
	b = wire.AppendUint64(p.Locator.append(b), p.Expiry)
	b = p.Authorization.append(b)
	if p.Work == nil {
		b = append(b, 0)
	} else {
		b = p.Work.append(append(b, 1))
	}
	return wire.AppendVec32(b, p.Envelope)
}

func readPut(r *wire.Reader) (*Put, error) {
	p := &Put{Locator: readLocator(r), Expiry: r.Uint64()}
	if err := readAuthorization(r, &p.Authorization); err != nil {
		return nil, err
	}
	has, err := readFlag(r, "work")
	if err != nil {
		return nil, err
	}
	if has {
		w := readWork(r)
		p.Work = &w
	}
	p.Envelope = r.Vec32(MaxEnvelope)
	return p, nil
}

func (f *Fetch) append(b []byte) []byte {
	b = wire.AppendUint16(f.Cursor.append(f.Locator.append(b)), f.Limit)
	return f.Authorization.append(b)
}

func (s *Subscribe) append(b []byte) []byte { return s.Cursor.append(s.Locator.append(b)) }

func (p *Prove) append(b []byte) []byte { return p.Authorization.append(b) }

func (d *Delete) append(b []byte) []byte {
	b = wire.AppendUint64(d.Locator.append(b), d.Expiry)
	b = d.Authorization.append(b)
	b = wire.AppendUint16(b, uint16(len(d.Digests)))
	for _, x := range d.Digests {
		b = append(b, x[:]...)
	}
	return b
}

func readDelete(r *wire.Reader) (*Delete, error) {
	d := &Delete{Locator: readLocator(r), Expiry: r.Uint64()}
	if err := readAuthorization(r, &d.Authorization); err != nil {
		return nil, err
	}
	n := int(r.Uint16())
	if n > MaxDigests {
		return nil, malformed("delete", wire.ErrTooLong)
	}
	raw := r.Bytes(n * DigestSize)
	for ; len(raw) > 0; raw = raw[DigestSize:] {
		d.Digests = append(d.Digests, Digest(raw[:DigestSize]))
	}
	return d, nil
}

func (a *Authorization) append(b []byte) []byte {
	b = append(b, a.Signature[:]...)
	if a.Certificate == nil {
		return append(b, 0)
	}
	return append(append(b, 1), a.Certificate.Encode()...)
}

func readAuthorization(r *wire.Reader, a *Authorization) error {
	r.Fixed(a.Signature[:])
	has, err := readFlag(r, "certificate")
	if err != nil || !has {
		return err
	}
	a.Certificate, err = identity.ParseCertificate(r.Bytes(identity.CertificateSize))
	if err != nil {
		return malformed("authorization", err)
	}
	return nil
}

// readFlag reads a byte that says whether an optional field follows.
func readFlag(r *wire.Reader, what string) (bool, error) {
	switch v := r.Uint8(); v {
	case 0, 1:
		return v == 1, nil
	default:
		return false, fmt.Errorf("%s: flag of %d: %w", what, v, ErrFormat)
	}
}

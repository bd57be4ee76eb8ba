package mailbox

import (
	"fmt"

	"sotto/internal/wire"
)

// Tags of responses (spec/mailbox.md §4.5).
const (
	TagQuoteReply     Tag = 0x81
	TagOpened         Tag = 0x82
	TagStored         Tag = 0x83
	TagBatch          Tag = 0x84
	TagChallenge      Tag = 0x85
	TagSubscribed     Tag = 0x86
	TagDeleted        Tag = 0x87
	TagPushed         Tag = 0x88
	TagDirectoryReply Tag = 0x89
	TagFailure        Tag = 0xff
)

// Response is one of *QuoteReply, *Opened, *Stored, *Batch, *Challenge,
// *Subscribed, *Pushed, *Deleted, *DirectoryReply, *Failure.
type Response interface {
	Tag() Tag
	append(b []byte) []byte
}

// QuoteReply answers Quote.
type QuoteReply struct{ Quote WorkQuote }

// Opened answers Open: until when the mailbox stands, and its size.
type Opened struct {
	Until uint64
	Bytes uint32
}

// Stored answers Put, once a majority has the envelope on disk.
type Stored struct{ Receipts []Receipt }

// Item is a stored envelope.
type Item struct {
	Digest   Digest
	Expiry   uint64
	Envelope []byte
}

// Batch answers Fetch: at most MaxFetchLimit items, and MaxBatchBytes of
// envelopes.
type Batch struct {
	Items []Item
	Next  Cursor
	More  bool
}

// ChallengeSize is the size of a Challenge's nonce in bytes.
const ChallengeSize = 32

// Challenge answers Subscribe with a fresh nonce.
type Challenge struct{ Nonce [ChallengeSize]byte }

// Subscribed answers Prove.
type Subscribed struct{}

// Pushed brings an envelope to a subscriber, and the cursor behind it.
type Pushed struct {
	Item   Item
	Cursor Cursor
}

// Deleted answers Delete.
type Deleted struct{}

// MaxDirectory bounds a signed document (spec/directory.md §3).
const MaxDirectory = 640 << 10

// DirectoryReply answers Directory with a signed document, or with nothing when
// the node has none that is newer. The network's key alone vouches for it.
type DirectoryReply struct{ Signed []byte }

// Failure refuses a request. It is an error that wraps its code's sentinel.
type Failure struct {
	Code       ErrorCode
	Message    string
	RetryAfter uint32 // seconds; 0 says nothing
}

// Tag implements Response.
func (*DirectoryReply) Tag() Tag { return TagDirectoryReply }

// Tag implements Response.
func (*QuoteReply) Tag() Tag { return TagQuoteReply }

// Tag implements Response.
func (*Opened) Tag() Tag { return TagOpened }

// Tag implements Response.
func (*Stored) Tag() Tag { return TagStored }

// Tag implements Response.
func (*Batch) Tag() Tag { return TagBatch }

// Tag implements Response.
func (*Challenge) Tag() Tag { return TagChallenge }

// Tag implements Response.
func (*Subscribed) Tag() Tag { return TagSubscribed }

// Tag implements Response.
func (*Pushed) Tag() Tag { return TagPushed }

// Tag implements Response.
func (*Deleted) Tag() Tag { return TagDeleted }

// Tag implements Response.
func (*Failure) Tag() Tag { return TagFailure }

// EncodeResponse returns tag, version and fields of a response. A response
// over the limits that ParseResponse keeps is ErrTooLarge.
func EncodeResponse(resp Response) ([]byte, error) {
	if err := checkResponse(resp); err != nil {
		return nil, err
	}
	return resp.append([]byte{byte(resp.Tag()), version}), nil
}

func checkResponse(resp Response) error {
	switch v := resp.(type) {
	case *Stored:
		if len(v.Receipts) > MaxReceipts {
			return fmt.Errorf("%d receipts: %w", len(v.Receipts), ErrTooLarge)
		}
	case *Batch:
		n := 0
		for _, it := range v.Items {
			n += len(it.Envelope)
		}
		if len(v.Items) > MaxFetchLimit || n > MaxBatchBytes {
			return fmt.Errorf("batch of %d items, %d bytes: %w", len(v.Items), n, ErrTooLarge)
		}
	case *Pushed:
		if len(v.Item.Envelope) > MaxEnvelope {
			return fmt.Errorf("push of %d bytes: %w", len(v.Item.Envelope), ErrTooLarge)
		}
	case *DirectoryReply:
		if len(v.Signed) > MaxDirectory {
			return fmt.Errorf("directory of %d bytes: %w", len(v.Signed), ErrTooLarge)
		}
	}
	return nil
}

// ParseResponse reads what EncodeResponse writes. Byte slices alias b.
func ParseResponse(b []byte) (Response, error) {
	r := wire.NewReader(b)
	tag := Tag(r.Uint8())
	if err := readVersion(r, "response"); err != nil {
		return nil, err
	}
	resp, err := readResponse(r, tag)
	if err != nil {
		return nil, err
	}
	if err := finish(r, "response"); err != nil {
		return nil, err
	}
	return resp, nil
}

func readResponse(r *wire.Reader, tag Tag) (Response, error) {
	switch tag {
	case TagQuoteReply:
		return &QuoteReply{Quote: readQuote(r)}, nil
	case TagOpened:
		return &Opened{Until: r.Uint64(), Bytes: r.Uint32()}, nil
	case TagStored:
		return readStored(r)
	case TagBatch:
		return readBatch(r)
	case TagChallenge:
		c := &Challenge{}
		r.Fixed(c.Nonce[:])
		return c, nil
	case TagSubscribed:
		return &Subscribed{}, nil
	case TagPushed:
		return &Pushed{Item: readItem(r), Cursor: readCursor(r)}, nil
	case TagDeleted:
		return &Deleted{}, nil
	case TagDirectoryReply:
		return &DirectoryReply{Signed: r.Vec32(MaxDirectory)}, nil
	case TagFailure:
		return &Failure{Code: ErrorCode(r.Uint8()), RetryAfter: r.Uint32(), Message: string(r.Vec8(MaxMessage))}, nil
	default:
		return nil, fmt.Errorf("response of unknown type %d: %w", tag, ErrFormat)
	}
}

func (q *QuoteReply) append(b []byte) []byte { return q.Quote.append(b) }

func (o *Opened) append(b []byte) []byte {
	return wire.AppendUint32(wire.AppendUint64(b, o.Until), o.Bytes)
}

func (s *Stored) append(b []byte) []byte {
	b = append(b, byte(len(s.Receipts)))
	for i := range s.Receipts {
		b = wire.AppendVec16(b, s.Receipts[i].Encode())
	}
	return b
}

func readStored(r *wire.Reader) (*Stored, error) {
	n := int(r.Uint8())
	if n > MaxReceipts {
		return nil, malformed("stored", wire.ErrTooLong)
	}
	s := &Stored{}
	for range n {
		rec, err := ParseReceipt(r.Vec16(MaxReceiptSize))
		if err != nil {
			return nil, err
		}
		s.Receipts = append(s.Receipts, *rec)
	}
	return s, nil
}

func (it *Item) append(b []byte) []byte {
	b = wire.AppendUint64(append(b, it.Digest[:]...), it.Expiry)
	return wire.AppendVec32(b, it.Envelope)
}

func readItem(r *wire.Reader) (it Item) {
	r.Fixed(it.Digest[:])
	it.Expiry, it.Envelope = r.Uint64(), r.Vec32(MaxEnvelope)
	return it
}

func (t *Batch) append(b []byte) []byte {
	more := byte(0)
	if t.More {
		more = 1
	}
	b = wire.AppendUint16(append(t.Next.append(b), more), uint16(len(t.Items)))
	for i := range t.Items {
		b = t.Items[i].append(b)
	}
	return b
}

func readBatch(r *wire.Reader) (*Batch, error) {
	t := &Batch{Next: readCursor(r)}
	var err error
	if t.More, err = readFlag(r, "batch"); err != nil {
		return nil, err
	}
	n, size := int(r.Uint16()), 0
	if n > MaxFetchLimit {
		return nil, malformed("batch", wire.ErrTooLong)
	}
	for range n {
		it := readItem(r)
		if r.Err() != nil {
			break
		}
		if size += len(it.Envelope); size > MaxBatchBytes {
			return nil, malformed("batch", wire.ErrTooLong)
		}
		t.Items = append(t.Items, it)
	}
	return t, nil
}

func (c *Challenge) append(b []byte) []byte { return append(b, c.Nonce[:]...) }

func (*Subscribed) append(b []byte) []byte { return b }

func (p *Pushed) append(b []byte) []byte { return p.Cursor.append(p.Item.append(b)) }

func (*Deleted) append(b []byte) []byte { return b }

func (d *DirectoryReply) append(b []byte) []byte { return wire.AppendVec32(b, d.Signed) }

func (f *Failure) append(b []byte) []byte {
	b = wire.AppendUint32(append(b, byte(f.Code)), f.RetryAfter)
	return wire.AppendVec8(b, []byte(f.Message[:min(len(f.Message), MaxMessage)]))
}

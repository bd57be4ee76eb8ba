package client

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// What travels encrypted between two clients (spec/client.md §4): CBOR in core
// deterministic encoding, signed by nobody.

const (
	contentVersion = 1

	// maxText keeps a message within the 64 KiB class, with its headers.
	maxText = 60 << 10
	// maxFirstText keeps a first contact within its 16 KiB, with keys and
	// certificate; it is also what a stranger can make us read.
	maxFirstText = 8 << 10
	// maxReceipts fills what an envelope of the smallest class has room for.
	maxReceipts = 96
	// maxContent bounds what is parsed: the longest text and all receipts.
	maxContent = maxText + 4<<10
	// maxPayload bounds a first message's payload (ratchet.MaxPayload).
	maxPayload = 12 << 10
	idSize     = 16
)

// The types of a content. Others are a later version's: they are skipped.
const (
	typeText     = 1
	typeReceipts = 2
)

var (
	errContent        = errors.New("client: malformed content")
	errContentVersion = errors.New("client: content of an unknown version")
)

// content is one message as its recipient reads it.
type content struct {
	Version  uint64    `cbor:"0,keyasint"`
	Type     uint64    `cbor:"1,keyasint"`
	ID       []byte    `cbor:"2,keyasint,omitempty"`
	SentAt   int64     `cbor:"3,keyasint,omitempty"` // Unix milliseconds
	Counter  uint64    `cbor:"4,keyasint,omitempty"` // of texts by this device to this contact, from 1
	Text     string    `cbor:"5,keyasint,omitempty"`
	Receipts []receipt `cbor:"6,keyasint,omitempty"`
}

// receipt says how far a message of the reader's has come.
type receipt struct {
	_    struct{} `cbor:",toarray"`
	ID   []byte
	Kind uint64 // vault.ReceiptDelivered or vault.ReceiptRead
}

// opening is the payload of a first message: the conversation that it invites
// to, and its first content.
type opening struct {
	Version    uint64 `cbor:"0,keyasint"`
	Invitation []byte `cbor:"1,keyasint"`
	Created    int64  `cbor:"2,keyasint"` // Unix milliseconds
	Content    []byte `cbor:"3,keyasint"`
}

var encMode, decMode = func() (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("client: " + err.Error()) // the options are constant
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  4,
		MaxArrayElements: 256,
		MaxMapPairs:      32,
	}.DecMode()
	if err != nil {
		panic("client: " + err.Error())
	}
	return enc, dec
}()

func encode(v any) []byte {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic("client: encode: " + err.Error()) // only structs of this file come here
	}
	return b
}

func (c *content) encode() []byte {
	c.Version = contentVersion
	return encode(c)
}

// parseContent refuses what is out of bounds. Fields that it does not know are
// a later version's and skipped.
func parseContent(b []byte) (*content, error) {
	if len(b) > maxContent {
		return nil, fmt.Errorf("%w: %d bytes", errContent, len(b))
	}
	c := &content{}
	if err := decMode.Unmarshal(b, c); err != nil {
		return nil, errContent // the decoder's words may quote the text
	}
	if c.Version != contentVersion {
		return nil, fmt.Errorf("%w: %d", errContentVersion, c.Version)
	}
	if len(c.Receipts) > maxReceipts {
		return nil, fmt.Errorf("%w: %d receipts", errContent, len(c.Receipts))
	}
	for _, r := range c.Receipts {
		if len(r.ID) != idSize {
			return nil, fmt.Errorf("%w: receipt's ID", errContent)
		}
	}
	if c.Type == typeText {
		return c, c.checkText()
	}
	return c, nil
}

func (c *content) checkText() error {
	switch {
	case len(c.ID) != idSize:
		return fmt.Errorf("%w: ID of %d bytes", errContent, len(c.ID))
	case c.Counter == 0 || c.Counter > 1<<62:
		return fmt.Errorf("%w: counter", errContent)
	case c.SentAt < 0:
		return fmt.Errorf("%w: time", errContent)
	case len(c.Text) > maxText || c.Text == "" || !utf8.ValidString(c.Text):
		return fmt.Errorf("%w: text", errContent)
	}
	return nil
}

func (o *opening) encode() []byte {
	o.Version = contentVersion
	return encode(o)
}

func parseOpening(b []byte) (*opening, *content, error) {
	if len(b) > maxPayload {
		return nil, nil, fmt.Errorf("%w: %d bytes", errContent, len(b))
	}
	o := &opening{}
	if err := decMode.Unmarshal(b, o); err != nil {
		return nil, nil, errContent
	}
	if o.Version != contentVersion {
		return nil, nil, fmt.Errorf("%w: %d", errContentVersion, o.Version)
	}
	c, err := parseContent(o.Content)
	if err != nil {
		return nil, nil, err
	}
	if o.Created < 0 || c.Type == typeText && len(c.Text) > maxFirstText {
		return nil, nil, fmt.Errorf("%w: opening", errContent)
	}
	return o, c, nil
}

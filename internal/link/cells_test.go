package link

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"testing"

	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/suite"
)

// FuzzLinkHello feeds what a stranger presents at the start of a connection,
// its certificate, to the code that takes a node's identity from it.
func FuzzLinkHello(f *testing.F) {
	var rand seeds
	key, err := suite.NewSigningKey(&rand)
	if err != nil {
		f.Fatal(err)
	}
	cert, err := selfSigned(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cert.Certificate[0])
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, err := certifiedNode([]*x509.Certificate{c})
		if err != nil {
			if !errors.Is(err, ErrIdentity) {
				t.Fatalf("got %v, want ErrIdentity", err)
			}
			return
		}
		if id == (identity.NodeID{}) && !bytes.Contains(der, id[:]) {
			t.Fatal("an identity that the certificate does not hold")
		}
	})
}

func TestCertificateIsAFunctionOfTheKey(t *testing.T) {
	var rand seeds
	key, err := suite.NewSigningKey(&rand)
	if err != nil {
		t.Fatal(err)
	}
	a, err := selfSigned(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := selfSigned(key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Certificate[0], b.Certificate[0]) {
		t.Fatal("two certificates of one key differ")
	}
	c, err := x509.ParseCertificate(a.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	id, err := certifiedNode([]*x509.Certificate{c})
	if err != nil || id != identity.NodeID(key.Public()) {
		t.Fatalf("certificate names %v, %v", id, err)
	}
	for name, certs := range map[string][]*x509.Certificate{"none": nil, "two": {c, c}} {
		if _, err := certifiedNode(certs); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s certificates: got %v, want ErrIdentity", name, err)
		}
	}
}

func TestBatchTake(t *testing.T) {
	a, b := NewBatch(), NewBatch()
	defer a.Release()
	defer b.Release()
	for i := range 20 {
		*a.Next() = *numbered(i)
		*b.Next() = *numbered(20 + i)
	}
	a.Take(b)
	if a.Len() != BatchCells || b.Len() != 40-BatchCells || !a.Full() {
		t.Fatalf("%d and %d cells", a.Len(), b.Len())
	}
	for i := range 40 {
		c := a.Cell(min(i, BatchCells-1))
		if i >= BatchCells {
			c = b.Cell(i - BatchCells)
		}
		if c.CircID() != uint32(i) {
			t.Fatalf("cell %d is %d", i, c.CircID())
		}
	}
	if len(a.Bytes()) != BatchBytes || len(b.Bytes()) != b.Len()*onion.CellSize {
		t.Fatal("wrong size on the wire")
	}
}

// chopped is a stream that hands out its bytes in pieces of given sizes.
type chopped struct {
	stream
	bytes  []byte
	pieces []byte
}

func (s *chopped) Read(p []byte) (int, error) {
	if len(s.bytes) == 0 {
		return 0, io.EOF
	}
	n := len(p)
	if len(s.pieces) > 0 {
		n = 1 + 16*int(s.pieces[0])
		s.pieces = s.pieces[1:]
	}
	n = copy(p[:min(n, len(p))], s.bytes)
	s.bytes = s.bytes[n:]
	return n, nil
}

func (s *chopped) Peek(p []byte) (int, error) {
	n := copy(p, s.bytes)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// FuzzCells reads a stream of any bytes that arrive in any pieces: what comes
// out is its whole cells in order, and an error for what is left over.
func FuzzCells(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1, 2, 3}, onion.CellSize), []byte{1, 200, 0, 0, 72}, true)
	f.Add([]byte("half a cell"), []byte{}, false)
	f.Fuzz(func(t *testing.T, in, pieces []byte, single bool) {
		ch := &Channel{str: &chopped{bytes: in, pieces: pieces}}
		var out []byte
		var err error
		for err == nil {
			if single {
				var c onion.Cell
				if err = ch.ReadCell(&c); err == nil {
					out = append(out, c[:]...)
				}
				continue
			}
			b := NewBatch()
			if err = ch.ReadBatch(b); err == nil {
				out = append(out, b.Bytes()...)
			}
			b.Release()
		}
		if !bytes.Equal(out, in[:len(in)/onion.CellSize*onion.CellSize]) {
			t.Fatal("cells differ from the stream")
		}
		want := io.EOF
		if len(in) != len(out) {
			want = ErrPartialCell
		}
		if err != want {
			t.Fatalf("after %d of %d bytes: got %v, want %v", len(out), len(in), err, want)
		}
	})
}

// BenchmarkCells is the rate of cells on one channel over loopback.
func BenchmarkCells(b *testing.B) {
	w := newWorld(b, 2, nil)
	far, node := w.node(1)
	near := w.client()
	defer closeAll(b, near, far)
	out, in, _ := pair(b, near, far, node)
	b.SetBytes(onion.CellSize)
	b.ReportAllocs()
	done := make(chan error, 1)
	b.ResetTimer()
	go func() {
		batch := NewBatch()
		defer batch.Release()
		for got := 0; got < b.N; got += batch.Len() {
			batch.Truncate(0)
			if err := in.ReadBatch(batch); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	batch := NewBatch()
	defer batch.Release()
	for sent := 0; sent < b.N; sent += batch.Len() {
		batch.Truncate(0)
		for !batch.Full() && sent+batch.Len() < b.N {
			batch.Next().SetHeader(1, onion.CmdRelay)
		}
		if err := out.WriteBatch(batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

package directory_test

import (
	"bytes"
	"testing"

	"sotto/internal/directory"
)

// A network that was parsed is verified, encodes to something that parses
// alike, and has a swarm for every address.
func FuzzNetwork(f *testing.F) {
	for _, nodes := range []int{1, 3, 15} {
		b, err := local(f, nodes, 5).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"version":1,"network":"x","created":"2026-03-01T12:00:00Z","key":"","signature":"","nodes":[]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := directory.ParseNetwork(in)
		if err != nil {
			return
		}
		first, err := n.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := directory.ParseNetwork(first)
		if err != nil {
			t.Fatalf("what was encoded does not parse: %v", err)
		}
		second, err := again.Encode()
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("encodings differ (%v)", err)
		}
		d, err := again.Directory()
		if err != nil || len(d.SwarmOf([32]byte{1})) == 0 {
			t.Fatalf("no swarm for an address (%v)", err)
		}
	})
}

// What a stranger sends in place of a signed document is refused, and what is
// accepted is what the key signed.
func FuzzSigned(f *testing.F) {
	d := verified(f, local(f, 5, 5))
	f.Add(d.Signed())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := directory.ParseSigned(d.NetworkKey(), in)
		if err != nil {
			return
		}
		if again := verified(t, n); !bytes.Equal(again.Signed(), in) {
			t.Fatal("accepted another encoding")
		}
	})
}

// The canonical layout has one encoding for each document.
func FuzzDocument(f *testing.F) {
	for _, nodes := range []int{1, 3, 15} {
		n := local(f, nodes, 5)
		b, err := n.Document.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		g, err := directory.ParseDocument(in)
		if err != nil {
			return
		}
		out, err := g.Encode()
		if err != nil || !bytes.Equal(in, out) {
			t.Fatalf("accepted bytes are not canonical (%v)", err)
		}
	})
}

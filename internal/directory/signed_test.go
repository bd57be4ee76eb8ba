package directory_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
)

func TestSignedComesBack(t *testing.T) {
	d := verified(t, local(t, 15, 5))
	n, err := directory.ParseSigned(d.NetworkKey(), d.Signed())
	if err != nil {
		t.Fatal(err)
	}
	if again := verified(t, n); !bytes.Equal(again.Signed(), d.Signed()) || again.Len() != d.Len() {
		t.Fatal("another document came back")
	}
}

func TestParseSignedRefuses(t *testing.T) {
	d := verified(t, local(t, 6, 5))
	good := d.Signed()
	other, err := suite.NewSigningKey(stream(9))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, tc := range map[string]struct {
		key  suite.VerifyKey
		b    []byte
		want error
	}{
		"another key":   {other.Public(), good, directory.ErrSignature},
		"a changed bit": {d.NetworkKey(), flipped, directory.ErrSignature},
		"cut":           {d.NetworkKey(), good[:len(good)-1], directory.ErrSignature},
		"no signature":  {d.NetworkKey(), good[:63], directory.ErrInvalid},
		"too long":      {d.NetworkKey(), make([]byte, directory.MaxSigned+1), directory.ErrInvalid},
	} {
		if _, err := directory.ParseSigned(tc.key, tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

// The largest document that the rules allow has room in MaxSigned.
func TestLargestSigned(t *testing.T) {
	key, err := suite.NewSigningKey(stream(2))
	if err != nil {
		t.Fatal(err)
	}
	doc := directory.Document{Name: strings.Repeat("n", directory.MaxName), Created: created}
	for i := range directory.MaxNodes {
		n := directory.Node{
			Operator: fmt.Sprintf("%0*d", directory.MaxOperator, i), Swarm: directory.SwarmID(i / directory.MaxSwarm),
			Addr: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)}), 4433),
		}
		n.ID = identity.NodeID{31: 1, 1: byte(i >> 8), 2: byte(i)}
		n.OnionKey = suite.DHPublic{31: 1, 1: byte(i >> 8), 2: byte(i)}
		doc.Nodes = append(doc.Nodes, n)
	}
	n, err := directory.SignDocument(key, doc)
	if err != nil {
		t.Fatal(err)
	}
	signed := verified(t, n).Signed()
	if len(signed) > directory.MaxSigned {
		t.Fatalf("%d bytes, over %d", len(signed), directory.MaxSigned)
	}
	if _, err := directory.ParseSigned(key.Public(), signed); err != nil {
		t.Fatal(err)
	}
}

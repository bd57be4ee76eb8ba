package onion

import (
	"bytes"
	"errors"
	"testing"
)

func handshakeBytes() []byte {
	b := make([]byte, HandshakeSize)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestCreateIsTwoCells(t *testing.T) {
	for _, cmd := range []Command{CmdCreate, CmdCreated} {
		cells, err := SplitCreate(handshakeBytes(), 7, cmd)
		if err != nil {
			t.Fatal(err)
		}
		for i := range cells {
			if err := CheckHeader(&cells[i]); err != nil {
				t.Fatal(err)
			}
			if cells[i].CircID() != 7 || cells[i].Command() != cmd {
				t.Fatalf("part %d: circuit %d, %v", i, cells[i].CircID(), cells[i].Command())
			}
		}
		got, err := JoinCreate(&cells[0], &cells[1], cmd)
		if err != nil {
			t.Fatal(err)
		}
		equalBytes(t, "handshake", got, handshakeBytes())
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, n := range []int{0, HandshakeSize - 1, HandshakeSize + 1} {
		if _, err := SplitCreate(make([]byte, n), 1, CmdCreate); !errors.Is(err, ErrCreate) {
			t.Errorf("%d bytes: got %v, want ErrCreate", n, err)
		}
	}
	if _, err := SplitCreate(handshakeBytes(), 1, CmdRelay); !errors.Is(err, ErrCommand) {
		t.Errorf("RELAY: got %v, want ErrCommand", err)
	}
}

func TestJoinRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(first, second *Cell)
		want   error
	}{
		"swapped":       {func(a, b *Cell) { *a, *b = *b, *a }, ErrCreate},
		"repeated":      {func(a, b *Cell) { *b = *a }, ErrCreate},
		"two circuits":  {func(_, b *Cell) { b.SetCircID(8) }, ErrCreate},
		"other command": {func(_, b *Cell) { b[offCommand] = byte(CmdCreated) }, ErrCommand},
		"version":       {func(a, _ *Cell) { a[offVersion] = 2 }, ErrVersion},
		"third part":    {func(_, b *Cell) { b[offPart] = 2 }, ErrReserved},
		"padding set":   {func(_, b *Cell) { b[CellSize-1] = 1 }, ErrReserved},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cells, err := SplitCreate(handshakeBytes(), 7, CmdCreate)
			if err != nil {
				t.Fatal(err)
			}
			tc.change(&cells[0], &cells[1])
			if _, err := JoinCreate(&cells[0], &cells[1], CmdCreate); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestCheckHeader(t *testing.T) {
	tests := map[string]struct {
		header [HeaderSize]byte
		want   error
	}{
		"padding":              {[8]byte{0, 0, 0, 0, 0, 1, 0, 0}, nil},
		"relay":                {[8]byte{1, 2, 3, 4, 3, 1, 0, 0}, nil},
		"second part":          {[8]byte{1, 2, 3, 4, 1, 1, 1, 0}, nil},
		"version 0":            {[8]byte{1, 2, 3, 4, 3, 0, 0, 0}, ErrVersion},
		"version 2":            {[8]byte{1, 2, 3, 4, 3, 2, 0, 0}, ErrVersion},
		"early":                {[8]byte{1, 2, 3, 4, 5, 1, 0, 0}, nil},
		"unknown command":      {[8]byte{1, 2, 3, 4, 6, 1, 0, 0}, ErrCommand},
		"part of a relay cell": {[8]byte{1, 2, 3, 4, 3, 1, 1, 0}, ErrReserved},
		"reserved byte":        {[8]byte{1, 2, 3, 4, 3, 1, 0, 1}, ErrReserved},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var c Cell
			copy(c[:], tc.header[:])
			if err := CheckHeader(&c); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestDestroyCell(t *testing.T) {
	var c Cell
	copy(c.Body(), "what was there before")
	c.SetDestroy(9, ReasonLinkLost)
	if err := CheckHeader(&c); err != nil {
		t.Fatal(err)
	}
	if c.CircID() != 9 || c.Command() != CmdDestroy || c.DestroyReason() != ReasonLinkLost {
		t.Fatalf("circuit %d, %v, %v", c.CircID(), c.Command(), c.DestroyReason())
	}
	if !bytes.Equal(c.Body()[1:], make([]byte, BodySize-1)) {
		t.Fatal("the rest of the body is not zero")
	}
}

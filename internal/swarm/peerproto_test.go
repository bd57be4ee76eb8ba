package swarm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

var testTime = time.Unix(1_800_000_000, 0)

func testKey(n byte) suite.SigningKey {
	return must(suite.SigningKeyFrom(bytes.Repeat([]byte{n}, suite.SigningSeedSize)))
}

func TestHello(t *testing.T) {
	a, b := testKey(1), identity.NodeID(testKey(2).Public())
	from := identity.NodeID(a.Public())
	good := encodeHello(a, b, testTime)
	if err := checkHello(good, from, b, testTime); err != nil {
		t.Fatal(err)
	}
	change := func(i int) []byte {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		return bad
	}
	late := testTime.Add(mailbox.MaxClockSkew + time.Second)
	for name, err := range map[string]error{
		"other link":  checkHello(good, b, b, testTime),
		"other node":  checkHello(good, from, from, testTime),
		"late":        checkHello(good, from, b, late),
		"early":       checkHello(encodeHello(a, b, late), from, b, testTime),
		"signature":   checkHello(change(helloSize-1), from, b, testTime),
		"wrong key":   checkHello(encodeHello(testKey(3), b, testTime), from, b, testTime),
		"time edited": checkHello(change(helloBody-1), from, b, testTime),
	} {
		if !errors.Is(err, ErrPeer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, in := range map[string][]byte{"version": change(0), "short": good[:40], "long": append(bytes.Clone(good), 0)} {
		if err := checkHello(in, from, b, testTime); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCountsAreBounded(t *testing.T) {
	many := binary.BigEndian.AppendUint16(nil, 0xffff)
	if _, err := parseRefs(many); !errors.Is(err, ErrProtocol) {
		t.Errorf("references: %v", err)
	}
	if _, err := parseRecords(many); !errors.Is(err, ErrProtocol) {
		t.Errorf("records: %v", err)
	}
	if _, err := parseLogPage(append(make([]byte, 17), many...)); !errors.Is(err, ErrProtocol) {
		t.Errorf("log page: %v", err)
	}
}

func testEntries() []store.LogEntry {
	return []store.LogEntry{
		{Seq: 3, Kind: store.KindGrant, Address: [32]byte{1}, Ref: [32]byte{2}, Expiry: 9},
		{Seq: 5, Kind: store.KindEnvelope, Address: [32]byte{3}, Ref: [32]byte{4}, Expiry: 8},
	}
}

// FuzzPeer reads every frame between members with every parser; what is read
// is written alike.
func FuzzPeer(f *testing.F) {
	refs := []ref{{store.KindEnvelope, [32]byte{1}, [32]byte{2}}}
	f.Add(encodeHello(testKey(1), identity.NodeID{2}, testTime))
	f.Add(encodeCall(opPut, 7, []byte("body")))
	f.Add(encodeChange(keeperSet{1}, []byte("request")))
	f.Add(logQuery{1, 2, 3}.encode())
	f.Add(logPage{1, 2, true, testEntries()}.encode())
	f.Add(encodeRefs(refs))
	f.Add(encodeRecords([][]byte{[]byte("record"), nil}))
	f.Fuzz(func(t *testing.T, in []byte) {
		same := func(what string, out []byte) {
			if !bytes.Equal(in, out) {
				t.Errorf("%s is not written as it was read", what)
			}
		}
		_ = checkHello(in, identity.NodeID(testKey(1).Public()), identity.NodeID{2}, testTime)
		if op, id, body, err := parseCall(in); err == nil {
			same("call", encodeCall(opcode(op), id, body))
		}
		if k, req, err := parseChange(in); err == nil {
			same("change", encodeChange(k, req))
		}
		if q, err := parseLogQuery(in); err == nil {
			same("log query", q.encode())
		}
		if p, err := parseLogPage(in); err == nil {
			same("log page", p.encode())
		}
		if x, err := parseRefs(in); err == nil {
			same("references", encodeRefs(x))
		}
		if x, err := parseRecords(in); err == nil {
			same("records", encodeRecords(x))
		}
	})
}

// encodeCall is a call or a reply without its frame.
func encodeCall(first opcode, id uint64, body []byte) []byte {
	return appendCall(nil, uint8(first), id, body)[4:]
}

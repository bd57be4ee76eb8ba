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
	state := keeperState{}.append(nil)
	if _, err := parseMailboxPage(append(append(state, 0), many...)); !errors.Is(err, ErrProtocol) {
		t.Errorf("mailbox page: %v", err)
	}
	state[len(state)-1] = wholeSerials + 1
	if _, err := parseMoveReply(append(state, make([]byte, 8*(wholeSerials+1))...)); !errors.Is(err, ErrProtocol) {
		t.Errorf("move reply: %v", err)
	}
	huge := append(make([]byte, 10), 0xff)
	if _, err := parseReconcileCall(huge); !errors.Is(err, ErrProtocol) {
		t.Errorf("reconcile call: %v", err)
	}
	ids := append(append(make([]byte, 10), 1, queryList, 0, 1, 0xff), many...)
	if _, err := parseReconcileCall(ids); !errors.Is(err, ErrProtocol) {
		t.Errorf("short ids: %v", err)
	}
	for name, in := range map[string][]byte{
		"answers": {0xff}, "parts": {1, answerParts, 0xff}, "names": append([]byte{1, answerNames, 0}, many...), "kind": {1, 9},
	} {
		if _, err := parseAnswers(in); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testCall() reconcileCall {
	return reconcileCall{section: 3, salt: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, queries: []query{
		{mode: queryCompare, lo: store.After(1_800_000_000), hi: store.End, fingerprint: [16]byte{9}},
		{mode: queryList, lo: store.First, hi: "\x01\x02", ids: [][4]byte{{1, 2, 3, 4}, {5, 6, 7, 8}}},
	}}
}

func testAnswers() []answer {
	return []answer{
		{kind: answerSame},
		{kind: answerParts, parts: []part{{"\x01", 7, [16]byte{1}}, {store.End, 8, [16]byte{2}}}},
		{kind: answerNames, upTo: store.End, names: []store.Name{{Expiry: 9, Kind: store.KindGrant, Address: [32]byte{1}, Ref: [32]byte{2}}}},
	}
}

func testMailboxQuery() mailboxQuery {
	return mailboxQuery{serial: 7, address: [32]byte{1}, after: store.Reference{Kind: store.KindEnvelope, Ref: [32]byte{2}}}
}

func testMailboxPage() mailboxPage {
	return mailboxPage{
		state: keeperState{gone: true, floor: 2, whole: []uint64{3, 5}}, more: true,
		refs: []store.Reference{{Kind: store.KindGrant, Ref: [32]byte{1}}, {Kind: store.KindTombstone, Ref: [32]byte{2}}},
	}
}

// FuzzPeer reads every frame between members with every parser; what is read
// is written alike.
func FuzzPeer(f *testing.F) {
	refs := []ref{{store.KindEnvelope, [32]byte{1}, [32]byte{2}}}
	f.Add(encodeHello(testKey(1), identity.NodeID{2}, testTime))
	f.Add(encodeCall(opPut, 7, []byte("body")))
	f.Add(encodeChange(keeperSet{1}, []byte("request")))
	f.Add(testCall().encode())
	f.Add(encodeAnswers(testAnswers()))
	f.Add(testMailboxQuery().encode())
	f.Add(testMailboxPage().encode())
	f.Add(moveQuery{serial: 7, done: true}.encode())
	f.Add(testMailboxPage().state.append(nil))
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
		if c, err := parseReconcileCall(in); err == nil {
			same("reconcile call", c.encode())
		}
		if a, err := parseAnswers(in); err == nil {
			same("answers", encodeAnswers(a))
		}
		if q, err := parseMailboxQuery(in); err == nil {
			same("mailbox query", q.encode())
		}
		if p, err := parseMailboxPage(in); err == nil {
			same("mailbox page", p.encode())
		}
		if q, err := parseMoveQuery(in); err == nil {
			same("move query", q.encode())
		}
		if k, err := parseMoveReply(in); err == nil {
			same("move reply", k.append(nil))
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

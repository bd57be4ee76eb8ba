package swarm

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/swarm/store"
)

var update = flag.Bool("update", false, "write spec/vectors/swarm.json anew")

// vector is one frame between members: its name and its bytes.
type vector struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
}

func vectors() []vector {
	refs := []ref{{store.KindEnvelope, [32]byte{1}, [32]byte{2}}, {store.KindTombstone, [32]byte{3}, [32]byte{4}}}
	v := func(name string, b []byte) vector { return vector{name, hex.EncodeToString(b)} }
	return []vector{
		v("hello: from the key with seed 01×32 to the key with seed 02×32 at 1800000000",
			encodeHello(testKey(1), identity.NodeID(testKey(2).Public()), testTime)),
		v("call: put, id 7, body 010203", encodeCall(opPut, 7, []byte{1, 2, 3})),
		v("reply: done, id 7, body 04", encodeCall(codeDone, 7, []byte{4})),
		v("change: among the keys with seeds 01×32 and 02×32, request 010203", encodeChange(keepersOf(testKeepers()), []byte{1, 2, 3})),
		v("reconcile call: section 3, salt 01..08, a comparison from 1800000001 to the end and a list of two", testCall().encode()),
		v("answers: the same, two parts, one name", encodeAnswers(testAnswers())),
		v("references: an envelope and a tombstone", encodeRefs(refs)),
		v("mailbox query: serial 7, address 01.., behind envelope 02..", testMailboxQuery().encode()),
		v("mailbox page: gone, floor 2, whole at 3 and 5, more, a grant and a tombstone", testMailboxPage().encode()),
		v("move query: serial 7, done", moveQuery{serial: 7, done: true}.encode()),
		v("move reply: gone, floor 2, whole at 3 and 5", testMailboxPage().state.append(nil)),
		v("records: aabb, and one that is gone", encodeRecords([][]byte{{0xaa, 0xbb}, nil})),
	}
}

func testKeepers() []directory.Node {
	nodes := []directory.Node{{ID: identity.NodeID(testKey(1).Public())}, {ID: identity.NodeID(testKey(2).Public())}}
	slices.SortFunc(nodes, func(a, b directory.Node) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return nodes
}

func TestVectors(t *testing.T) {
	path := filepath.Join("..", "..", "spec", "vectors", "swarm.json")
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetIndent("", "  ")
	if err := enc.Encode(vectors()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("spec/vectors/swarm.json differs; -update writes it anew")
	}
}

package swarm

import (
	"testing"

	"sotto/internal/directory"
	"sotto/internal/mailbox"
)

// The room of a reply holds every document.
const _ = uint(mailbox.MaxDirectory - directory.MaxSigned)

// A client that is behind gets the newer directory with the network's own
// signature, and one that is not, nothing.
func TestClientsAreSentOn(t *testing.T) {
	w := newWorld(t, 5)
	ask := func(n *node, serial uint64) []byte {
		t.Helper()
		resp, err := w.client(n).do(&mailbox.Directory{Serial: serial}, nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, ok := resp.(*mailbox.DirectoryReply)
		if !ok {
			t.Fatalf("got %T", resp)
		}
		return reply.Signed
	}
	if got := ask(w.nodes[0], 0); len(got) != 0 {
		t.Fatal("a directory for a client that has it")
	}
	w.change(func(*directory.Document) {})
	w.tell(w.nodes[0])
	n, err := directory.ParseSigned(w.dir.NetworkKey(), ask(w.nodes[0], 0))
	if err != nil || n.Document.Serial != 1 {
		t.Fatalf("got %+v, %v", n, err)
	}
	if got := ask(w.nodes[0], 1); len(got) != 0 {
		t.Error("a directory for a client that has it by now")
	}
	if got := ask(w.nodes[1], 1); len(got) != 0 {
		t.Error("a node that is behind sends its old directory")
	}
}

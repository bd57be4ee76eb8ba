package mailbox

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

var update = flag.Bool("update", false, "write spec/vectors/mailbox.json anew")

// vectors is spec/vectors/mailbox.json; spec/mailbox.md §8 says how to read it.
type vectors struct {
	Comment       string               `json:"comment"`
	Now           uint64               `json:"now"`
	Node          string               `json:"node"`
	Stamp         stampVector          `json:"stamp"`
	Requests      []messageVector      `json:"requests"`
	Responses     []messageVector      `json:"responses"`
	Seal          sealVector           `json:"seal"`
	Conversations []conversationVector `json:"conversations"`
	Envelopes     []envelopeVector     `json:"envelopes"`
	Receipts      []receiptVector      `json:"receipts"`
}

type stampVector struct {
	Time  uint64 `json:"time"`
	Nonce string `json:"nonce"`
}

// messageVector is an encoding, and for a request what a node answers: "" if
// it is authorised at Now under Stamp.
type messageVector struct {
	Name   string `json:"name"`
	Bytes  string `json:"bytes"`
	Class  string `json:"class"`
	Exempt bool   `json:"needs_challenge,omitempty"`
}

// sealVector holds an HPKE encapsulation, which is random: -update makes it anew.
type sealVector struct {
	Seed        string `json:"request_key_seed"`
	Certificate string `json:"certificate"`
	Frame       string `json:"frame"`
	Request     string `json:"request"`
	ReplyOpened string `json:"reply_opened"`
	Reply       string `json:"reply"`
}

type conversationVector struct {
	Invitation    string `json:"invitation"`
	RecipientBase string `json:"recipient_base"`
	Period        uint64 `json:"period"`
	Initiator     bool   `json:"initiator_writes"`
	Begins        uint64 `json:"begins"`
	Owner         string `json:"owner"`
	Write         string `json:"write"`
	Key           string `json:"key"`
	Address       string `json:"address"`
}

type envelopeVector struct {
	Key     string   `json:"key"`
	Address string   `json:"address"`
	PQ      string   `json:"pq"`
	Slots   []string `json:"slots"`
	Body    string   `json:"body"`
	Sealed  string   `json:"sealed"`
	Class   string   `json:"class"`
}

type receiptVector struct {
	Bytes string `json:"bytes"`
	Class string `json:"class"`
}

const requestSeed = "vector request key seed, 32 bytes"

func TestVectors(t *testing.T) {
	if *update {
		v := makeVectors()
		v.Seal = makeSeal()
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsPath(t), append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorsPath(t))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	made := makeVectors()
	made.Seal = v.Seal
	if d := cmp.Diff(v, made); d != "" {
		t.Errorf("the code makes other vectors: %s", d)
	}
	checkSeal(t, v)
	for _, e := range v.Envelopes {
		key := must(suite.KeyFrom(unhex(e.Key)))
		got, err := OpenEnvelope(key, Address(unhex(e.Address)), unhex(e.Sealed))
		if className(err) != e.Class || err == nil && hex.EncodeToString(got.Body) != e.Body {
			t.Errorf("envelope of class %q: %v", e.Class, err)
		}
	}
	for _, r := range v.Receipts {
		rec, err := ParseReceipt(unhex(r.Bytes))
		if err == nil {
			err = rec.Verify()
		}
		if className(err) != r.Class {
			t.Errorf("receipt of class %q: %v", r.Class, err)
		}
	}
}

func checkSeal(t *testing.T, v vectors) {
	t.Helper()
	cert := must(ParseRequestKeyCert(unhex(v.Seal.Certificate)))
	node := identity.NodeID(unhex(v.Node))
	if err := cert.Verify(node, time.Unix(int64(v.Now), 0)); err != nil {
		t.Error(err)
	}
	got, sealer, err := vectorKey().OpenRequest(unhex(v.Seal.Frame))
	if err != nil {
		t.Fatalf("sealed request: %v", err)
	}
	if hex.EncodeToString(EncodeRequest(got.Request)) != v.Seal.Request || got.Stamp.Time != v.Stamp.Time {
		t.Error("another request was sealed")
	}
	reply := must(sealer.Seal(must(ParseResponse(unhex(v.Seal.ReplyOpened)))))
	if hex.EncodeToString(reply) != v.Seal.Reply {
		t.Error("another reply is sealed")
	}
}

// className names the class of err as the vectors do.
func className(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrOpen):
		return "open"
	case errors.Is(err, ErrReceipt):
		return "receipt"
	default:
		return CodeOf(err).String()
	}
}

func vectorKey() *RequestKey {
	w := makeWorld()
	r := strings.NewReader(requestSeed)
	return must(NewRequestKey(r, w.node, 7, w.now.Add(-time.Hour), w.now.Add(time.Hour)))
}

func makeSeal() sealVector {
	w, key := makeWorld(), vectorKey()
	req, reply := &Quote{}, &Opened{Until: 5, Bytes: 6}
	frame, _, err := SealStamped(key.Cert(), w.stamp(), req)
	if err != nil {
		panic(err)
	}
	_, sealer, err := key.OpenRequest(frame)
	if err != nil {
		panic(err)
	}
	return sealVector{
		Seed:        hex.EncodeToString([]byte(requestSeed)[:requestSeedSize]),
		Certificate: hex.EncodeToString(key.Cert().Encode()),
		Frame:       hex.EncodeToString(frame),
		Request:     hex.EncodeToString(EncodeRequest(req)),
		ReplyOpened: hex.EncodeToString(must(EncodeResponse(reply))),
		Reply:       hex.EncodeToString(must(sealer.Seal(reply))),
	}
}

func makeVectors() vectors {
	w := makeWorld()
	stamp := w.stamp()
	v := vectors{
		Comment: "spec/mailbox.md §8; bytes in hex",
		Now:     unix(w.now),
		Node:    w.nodeID().String(),
		Stamp:   stampVector{Time: stamp.Time, Nonce: hex.EncodeToString(stamp.Nonce[:])},
	}
	v.Requests = makeRequestVectors(w)
	for name, resp := range w.responses() {
		v.Responses = append(v.Responses, messageVector{Name: name, Bytes: hex.EncodeToString(must(EncodeResponse(resp)))})
	}
	slices.SortFunc(v.Responses, func(a, b messageVector) int { return strings.Compare(a.Name, b.Name) })
	v.Conversations = makeConversationVectors(w)
	v.Envelopes = makeEnvelopeVectors(w)
	for _, r := range w.receipts(3) {
		v.Receipts = append(v.Receipts, receiptVector{Bytes: hex.EncodeToString(r.Encode())})
	}
	bad := w.receipts(3)[0]
	bad.Expiry++
	v.Receipts = append(v.Receipts,
		receiptVector{hex.EncodeToString(bad.Encode()), "receipt"},
		receiptVector{hex.EncodeToString(bad.Encode()[:99]), "format"})
	return v
}

// makeRequestVectors leaves the large front door and card out, beside one
// each, and takes refusals that arrive as bytes from the table of refusals.
func makeRequestVectors(w *world) (out []messageVector) {
	for name, req := range w.requests() {
		out = append(out, messageVector{Name: name, Bytes: hex.EncodeToString(EncodeRequest(req)), Exempt: name == "prove"})
	}
	for name, tc := range refusals() {
		if tc.terms != nil || name == "no type" {
			continue
		}
		req := tc.req(makeWorld())
		enc := EncodeRequest(req)
		if _, err := ParseRequest(enc); err != nil || len(enc) > 2000 {
			continue
		}
		out = append(out, messageVector{Name: name, Bytes: hex.EncodeToString(enc), Class: CodeOf(tc.want).String()})
	}
	slices.SortFunc(out, func(a, b messageVector) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func makeConversationVectors(w *world) (out []conversationVector) {
	refreshed := must(ParseConversation(w.conv.Encode()))
	p := max(w.conv.Period(w.now, true), w.conv.Period(w.now, false))
	if err := refreshed.Refresh(p+1, [suite.KeySize]byte{7}, w.now); err != nil {
		panic(err)
	}
	for _, c := range []*Conversation{w.conv, refreshed} {
		for _, at := range []identity.Period{p, p + 1, p + 9} {
			initiator := at != p+1
			box := must(c.Box(at, initiator, w.bob.Base().Public()))
			addr := box.Locator.Address()
			out = append(out, conversationVector{
				Invitation: hex.EncodeToString(c.Invitation()), RecipientBase: w.bob.Base().Public().String(),
				Period: uint64(at), Initiator: initiator, Owner: box.Locator.Owner.String(),
				Write: hex.EncodeToString(box.Write.Seed()), Key: hex.EncodeToString(box.Key.Bytes()),
				Begins: uint64(c.Ends(at-1, initiator).Unix()), Address: addr.String(),
			})
		}
	}
	return out
}

func makeEnvelopeVectors(w *world) []envelopeVector {
	b := w.box()
	addr := b.Locator.Address()
	e := &Envelope{Slots: [][]byte{{1, 2}, {3}}, Body: []byte("body")}
	for i := range e.PQ {
		e.PQ[i] = byte(i)
	}
	sealed := must(SealEnvelope(newStream("n"), b.Key, addr, e))
	v := envelopeVector{
		Key: hex.EncodeToString(b.Key.Bytes()), Address: addr.String(), PQ: hex.EncodeToString(e.PQ[:]),
		Slots: []string{"0102", "03"}, Body: hex.EncodeToString(e.Body), Sealed: hex.EncodeToString(sealed),
	}
	cut, flipped, versioned := v, v, v
	cut.Sealed, cut.Class = v.Sealed[:200], "format"
	sealed[100] ^= 1
	flipped.Sealed, flipped.Class = hex.EncodeToString(sealed), "open"
	sealed[0] = 2
	versioned.Sealed, versioned.Class = hex.EncodeToString(sealed), "version"
	return []envelopeVector{v, cut, flipped, versioned}
}

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

func vectorsPath(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "spec", "vectors", "mailbox.json")
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// The requests of the vectors are judged as their class says.
func TestRequestVectorsAreJudgedAlike(t *testing.T) {
	w := makeWorld()
	for _, v := range makeRequestVectors(w) {
		req, err := ParseRequest(unhex(v.Bytes))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if v.Exempt {
			continue
		}
		if got := className(Authorize(req, w.terms())); got != v.Class {
			t.Errorf("%s: class %q, want %q", v.Name, got, v.Class)
		}
	}
}

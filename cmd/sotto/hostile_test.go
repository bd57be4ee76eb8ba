package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/mailbox"
	"sotto/internal/onion"
	"sotto/internal/suite"
	"sotto/internal/testnet"
	"sotto/internal/wire"
)

// hostile are tests of `sotto node` processes by neighbours who keep no rule:
// clients and nodes that write whatever bytes they like on a link.

// stage is a network of real nodes, but for the first ones of its directory:
// those do not run, and the test may stand in their place.
type stage struct {
	t      *testing.T
	layout *testnet.Layout // of the real nodes alone
	procs  *testnet.Processes
	absent []impostor
}

// impostor is the secrets of a node that does not run.
type impostor struct {
	directory.Node
	cert  tls.Certificate
	onion suite.DHPrivate
}

// newStage starts nodes processes with further flags, and leaves room for absent
// impostors.
func newStage(t *testing.T, absent, nodes int, flags ...string) *stage {
	t.Helper()
	l, err := testnet.Prepare(t.TempDir(), absent+nodes, nodes)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t}
	for _, e := range l.Nodes[:absent] {
		s.absent = append(s.absent, newImpostor(t, e))
	}
	l.Nodes = l.Nodes[absent:]
	s.layout = l
	if s.procs, err = testnet.Up(t.Context(), l, programPath(t), flags...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.procs.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// real returns real node i, from 1 on.
func (s *stage) real(i int) directory.Node { return s.layout.Nodes[i-1].Node }

func newImpostor(t *testing.T, e testnet.Entry) impostor {
	t.Helper()
	key, err := suite.SigningKeyFrom(readHex(t, filepath.Join(e.Dir, "identity.key")))
	if err != nil {
		t.Fatal(err)
	}
	p := impostor{Node: e.Node}
	if p.onion, err = suite.DHPrivateFrom(readHex(t, filepath.Join(e.Dir, "onion.key"))); err != nil {
		t.Fatal(err)
	}
	priv := key.Ed25519()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	p.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}
	return p
}

func readHex(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hostileTLS is what links use; the nodes are this test's own.
func hostileTLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		NextProtos: protocols, SessionTicketsDisabled: true, InsecureSkipVerify: true,
	}
}

// The windows of a neighbour's connections: wide for one who reads, and the
// least that lets a handshake pass for one who does not.
const (
	wideWindow   = 1 << 20
	narrowWindow = 3 * onion.CellSize
)

func hostileQUIC(window uint64) *quic.Config {
	return &quic.Config{
		KeepAlivePeriod: time.Second, MaxIdleTimeout: testWait, MaxIncomingStreams: 1 << 13,
		InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
		InitialConnectionReceiveWindow: 16 << 20, MaxConnectionReceiveWindow: 16 << 20,
	}
}

// dial makes a link to a node, as a client or, with its certificate, as a node.
func (s *stage) dial(to directory.Node, as *impostor, window uint64) (*quic.Conn, error) {
	host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if as != nil {
		host = as.Addr.Addr()
	}
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: pc}
	s.t.Cleanup(func() { _ = tr.Close(); _ = pc.Close() })
	c := hostileTLS(link.ProtocolCells)
	if as != nil {
		c.Certificates = []tls.Certificate{as.cert}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), testWait)
	defer cancel()
	return tr.Dial(ctx, net.UDPAddrFromAddrPort(to.Addr), c, hostileQUIC(window))
}

// listen stands at an impostor's address.
func (s *stage) listen(as *impostor, window uint64) *quic.Listener {
	s.t.Helper()
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(as.Addr))
	if err != nil {
		s.t.Fatal(err)
	}
	tr := &quic.Transport{Conn: pc}
	c := hostileTLS(link.ProtocolCells, link.ProtocolService)
	c.Certificates, c.ClientAuth = []tls.Certificate{as.cert}, tls.RequestClientCert
	l, err := tr.Listen(c, hostileQUIC(window))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close(); _ = tr.Close(); _ = pc.Close() })
	return l
}

// rawChannel is a circuit's stream on a link, for any bytes whatever.
type rawChannel struct {
	*quic.Stream
	id uint32
}

// openRaw opens a channel.
func openRaw(ctx context.Context, conn *quic.Conn) (*rawChannel, error) {
	str, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return newRawChannel(str)
}

func newRawChannel(str *quic.Stream) (*rawChannel, error) {
	return &rawChannel{str, uint32(str.StreamID()>>2) + 1}, str.SetDeadline(time.Now().Add(testWait))
}

// write writes cells with this channel's number.
func (c *rawChannel) write(cells ...*onion.Cell) error {
	var b []byte
	for _, cell := range cells {
		cell.SetCircID(c.id)
		b = append(b, cell[:]...)
	}
	_, err := c.Write(b)
	return err
}

// read reads the next cell that is no padding.
func (c *rawChannel) read() (*onion.Cell, error) {
	for {
		cell := new(onion.Cell)
		if _, err := io.ReadFull(c, cell[:]); err != nil {
			return nil, err
		}
		if cell.Command() != onion.CmdPadding {
			return cell, nil
		}
	}
}

// writeShake and readShake move the two cells of a handshake.
func (c *rawChannel) writeShake(cmd onion.Command, shake []byte) error {
	cells, err := onion.SplitCreate(shake, c.id, cmd)
	if err != nil {
		return err
	}
	return c.write(&cells[0], &cells[1])
}

func (c *rawChannel) readShake(cmd onion.Command) ([]byte, error) {
	first, err := c.read()
	if err != nil {
		return nil, err
	}
	second, err := c.read()
	if err != nil {
		return nil, err
	}
	return onion.JoinCreate(first, second, cmd)
}

// resetCode returns the code of a reset that ended a channel; -1 for any other
// end.
func resetCode(err error) int {
	var reset *quic.StreamError
	if !errors.As(err, &reset) || !reset.Remote {
		return -1
	}
	return int(reset.ErrorCode)
}

// endedWith returns nil if err is the end of a circuit with the given reason.
func endedWith(err error, want onion.Reason) error {
	if err != nil && resetCode(err) == int(want) {
		return nil
	}
	return fmt.Errorf("the circuit goes on or ended with %d, not %d: %w", resetCode(err), want, err)
}

// lost reports whether an error only shows that a link died. Links die after
// three seconds of silence, and a machine may be that slow.
func lost(err error) bool {
	var idle *quic.IdleTimeoutError
	var closed *quic.ApplicationError
	var shaking *quic.HandshakeTimeoutError
	var end *streamEnd
	why := onion.Reason(resetCode(err))
	if errors.As(err, &end) {
		why = end.why
	}
	switch why {
	case onion.ReasonLinkLost, onion.ReasonTimeout, onion.ReasonUnreachable:
		return true
	}
	return errors.As(err, &idle) || errors.As(err, &closed) || errors.As(err, &shaking)
}

// steady runs what returns no error, again if a link was lost meanwhile.
func steady(t *testing.T, run func() error) {
	t.Helper()
	var err error
	for range 8 {
		if err = run(); err == nil {
			return
		}
		if !lost(err) {
			break
		}
		t.Logf("a link was lost, again: %v", err)
	}
	t.Fatal(err)
}

// rawCircuit is the client's end of a circuit on such a channel.
type rawCircuit struct {
	*rawChannel
	guard  *onion.RelayCircuit // of an impostor that this client shares its process with; or nil
	layers onion.ClientCircuit
	unpack [onion.MaxHops]onion.Unpacker
	window onion.ReceiveWindow // of the last hop
	heard  []onion.Message
}

// newRawCircuit builds a circuit over path.
func newRawCircuit(ctx context.Context, conn *quic.Conn, path ...directory.Node) (*rawCircuit, error) {
	ch, err := openRaw(ctx, conn)
	if err != nil {
		return nil, err
	}
	c := &rawCircuit{rawChannel: ch}
	if _, err := c.create(path[0]); err != nil {
		return nil, err
	}
	for _, n := range path[1:] {
		if err := c.extend(n); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// create makes the next hop of the relay at the channel's other end. It returns
// a copy of the hop's layer.
func (c *rawCircuit) create(n directory.Node) (*onion.RelayCircuit, error) {
	shake, create, err := onion.StartHandshake(rand.Reader, n.ID, n.OnionKey, onion.ClassStream, nil)
	if err != nil {
		return nil, err
	}
	if err := c.writeShake(onion.CmdCreate, create); err != nil {
		return nil, err
	}
	created, err := c.readShake(onion.CmdCreated)
	if err != nil {
		return nil, err
	}
	return c.addHop(shake, created)
}

func (c *rawCircuit) addHop(shake *onion.ClientHandshake, created []byte) (*onion.RelayCircuit, error) {
	keys, _, err := shake.Finish(created)
	if err != nil {
		return nil, err
	}
	same := *keys
	return onion.NewRelayCircuit(&same), c.layers.AddHop(keys)
}

// extend adds a hop at the end.
func (c *rawCircuit) extend(n directory.Node) error {
	shake, create, err := onion.StartHandshake(rand.Reader, n.ID, n.OnionKey, onion.ClassStream, nil)
	if err != nil {
		return err
	}
	last := c.layers.Hops() - 1
	cells, err := c.seal(last, onion.CmdRelayEarly, onion.Extend(n.ID, create))
	if err == nil {
		err = c.write(cells...)
	}
	if err != nil {
		return err
	}
	m, err := c.hear(last)
	if err != nil {
		return err
	}
	created, err := m.Created()
	if err != nil {
		return err
	}
	_, err = c.addHop(shake, created)
	return err
}

// seal makes the cells of messages for a hop, as the guard puts them out if
// that is ours.
func (c *rawCircuit) seal(hop int, cmd onion.Command, messages ...onion.Message) ([]*onion.Cell, error) {
	var p onion.Packer
	for _, m := range messages {
		if err := p.Add(m); err != nil {
			return nil, err
		}
	}
	var cells []*onion.Cell
	for p.Pending() > 0 {
		cell := new(onion.Cell)
		cell.SetHeader(c.id, cmd)
		p.Next(cell.Payload())
		if _, err := c.layers.Seal(hop, cell, cell.Payload()); err != nil {
			return nil, err
		}
		if c.guard != nil {
			c.guard.Outbound(cell)
		}
		cells = append(cells, cell)
	}
	return cells, nil
}

// say sends messages to a hop.
func (c *rawCircuit) say(hop int, messages ...onion.Message) error {
	cells, err := c.seal(hop, onion.CmdRelay, messages...)
	if err != nil {
		return err
	}
	return c.write(cells...)
}

// hear returns the next message, which must be of hop.
func (c *rawCircuit) hear(hop int) (onion.Message, error) {
	for len(c.heard) == 0 {
		cell, err := c.read()
		if err != nil {
			return onion.Message{}, err
		}
		if c.guard != nil {
			c.guard.Inbound(cell)
		}
		from, payload, tag, err := c.layers.Open(cell)
		if err != nil {
			return onion.Message{}, err
		}
		if from != hop {
			return onion.Message{}, fmt.Errorf("hop %d spoke, not %d", from, hop)
		}
		data, err := c.unpack[from].Feed(payload, func(m onion.Message) error {
			m.Data = append([]byte(nil), m.Data...)
			c.heard = append(c.heard, m)
			return nil
		})
		if err == nil && data && c.window.Received() {
			err = c.say(from, onion.Sendme(tag))
		}
		if err != nil {
			return onion.Message{}, err
		}
	}
	m := c.heard[0]
	c.heard = c.heard[1:]
	return m, nil
}

// expect returns the next message of hop, which must be cmd.
func (c *rawCircuit) expect(hop int, cmd onion.MsgCommand) (onion.Message, error) {
	m, err := c.hear(hop)
	if err == nil && m.Command != cmd {
		err = fmt.Errorf("got %v, want %v", m.Command, cmd)
	}
	return m, err
}

// probe reports whether a hop still answers.
func (c *rawCircuit) probe(hop int) error {
	var token [8]byte
	_, _ = rand.Read(token[:])
	if err := c.say(hop, onion.Probe(token)); err != nil {
		return err
	}
	m, err := c.expect(hop, onion.MsgProbeReply)
	if err != nil {
		return err
	}
	if got, err := m.Token(); err != nil || got != token {
		return fmt.Errorf("another probe was answered (%v)", err)
	}
	return nil
}

// rawStream is a stream of a circuit on which nothing else is said meanwhile.
type rawStream struct {
	*rawCircuit
	id   uint16
	took onion.StreamReceiveWindow
	left []byte // of a DATA message
}

// begin opens a stream to a node. An error of it shows when it is read.
func (c *rawCircuit) begin(id uint16, n directory.Node) *rawStream {
	_ = c.say(c.layers.Hops()-1, onion.Begin(id, n.ID))
	return &rawStream{rawCircuit: c, id: id}
}

// Read implements io.Reader.
func (s *rawStream) Read(p []byte) (int, error) {
	for len(s.left) == 0 {
		m, err := s.hear(s.layers.Hops() - 1)
		switch {
		case err != nil:
			return 0, err
		case m.Stream == s.id && m.Command == onion.MsgData:
			if err := s.take(m.Data); err != nil {
				return 0, err
			}
		case m.Stream == s.id && m.Command == onion.MsgEnd:
			return 0, &streamEnd{onion.Reason(m.Data[0])}
		}
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// take takes the data of a message, and says so.
func (s *rawStream) take(data []byte) error {
	s.left = data
	if err := s.took.Received(len(data)); err != nil {
		return err
	}
	for range s.took.Consumed(len(data)) {
		if err := s.say(s.layers.Hops()-1, onion.StreamSendme(s.id)); err != nil {
			return err
		}
	}
	return nil
}

// streamEnd is an exit's END.
type streamEnd struct{ why onion.Reason }

func (e *streamEnd) Error() string { return "the exit ended the stream: " + e.why.String() }

// Write implements io.Writer.
func (s *rawStream) Write(p []byte) (int, error) {
	for left := p; len(left) > 0; {
		n := min(len(left), onion.MaxData)
		err := s.say(s.layers.Hops()-1, onion.Message{Command: onion.MsgData, Stream: s.id, Data: left[:n]})
		if err != nil {
			return 0, err
		}
		left = left[n:]
	}
	return len(p), nil
}

// ask sends a frame and returns the answer.
func (s *rawStream) ask(frame []byte) ([]byte, error) {
	if err := wire.WriteFrame(s, frame); err != nil {
		return nil, err
	}
	return wire.ReadFrame(s, mailbox.MaxFrame)
}

// askKeys asks a swarm's member for the key that requests are sealed to.
func (s *rawStream) askKeys() (*mailbox.RequestKeyCert, error) {
	answer, err := s.ask(mailbox.KeysRequest())
	if err != nil {
		return nil, err
	}
	return mailbox.ParseKeysReply(answer)
}

// answer is an impostor's answer to a CREATE that it waits for: the layer that
// it makes.
func (p *impostor) answer(ch *rawChannel, want []byte) (*onion.RelayCircuit, error) {
	create, err := ch.readShake(onion.CmdCreate)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(create, want) {
		return nil, errors.New("another circuit's CREATE")
	}
	created, keys, err := onion.AnswerHandshake(rand.Reader, p.ID, p.onion, create,
		func(onion.Class, []byte) ([]byte, error) { return nil, nil })
	if err != nil {
		return nil, err
	}
	return onion.NewRelayCircuit(keys), ch.writeShake(onion.CmdCreated, created)
}

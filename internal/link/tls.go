package link

import (
	"crypto/tls"
	"net/netip"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// quicConfig is common to both sides.
func quicConfig() *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           handshakeIdle,
		MaxIdleTimeout:                 maxIdle,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: connWindowStart,
		MaxConnectionReceiveWindow:     connWindow,
		MaxIncomingUniStreams:          -1,
		InitialPacketSize:              initialPacketSize,
	}
}

// acceptConfig lets the peer open streams; it sends no keep-alives, since the
// side that dialled does.
func acceptConfig() *quic.Config {
	c := quicConfig()
	c.MaxIncomingStreams = maxStreams
	return c
}

// dialConfig lets only the dialling side open streams.
func dialConfig() *quic.Config {
	c := quicConfig()
	c.MaxIncomingStreams = -1
	c.KeepAlivePeriod = keepAlive
	return c
}

// serviceConfig is dialConfig for service connections, whose streams are read
// at the pace of the clients behind them, and may go on as tails.
func serviceConfig() *quic.Config {
	c := dialConfig()
	c.MaxIncomingUniStreams = maxStreams
	c.InitialStreamReceiveWindow, c.MaxStreamReceiveWindow = ServiceWindow, ServiceWindow
	c.InitialConnectionReceiveWindow, c.MaxConnectionReceiveWindow = serviceConnWindow, serviceConnWindow
	return c
}

// baseTLS fixes version and key exchange, which a resumed session makes anew.
func baseTLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		NextProtos:       protocols,
	}
}

// listenTLS asks for a certificate. Whoever presents one must be a node of the
// directory, or of a past one that still matters; the service protocol needs one (spec/link.md §5.2). The check is
// made for resumed sessions too, with the certificate that the ticket holds.
func (e *Endpoint) listenTLS() *tls.Config {
	c := baseTLS(ProtocolCells, ProtocolService)
	c.Certificates = []tls.Certificate{e.cert}
	c.ClientAuth = tls.RequestClientCert
	c.WrapSession = e.ticketKeys.wrap
	c.UnwrapSession = e.ticketKeys.unwrap
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			if s.NegotiatedProtocol == ProtocolCells {
				return nil
			}
			return ErrIdentity
		}
		id, err := certifiedNode(s.PeerCertificates)
		if err != nil {
			return err
		}
		if _, known := directory.Listed(e.cfg.Directory, id); !known {
			return ErrIdentity
		}
		return nil
	}
	return c
}

// dialTLS accepts exactly one key (spec/link.md §5.1), also when it resumes:
// the session remembers whose it is.
func (e *Endpoint) dialTLS(protocol string, want identity.NodeID, from netip.Addr) *tls.Config {
	c := baseTLS(protocol)
	if e.isNode() {
		c.Certificates = []tls.Certificate{e.cert}
	}
	// No authority and no name vouches for a node: VerifyConnection compares
	// its key with the directory's.
	c.InsecureSkipVerify = true
	c.ClientSessionCache = e.tickets.forDial(want, protocol, from)
	c.VerifyConnection = func(s tls.ConnectionState) error {
		id, err := certifiedNode(s.PeerCertificates)
		if err != nil {
			return err
		}
		if id != want {
			return ErrIdentity
		}
		return nil
	}
	return c
}
